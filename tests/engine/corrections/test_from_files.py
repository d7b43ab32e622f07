"""`corrections add`: a mask that was edited in another program becomes a correction."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import Store
from brainseg_engine.io import load_study, save_segmentation
from brainseg_engine.phantom import write_study


@pytest.fixture
def world(tmp_path):
    folder = write_study(make_study(1, id="Case_1"), tmp_path / "data")
    truth = load_study(folder).segmentation
    base = tmp_path / "masks" / "Case_1_seg.nii.gz"
    base.parent.mkdir()
    save_segmentation(
        truth, base, coding="brats2023", sidecar={"model": "some", "model_version": "2", "model_sha256": "ab"}
    )
    labels = truth.labels.copy()
    labels[tuple(np.argwhere(labels == 2)[:30].T)] = 3
    edited = tmp_path / "edited.nii.gz"
    save_segmentation(Segmentation(labels, truth.grid), edited, coding="brats2023")
    edited.with_name("edited.json").unlink(missing_ok=True)
    return folder, base, edited, labels


def add(*words, code=0):
    done = CliRunner().invoke(app, ["corrections", "add", *map(str, words)])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def test_the_mask_becomes_a_correction_with_what_was_changed(world, tmp_path):
    folder, base, edited, labels = world
    content = json.loads(
        add(
            folder, "--mask", edited, "--base", base, "--in", tmp_path / "own", "--by", "anna", "--minutes", 3, "--json"
        ).stdout
    )
    (made,) = Store.existing(tmp_path / "own").corrections()
    assert (
        content["state"] == "accepted" and made.by == "anna" and made.base.name == "some" and made.base.version == "2"
    )
    assert sum(t.added for t in made.changed.values()) == 30
    np.testing.assert_array_equal(Store.existing(tmp_path / "own").read(made).labels, labels)
    add(folder, "--mask", edited, "--coding", "brats2023", "--in", tmp_path / "own", "--draft")
    assert [c.state.value for c in Store.existing(tmp_path / "own").corrections()] == ["accepted", "draft"]


def test_what_is_no_correction_is_refused(world, tmp_path):
    folder, base, _, labels = world
    own = ("--in", tmp_path / "own")
    assert "same as" in add(folder, "--mask", base, "--base", base, *own, code=3).stderr
    shifted = load_study(folder).reference.grid
    affine = shifted.affine.copy()
    affine[:3, 3] += 9
    off = tmp_path / "off.nii.gz"
    save_segmentation(Segmentation(labels, Grid(shifted.shape, affine)), off, coding="brats2023")
    assert "does not lie on the grid of T1ce" in " ".join(add(folder, "--mask", off, *own, code=3).stderr.split())
    nothing = tmp_path / "nothing.nii.gz"
    save_segmentation(Segmentation(labels * 0, shifted), nothing, coding="brats2023")
    assert "--empty" in add(folder, "--mask", nothing, "--coding", "brats2023", *own, code=3).stderr
    add(folder, "--mask", nothing, "--coding", "brats2023", "--empty", *own)
    assert not (tmp_path / "none").exists()
