"""An output folder is new, empty or ours; what we did not make stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from brainseg_engine.core import outputs
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.outputs import Use, claim
from brainseg_engine.core.paths import atomic, part_folder, sweep


def test_a_new_folder_an_empty_one_and_one_of_ours(tmp_path):
    for folder in (tmp_path / "a" / "b", tmp_path / "c"):
        for _ in range(2):
            claim(folder, Use.MASKS)
        assert outputs.use_of(folder) is Use.MASKS


def test_what_file_managers_leave_makes_no_folder_foreign(tmp_path):
    (tmp_path / ".DS_Store").write_text("x")
    claim(tmp_path, Use.MASKS)


@pytest.mark.parametrize("name", ["README.txt", "run.json", "data", ".git", "summary.csv"])
def test_a_folder_with_anything_else_is_refused_and_left_as_it_is(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="not of this program"):
        claim(tmp_path, Use.TRAINING)
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_a_folder_of_another_use_is_refused(tmp_path):
    claim(tmp_path / "a", Use.MASKS)
    with pytest.raises(OutputError, match="holds segmentations"):
        claim(tmp_path / "a", Use.TRAINING)


@pytest.mark.parametrize("mark", ["", "{}", "[" * 100_000, '{"format": "napari-brainseg-output/1", "use": 3}', "link"])
def test_a_mark_that_says_nothing_is_none(mark, tmp_path):
    (tmp_path / "mine").write_text("x")
    if mark == "link":
        (tmp_path / outputs.MARK).symlink_to("/dev/zero")
    else:
        (tmp_path / outputs.MARK).write_text(mark)
    with pytest.raises(OutputError, match="not of this program"):
        claim(tmp_path, Use.MASKS)


def test_only_a_folder_that_we_made_is_removed(tmp_path):
    out = tmp_path / "out"
    claim(out, Use.FINETUNING)
    made = outputs.subfolder(out, "data")
    (made / "case").write_text("x")
    outputs.remove(out, "data")
    assert not made.exists()
    made.mkdir()
    (made / "mine").write_text("x")
    with pytest.raises(OutputError, match="not made by this program"):
        outputs.remove(out, "data")
    with pytest.raises(OutputError):
        outputs.subfolder(out, "data")
    assert (made / "mine").read_text() == "x"


@pytest.mark.parametrize("name", ["..", ".", "/etc", "a/b"])
def test_no_name_leads_out_of_the_folder(name, tmp_path):
    claim(tmp_path / "out", Use.FINETUNING)
    for act in (outputs.remove, outputs.subfolder):
        with pytest.raises(OutputError):
            act(tmp_path / "out", name)


def test_nothing_is_removed_or_written_through_a_link(tmp_path):
    claim(tmp_path / "out", Use.FINETUNING)
    claim(tmp_path / "other", Use.CASES)
    (tmp_path / "out" / "data").symlink_to(tmp_path / "other")
    for act in (outputs.remove, outputs.subfolder):
        with pytest.raises(OutputError, match="link"):
            act(tmp_path / "out", "data")
    assert (tmp_path / "other" / outputs.MARK).exists()


def killed(folder, what):
    code = f"""
import os, sys
from pathlib import Path
from brainseg_engine.core.paths import atomic, part_folder
with {what}:
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False)


def test_what_a_kill_left_is_swept_at_the_next_start(tmp_path):
    killed(tmp_path, "atomic(Path(sys.argv[1]) / 'x.nii.gz')")
    killed(tmp_path, "part_folder(Path(sys.argv[1]))")
    assert len(list(tmp_path.glob(".part-*"))) == 2
    claim(tmp_path, Use.MASKS)
    assert not list(tmp_path.glob(".part-*"))


def test_what_a_living_process_writes_is_not_swept(tmp_path):
    with atomic(tmp_path / "x.json") as part, part_folder(tmp_path) as folder:
        part.write_text("{}")
        assert sweep(tmp_path) == 0 and folder.exists()
    assert (tmp_path / "x.json").read_text() == "{}"


def test_what_others_left_is_swept_after_a_day_only(tmp_path):
    for age, name in ((0, ".part-abc"), (0, ".part-00000000-1-x"), (2 * 86400, ".part-old"), (2 * 86400, "mine")):
        (tmp_path / name).write_text("x")
        then = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (then, then))
    assert sweep(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".part-00000000-1-x", ".part-abc", "mine"]
