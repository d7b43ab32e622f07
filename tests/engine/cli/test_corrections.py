"""`napari-brainseg corrections`, called as a user calls it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.corrected_studies import changed, on_disk, spoil_mask
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.corrections import BaseModel, CorrectionState, Store, default_store
from brainseg_engine.io import load_study


def run(*args: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["corrections", *map(str, args)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(default_store())
    for n, by in ((0, "Ann"), (1, "")):
        study = on_disk(tmp_path / "data", f"case{n}", seed=n)
        store.add(study, changed(study), base=study.segmentation, model=BaseModel("m", "1"), by=by)
    return store


def test_the_window_s_own_folder_is_listed(store):
    code, out, _ = run("list")
    assert code == 0 and "Ann" in out and all(c.id in out for c in store.corrections()) and "2 in" in out
    code, out, _ = run("list", store.path, "--json")
    content = json.loads(out)["corrections"]
    assert code == 0 and [c["id"] for c in content] == [c.id for c in store.corrections()]
    assert content[0]["changed"]["ET"].keys() == {"voxels", "added", "removed"} and content[0]["held_out"] is False


def test_older_and_excluded_versions_are_listed_when_asked_for(store, tmp_path):
    first = store.corrections()[0]
    code, out, _ = run("exclude", first.id, "--why", "the wrong side")
    assert code == 0 and "excluded" in out and store.get(first.id).state is CorrectionState.EXCLUDED
    assert first.id not in run("list")[1] and first.id in run("list", "--all")[1]


def test_drafts_are_accepted_all_or_none_and_an_empty_one_only_on_purpose(store, tmp_path):
    study = on_disk(tmp_path / "data", "case7", seed=7)
    nothing = replace(study.segmentation, labels=np.zeros_like(study.segmentation.labels))
    draft, empty = (store.add(study, mask, state=CorrectionState.DRAFT).id for mask in (changed(study), nothing))
    assert draft in run("list")[1] and "draft" in run("list")[1]
    code, out, _ = run("accept", draft, empty, "--in", store.path)
    assert code != 0 and out == "" and store.get(draft).state is CorrectionState.DRAFT
    assert run("accept", draft)[0] == 0 and store.get(draft).state is CorrectionState.ACCEPTED
    assert run("accept", empty, "--empty")[0] == 0 and store.get(empty).state is CorrectionState.ACCEPTED
    run("exclude", draft, "--why", "x")
    assert run("accept", draft)[0] != 0 and store.get(draft).state is CorrectionState.EXCLUDED
    assert run("accept", "nothing")[0] != 0


def test_holding_out_is_stored_and_can_be_taken_back(store):
    id = store.corrections()[0].id
    assert run("hold-out", id)[0] == 0 and store.get(id).held_out and "held out" in run("list")[1]
    assert run("hold-out", id, "--undo")[0] == 0 and not store.get(id).held_out


def test_check_tells_and_its_exit_code_says_whether_all_is_sound(store):
    code, out, _ = run("check")
    assert code == 0 and "all is sound" in out
    spoil_mask(store.corrections()[0], None)
    code, out, _ = run("check", "--no-images", "--json")
    assert code == 3 and [f["code"] for f in json.loads(out)["findings"]] == ["mask_changed"]


def test_export_writes_what_can_be_read_again(store, tmp_path):
    code, out, err = run("export", "--out", tmp_path / "out", "--images", "--coding", "brats2021")
    assert code == 0 and "2 corrections" in err
    paths = out.split()
    assert len(paths) == 2
    for path, c in zip(paths, sorted(store.corrections(), key=lambda c: c.id), strict=True):
        study = load_study(tmp_path / "out" / path.split("/")[-2])
        assert np.array_equal(study.segmentation.labels, store.read(c).labels)
    code, out, _ = run("export", "--out", tmp_path / "bids", "--layout", "bids", "--json")
    assert code == 0 and len(json.loads(out)["written"]) == 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("list", "/nowhere"), "no folder of corrections"),
        (("exclude", "nothing", "--why", "x"), "no correction 'nothing'"),
        (("export", "--out", "x", "--layout", "dicom"), "brats, bids"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(store, args, words):
    code, out, err = run(*args)
    assert code == 3 and words in " ".join(err.split()) and "Traceback" not in err and not out
