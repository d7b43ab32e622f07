"""`napari-brainseg inspect`: everything is told, also when a part is broken."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.on_disk import BRATS2023, SHAPE, affine_of, image, write, write_mask, write_series
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.study import Modality

T1, T1CE, T2, FLAIR = Modality


def inspect(*args) -> tuple[int, dict]:
    result = CliRunner().invoke(app, ["inspect", *map(str, args), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_sound_study(tmp_path):
    files = write_series(tmp_path, affine=affine_of("LAS", spacing=(1, 1.25, 1.5), angle=10))
    mask = write_mask(tmp_path / "Case_7_seg.nii.gz", (1, 2, 2, 4), affine_of("LAS", spacing=(1, 1.25, 1.5), angle=10))
    code, report = inspect(tmp_path)
    assert code == 0 and report["usable"] and report["id"] == "Case_7" and report["coding"] == "brats2021"
    assert list(report["modalities"]) == ["t1", "t1ce", "t2", "flair"]
    for m, path in files.items():
        t = report["modalities"][m]
        assert (t["file"], t["shape"], t["orientation"], t["dtype"]) == (str(path), list(SHAPE), "LAS", "int16")
        assert t["spacing_mm"] == [1, 1.25, 1.5] and t["obliquity_deg"] > 5
    s = report["segmentation"]
    assert (s["file"], s["coding"], s["coding_told_by"]) == (str(mask), "brats2021", "file naming")
    voxel = 1.25 * 1.5 / 1000
    expected = {"WT": 4, "TC": 2, "ET": 1, "NCR": 1, "ED": 2}
    assert s["volumes_ml"] == pytest.approx({k: n * voxel for k, n in expected.items()}, abs=6e-4)


def test_the_table_says_the_same_in_words(tmp_path):
    files = write_series(tmp_path, BRATS2023)
    write_mask(tmp_path / "Case_7-seg.nii.gz", (1, 2, 3))
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for text in ("Case_7", *(p.name for p in files.values()), "7×6×5", "LPS", "brats2023", "file naming", "int16"):
        assert text in result.stdout


def test_names_with_brackets_are_shown_as_they_are(tmp_path):
    write_series(tmp_path, id="[bold]x[red]")
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)], env={"COLUMNS": "200"})
    assert "[bold]x[red]_t1ce.nii.gz" in result.stdout


def nan(path):
    data = image(dtype=np.float32)
    data[2, 2, 2] = np.nan
    write(path, data)


BROKEN = {
    "truncated": (lambda d, f: f[T2].write_bytes(f[T2].read_bytes()[:200]), "unreadable", "cut short", T2),
    "not gzip": (lambda d, f: f[T2].write_bytes(b"hello" * 99), "unreadable", "not a gzip file", T2),
    "four axes": (lambda d, f: write(f[T2], image(shape=(5, 5, 5, 4))), "unreadable", "4 axes", T2),
    "nan": (lambda d, f: nan(f[T2]), "not-finite", "no numbers", None),
    "zeros": (lambda d, f: write(f[T2], np.zeros(SHAPE, np.int16)), "empty", "only zeros", None),
    "missing": (lambda d, f: f[T2].unlink(), "missing", "No file is named as T2", None),
    "two candidates": (lambda d, f: write(d / "other_t2.nii.gz", image(8)), "ambiguous", "other_t2.nii.gz", None),
    "other shape": (lambda d, f: write(f[T2], image(shape=(7, 6, 9))), "grid", "7×6×9", None),
    "other place": (lambda d, f: write(f[T2], image(), affine_of("RAS")), "grid", "RAS", None),
    "unknown mask value": (lambda d, f: write_mask(d / "Case_7_seg.nii.gz", (9,)), "segmentation", "value 9", None),
    "mask off grid": (
        lambda d, f: write_mask(d / "Case_7_seg.nii.gz", affine=affine_of("RAS")), "segmentation",
        "lies elsewhere than its images", None,
    ),
    "damaged mask": (lambda d, f: (d / "Case_7_seg.nii.gz").write_bytes(b"x"), "segmentation", "not a gzip", None),
    "two masks": (lambda d, f: write_mask(d / "Case_7_truth.nii.gz"), "ambiguous", "the mask", None),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_study_is_reported_whole(case, tmp_path):
    files = write_series(tmp_path)
    write_mask(tmp_path / "Case_7_seg.nii.gz")
    damage, problem, words, unreadable = BROKEN[case]
    damage(tmp_path, files)
    code, report = inspect(tmp_path)
    assert code == 3 and not report["usable"]
    (found,) = [p for p in report["problems"] if p["severity"] == "error"]
    assert found["code"] == problem and words in found["message"]
    whole = [m for m, t in report["modalities"].items() if t and "shape" in t]
    assert set(whole) >= {"t1", "t1ce", "flair"}, "one broken file does not hide the others"
    if unreadable:
        assert words in report["modalities"][unreadable]["error"] and str(files[unreadable]) in found["message"]
    table = CliRunner().invoke(app, ["inspect", str(tmp_path)], env={"COLUMNS": "2000"})
    assert table.exit_code == 3 and f"error: {found['message']}" in table.stdout


def test_several_troubles_are_all_reported(tmp_path):
    files = write_series(tmp_path)
    files[T1].write_bytes(b"damaged")
    nan(files[T2])
    files[FLAIR].unlink()
    write_mask(tmp_path / "Case_7_seg.nii.gz", (7,))
    code, report = inspect(tmp_path)
    errors = [p["code"] for p in report["problems"] if p["severity"] == "error"]
    assert code == 3 and sorted(errors) == ["missing", "not-finite", "segmentation", "unreadable"]
    severities = [p["severity"] for p in report["problems"]]
    assert severities == sorted(severities)  # "error" before "warning"


def test_the_coding_can_be_named(tmp_path):
    write_series(tmp_path)
    write_mask(tmp_path / "Case_7_seg.nii.gz", (1, 2, 3))
    assert inspect(tmp_path)[0] == 3
    code, report = inspect(tmp_path, "--coding", "brats2023")
    assert code == 0 and report["segmentation"]["coding_told_by"] == "option"


def test_four_files_are_a_study(tmp_path):
    files = write_series(tmp_path)
    code, report = inspect(*files.values())
    assert code == 0 and report["modalities"]["flair"]["file"] == str(files[FLAIR])


@pytest.mark.parametrize(("name", "words"), [("empty", "is empty"), ("nowhere", "There is no file or folder")])
def test_where_there_is_no_study_one_sentence_says_so(name, words, tmp_path):
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "brainseg_engine", "inspect", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3 and done.stdout == ""
    assert words in done.stderr and str(tmp_path / name) in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
