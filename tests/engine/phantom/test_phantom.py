"""Phantoms: the same for a seed, nested, zero outside the brain, with the contrasts that name a tissue."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from brainseg_engine.core import paths
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.labels import Label, Region, region_masks
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.io import load_study
from brainseg_engine.phantom import (
    DEMO_SEED,
    HELD_OUT_SEED,
    brats_grid,
    demo_folder,
    phantom_study,
    study_id,
    write_study,
)
from brainseg_engine.phantom.contrast import MEAN, MODALITIES, contrasts
from brainseg_engine.phantom.fields import Box, ellipsoid, resampled, smooth_noise, tube
from brainseg_engine.phantom.tumour import WT_ML, TumourPlan

SMALL = (60, 60, 40)


@pytest.fixture(scope="module")
def small() -> list[Study]:
    return [phantom_study(seed, SMALL) for seed in range(8)]


@pytest.fixture(scope="module")
def demo() -> Study:
    return phantom_study(DEMO_SEED)


def _data(study: Study) -> Mapping[Modality, NDArray[np.int16]]:
    return {m: v.data for m, v in study.volumes.items()}


def _labels(study: Study) -> NDArray[np.uint8]:
    assert study.segmentation is not None
    return study.segmentation.labels


def test_a_seed_gives_the_same_study_again(small: list[Study]) -> None:
    again = phantom_study(3, SMALL)
    assert again.id == small[3].id
    assert np.array_equal(_labels(again), _labels(small[3]))
    for modality, data in _data(again).items():
        assert np.array_equal(data, _data(small[3])[modality])


def test_seeds_differ(small: list[Study]) -> None:
    for one, other in pairwise(small):
        assert not np.array_equal(_labels(one), _labels(other))
        assert not np.array_equal(_data(one)[Modality.T1], _data(other)[Modality.T1])


def test_images_are_zero_outside_one_brain_and_positive_inside(small: list[Study]) -> None:
    for study in small:
        brain = _data(study)[Modality.T1] > 0
        assert 0.1 < brain.mean() < 0.35
        for data in _data(study).values():
            assert data.dtype == np.int16
            assert np.array_equal(data > 0, brain)
            assert data.min() == 0
        assert brain[_labels(study) > 0].all()


def test_the_grid_is_that_of_brats(demo: Study) -> None:
    expected = [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert demo.reference.grid.shape == (240, 240, 155)
    assert np.array_equal(demo.reference.grid.affine, expected)
    assert demo.reference.grid.orientation == "LPS"
    assert demo.aligned


def test_the_demo_is_held_out_and_has_every_region(demo: Study) -> None:
    assert DEMO_SEED >= HELD_OUT_SEED
    counts = np.bincount(_labels(demo).ravel(), minlength=6)
    assert (counts[[Label.NCR, Label.ED, Label.ET]] > 1000).all()
    assert counts[Label.RC] == counts[Label.TUMOUR] == 0
    masks = region_masks(_labels(demo))
    assert (masks[Region.ET] <= masks[Region.TC]).all()
    assert (masks[Region.TC] <= masks[Region.WT]).all()


def test_the_volume_of_the_tumour_is_the_planned_one(demo: Study) -> None:
    plan = TumourPlan.draw(np.random.default_rng([DEMO_SEED, 1]))
    masks = region_masks(_labels(demo))
    assert masks[Region.WT].sum() / 1000 == pytest.approx(plan.wt_ml, rel=0.1)
    assert masks[Region.TC].sum() / 1000 == pytest.approx(plan.wt_ml * plan.core_share, rel=0.1)
    assert masks[Region.ET].sum() == pytest.approx(masks[Region.TC].sum() * plan.rim_share, rel=0.1)


def test_the_tumour_lies_on_the_planned_side(demo: Study) -> None:
    plan = TumourPlan.draw(np.random.default_rng([DEMO_SEED, 1]))
    core = np.argwhere(region_masks(_labels(demo))[Region.TC]).mean(axis=0)
    brain = np.argwhere(_data(demo)[Modality.T1] > 0).mean(axis=0)
    rightwards = (demo.reference.grid.to_world(core) - demo.reference.grid.to_world(brain))[0]
    assert np.sign(rightwards) == plan.side
    assert abs(rightwards) > 5


def test_the_classes_look_as_they_should(demo: Study) -> None:
    """Means of z-scores: the signs that a reader, and a network, go by."""
    labels, brain = _labels(demo), _data(demo)[Modality.T1] > 0
    z = {m: (d - d[brain].mean()) / d[brain].std() for m, d in _data(demo).items()}

    def mean(modality: Modality, label: Label) -> float:
        return float(z[modality][labels == label].mean())

    healthy = brain & (labels == 0)
    fluid = healthy & (z[Modality.T1] < -1.8)
    assert z[Modality.T2][fluid].mean() > 1 > 0 > -1 > z[Modality.FLAIR][fluid].mean()
    for label in (Label.ED, Label.NCR, Label.ET):
        assert mean(Modality.FLAIR, label) > 1
        assert mean(Modality.T2, label) > z[Modality.T2][healthy & ~fluid].mean() + 0.3
    assert mean(Modality.T1CE, Label.ET) > mean(Modality.T1CE, Label.ED) + 1
    assert mean(Modality.T1CE, Label.ET) > mean(Modality.T1CE, Label.NCR) + 1
    assert mean(Modality.T1CE, Label.ET) > mean(Modality.T1, Label.ET) + 1
    # Something enhances that is no tumour.
    assert (z[Modality.T1CE][healthy] > mean(Modality.T1CE, Label.ET)).sum() > 500


def test_grey_and_white_change_places_between_t1_and_t2() -> None:
    for tissue in range(50):
        table = contrasts(np.random.default_rng(tissue))
        t1, t1ce, t2, flair = range(4)
        assert MODALITIES == (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
        assert table["csf"][t1] < table["grey"][t1] < table["white"][t1]
        assert table["white"][t2] < table["grey"][t2] < table["csf"][t2]
        assert table["ED"][t2] > table["grey"][t2] > table["white"][t2]
        assert table["csf"][flair] < min(table["grey"][flair], table["white"][flair]) < table["ED"][flair]
        assert table["ET"][t1ce] > table["white"][t1ce] + 1
        assert set(table) == set(MEAN)


def test_plans_are_balanced_and_varied() -> None:
    plans = [TumourPlan.draw(np.random.default_rng([seed, 1])) for seed in range(400)]
    right = sum(p.side == 1 for p in plans)
    assert 160 < right < 240
    volumes = [p.wt_ml for p in plans]
    assert min(volumes) >= WT_ML[0]
    assert max(volumes) <= WT_ML[1]
    assert 55 < np.median(volumes) < 90
    assert 0.02 < np.mean([p.rim_share == 0 for p in plans]) < 0.15
    assert 0.15 < np.mean([p.foci > 1 for p in plans]) < 0.45


def test_every_small_phantom_has_its_regions(small: list[Study]) -> None:
    for seed, study in enumerate(small):
        plan = TumourPlan.draw(np.random.default_rng([seed, 1]))
        counts = np.bincount(_labels(study).ravel(), minlength=6)
        assert counts[Label.ED] > 0
        assert (counts[Label.ET] > 0) == (plan.rim_share > 0)
        assert set(np.flatnonzero(counts)) <= {0, Label.NCR, Label.ED, Label.ET}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(32, 64), st.integers(32, 64), st.integers(24, 48)),
)
@example(seed=28466, shape=(63, 59, 46))  # smoothing filled a pinhole outside the brain
def test_any_seed_and_shape(seed: int, shape: tuple[int, int, int]) -> None:
    study = phantom_study(seed, shape)
    assert study.reference.grid.same_as(brats_grid(shape))
    assert study.reference.grid.spacing == (1.0, 1.0, 1.0)
    assert (_labels(study) > 0).any()
    assert ((_labels(study) > 0) <= (_data(study)[Modality.T2] > 0)).all()


def test_written_and_read_again_it_is_the_same(tmp_path: Path, small: list[Study]) -> None:
    folder = write_study(small[0], tmp_path / "new" / "place")
    assert sorted(p.name for p in folder.iterdir()) == [
        f"Phantom_0000000-{ending}.nii.gz" for ending in ("seg", "t1c", "t1n", "t2f", "t2w")
    ]
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    again = load_study(folder)
    assert again.id == small[0].id
    assert again.segmentation is not None
    assert again.segmentation.coding == "brats2023"
    assert np.array_equal(_labels(again), _labels(small[0]))
    for modality, volume in again.volumes.items():
        assert volume.data.dtype == np.int16
        assert np.array_equal(volume.data, _data(small[0])[modality])
        assert volume.grid.same_as(small[0].reference.grid)


def test_nothing_is_replaced_unasked(tmp_path: Path, small: list[Study]) -> None:
    folder = write_study(small[0], tmp_path)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        write_study(small[0], tmp_path)
    assert (folder / "notes.txt").exists()
    write_study(small[0], tmp_path, overwrite=True)
    assert not (folder / "notes.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_a_failure_leaves_nothing(tmp_path: Path, small: list[Study], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("brainseg_engine.phantom.files.save_segmentation", full)
    with pytest.raises(KeyboardInterrupt):
        write_study(small[0], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_sample_is_made_once(tmp_path: Path, small: list[Study], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINSEG_HOME", str(tmp_path))
    made = []

    def make(seed: int) -> Study:
        made.append(seed)
        return Study(study_id(seed), small[0].volumes, small[0].segmentation, "brats2023")

    monkeypatch.setattr("brainseg_engine.phantom.phantom_study", make)
    folder = demo_folder()
    assert demo_folder() == folder
    assert made == [DEMO_SEED]
    assert folder.is_relative_to(paths.home())
    next(folder.glob("*-t2f.nii.gz")).unlink()  # a damaged copy is made anew
    assert demo_folder() == folder
    assert len(made) == 2
    assert len(list(folder.iterdir())) == 5


def test_the_command_writes_studies_and_refuses_to_replace_them(
    tmp_path: Path, small: list[Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainseg_engine.cli import app

    monkeypatch.setattr("brainseg_engine.phantom.phantom_study", lambda seed: phantom_study(seed, SMALL))
    command = ["phantom", "--out", str(tmp_path / "out"), "--cases", "2", "--seed", "6"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["Phantom_0000006", "Phantom_0000007"]
    assert np.array_equal(_labels(load_study(tmp_path / "out" / "Phantom_0000007")), _labels(small[7]))
    again = CliRunner().invoke(app, command)
    assert again.exit_code == OutputError.exit_code
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0


def test_distances_are_those_of_simple_bodies() -> None:
    axis = np.linspace(-20, 20, 41, dtype=np.float32)
    box = Box(axis, axis, axis)
    r = np.sqrt((box.points**2).sum(axis=0))
    assert np.allclose(ellipsoid(box.points, (0, 0, 0), (10, 10, 10))[r > 1], (r - 10)[r > 1], atol=1e-3)
    pill = tube(box.points, [(-5, 0, 0, 3), (5, 0, 0, 3)])
    assert pill[20, 20, 20] == pytest.approx(-3)
    assert pill[20, 30, 20] == pytest.approx(7)
    assert pill[40, 20, 20] == pytest.approx(12)


def test_resampling_keeps_linear_fields_and_noise_is_standard() -> None:
    fine = Box(*(np.linspace(-30, 30, n, dtype=np.float32)[:: (-1 if n == 50 else 1)] for n in (50, 41, 33)))
    coarse = fine.coarse(5.0)
    ramp = 2 * coarse.points[0] - coarse.points[1] + 3 * coarse.points[2]
    expected = 2 * fine.points[0] - fine.points[1] + 3 * fine.points[2]
    assert np.allclose(resampled(ramp, coarse, fine), expected, atol=1e-3)
    noise = smooth_noise(np.random.default_rng(0), fine, 12.0)
    assert abs(noise.mean()) < 1e-4
    assert noise.std() == pytest.approx(1, abs=1e-3)
    # Smooth: neighbours 1.5 mm apart differ far less than strangers do.
    assert np.abs(np.diff(noise, axis=1)).mean() < 0.5


def test_a_folder_that_is_no_phantom_is_never_replaced(tmp_path: Path, small: list[Study]) -> None:
    mine = tmp_path / small[0].id
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="no phantom"):
        write_study(small[0], tmp_path, overwrite=True)
    assert (mine / "thesis.txt").read_text() == "mine"
