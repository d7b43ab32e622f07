"""A folder of corrections that somebody else prepared: nothing of it becomes a path that leads elsewhere."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from helpers.small_world import make_world

from brainseg_engine.core.errors import BrainsegError, InputError, OutputError
from brainseg_engine.corrections import Store
from brainseg_engine.finetune import collecting
from brainseg_engine.recipe import load_recipe


@pytest.fixture
def world(tmp_path) -> Store:
    store, _ = make_world(tmp_path, corrections=2, anchors=0)
    return store


@pytest.fixture(scope="module")
def lasting(tmp_path_factory) -> Store:
    """One for many tests: who spoils a record of it puts it right again."""
    store, _ = make_world(tmp_path_factory.mktemp("world"), corrections=2, anchors=0)
    return store


@pytest.fixture
def victim(tmp_path) -> Path:
    """A folder that is nobody's business."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    return folder


def rewrite(sidecar: Path, **fields) -> None:
    sidecar.chmod(0o644)
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | fields))


def collect(store: Store, out: Path):
    out.mkdir(exist_ok=True)
    return collecting.collect(store, load_recipe("baseline"), out / "data", lambda _: None, lambda: None)


@pytest.mark.parametrize("form", ["absolute", "up", "other case", "number", "null", "list", "deep", "long"])
def test_no_id_of_a_record_names_a_folder_elsewhere(form, world, victim, tmp_path):
    first, second = world.corrections()
    id = {
        "absolute": str(victim), "up": "../../victim", "other case": second.id, "number": 7, "null": None, "list": [1],
        "deep": {"a": 1}, "long": "x" * 5000,
    }[form]  # fmt: skip
    rewrite(first.sidecar, id=id)
    assert [c.id for c in world.corrections()] == [second.id]  # the other one can still be used
    found = collect(world, tmp_path / "out")
    assert [c.name for c in found.cases] == [second.id]
    assert (victim / "thesis.txt").read_text() == "years of work"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"data"}
    assert any(f.code == "record_damaged" for f in world.check(images=False))


@pytest.mark.parametrize("field", [
    "study", "images", "when", "by", "minutes", "steps", "changed", "regions", "state", "reference", "coding",
    "mask_sha256", "base_model", "study_id", "folder", "study_coding",
])  # fmt: skip
@pytest.mark.parametrize("value", [None, 3.5, -(10**18), [], {}, {"t1": {}}, [[]], "x" * 20_000, "\ud800", True])
def test_any_wrong_type_in_a_record_is_one_damaged_record(field, value, lasting):
    first, _ = lasting.corrections()
    sound = first.sidecar.read_text()
    rewrite(first.sidecar, **{field: value})
    try:
        for act in (lasting.corrections, lasting.latest, lasting.patients, lambda: lasting.check(images=False)):
            act()
        for c in lasting.corrections():
            with contextlib.suppress(BrainsegError):
                lasting.read(c)
    finally:
        first.sidecar.write_text(sound)


@pytest.mark.parametrize("name", [
    "sub-.._space-orig_desc-correction01_dseg.json", "sub-_space-orig_desc-correction01_dseg.json",
    "sub-a b_space-orig_desc-correction01_dseg.json", "sub-other_space-orig_desc-correction01_dseg.json",
])  # fmt: skip
def test_no_name_of_a_file_writes_above_the_export(name, world, tmp_path):
    first, second = world.corrections()
    for old, ending in ((first.sidecar, ".json"), (first.mask, ".nii.gz")):
        old.rename(old.with_name(name.removesuffix(".json") + ending))
    out = tmp_path / "deep" / "out"
    for layout in ("brats", "bids"):
        written = world.export(out / layout, layout)
        assert len(written) == 1 and written[0].resolve().is_relative_to(out.resolve())
    assert {p.name for p in (tmp_path / "deep").iterdir()} == {"out"}
    assert second.id.partition("_")[0] in str(written[0])


@pytest.mark.parametrize("what", ["log", "mask", "sidecar"])
def test_no_file_behind_a_link_is_exported(what, world, tmp_path):
    secret = tmp_path / "secret"
    first, _ = world.corrections()
    file = getattr(first, what)
    content = file.read_bytes()
    secret.write_bytes(content + b"\n" if what == "log" else content)
    file.unlink()
    file.symlink_to(secret)
    try:
        world.export(tmp_path / "out", "bids")
    except InputError as e:
        assert "leads out" in str(e)
    for exported in (tmp_path / "out").rglob(f"*{file.name}"):
        raise AssertionError(exported)


def test_nothing_is_written_through_a_link_in_a_store(world, victim, tmp_path):
    from helpers.small_world import correct

    log = world.path / "log.jsonl"
    content = log.read_bytes()
    log.unlink()
    log.symlink_to(victim / "thesis.txt")
    with pytest.raises(OutputError, match="link"):
        world.exclude(world.corrections()[0].id, "no")
    assert (victim / "thesis.txt").read_text() == "years of work"
    log.unlink()
    log.write_bytes(content)
    for n, c in enumerate(world.corrections()):
        folder = c.mask.parents[1]
        folder.rename(tmp_path / f"moved{n}")
        folder.symlink_to(tmp_path / f"moved{n}")
    assert not world.corrections()
    with pytest.raises(OutputError, match="link"):
        correct(world, tmp_path / "studies", 0)


def test_an_export_takes_no_folder_of_others(world, victim):
    for layout in ("brats", "bids"):
        with pytest.raises(OutputError, match="not of this program"):
            world.export(victim, layout)
    assert [p.name for p in victim.iterdir()] == ["thesis.txt"]


def test_a_second_export_into_the_same_folder_is_taken(world, tmp_path):
    for layout in ("brats", "bids"):
        assert world.export(tmp_path / layout, layout) == world.export(tmp_path / layout, layout)
