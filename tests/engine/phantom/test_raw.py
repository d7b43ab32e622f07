"""The phantom as a scanner sees it, and the demo's export of it: told apart, its truth where T1ce shows it."""

import numpy as np
import pytest
from typer.testing import CliRunner

from brainseg_engine import models, phantom
from brainseg_engine.cli import app
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_segmentation
from brainseg_engine.phantom.raw import SLICE_MM, raw_head
from brainseg_engine.prepare.rigid import carried
from brainseg_engine.studies.skull import with_skull

SMALL = (96, 112, 88)


@pytest.fixture(scope="module")
def made():
    return raw_head(phantom.phantom_study(3, SMALL), 3)


def test_series_are_thick_each_on_a_grid_of_its_own_and_the_skull_is_on(made):
    study, _ = made
    grids = [v.grid for v in study.volumes.values()]
    assert all(max(g.spacing) == pytest.approx(SLICE_MM) for g in grids)
    assert not any(a.same_as(b) for i, a in enumerate(grids) for b in grids[:i])
    assert study.segmentation is None
    t1ce = study.volumes[Modality.T1CE]
    assert with_skull(study.volumes, {m: m for m in study.volumes}) or (t1ce.data[0] > 0).any()


def test_the_truth_lies_where_t1ce_shows_it(made):
    study, truth = made
    t1ce = study.volumes[Modality.T1CE]
    enhancing = carried((truth.labels == 3).astype(np.float32), truth.grid, t1ce.grid) > 0.9
    rest = carried((truth.labels == 2).astype(np.float32), truth.grid, t1ce.grid) > 0.9
    assert enhancing.sum() > 20 and np.median(t1ce.data[enhancing]) > 1.2 * np.median(t1ce.data[rest])


@pytest.mark.slow
@pytest.mark.skipif(not any(m.bundled for m in models.installed()), reason="no model is bundled in this checkout")
def test_the_demo_of_a_hospitals_export(tmp_path, monkeypatch):
    out = tmp_path / "demo"
    done = CliRunner().invoke(app, ["demo", "--hospital", "--no-window", "--out", str(out), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    (export,) = (p for p in out.iterdir() if p.is_dir() and p.name.endswith("-hospital"))
    assert len(list(export.iterdir())) == 19
    mask = load_segmentation(next(out.glob("*_seg.nii.gz")))
    assert max(mask.grid.spacing) == pytest.approx(SLICE_MM, abs=1e-3)
