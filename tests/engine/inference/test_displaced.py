"""A series that lies beside the others is found, named and laid back; series that lie on each other stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg_engine.augment import acquisition
from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality
from brainseg_engine.core.study_wire import prediction_from_wire, prediction_to_wire
from brainseg_engine.inference import displaced
from brainseg_engine.inference.batch import report
from brainseg_engine.inference.displaced import Found
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.phantom import phantom_study


@pytest.fixture(scope="module")
def study():
    return phantom_study(0, (96, 96, 64))


def moved(study, series, mm=(4.0, -4.0, 4.0), degrees=(3.0, -3.0, 3.0)):
    volume = study.volumes[series]
    channel = torch.from_numpy(np.ascontiguousarray(volume.data, dtype=np.float32))
    acquisition.move(channel, degrees, mm)
    return replace(study, volumes={**study.volumes, series: replace(volume, data=channel.numpy())})


def test_series_that_lie_on_each_other_stay_as_they_are(study):
    found = displaced.look(study)
    assert found == Found()
    same, back = displaced.laid_back(study, found)
    assert back == {} and all(same.volumes[m] is v for m, v in study.volumes.items())
    assert displaced.words(found, back) == ""


@pytest.mark.parametrize("series", list(Modality))
def test_the_series_that_was_moved_is_named_and_laid_back(study, series):
    spoilt = moved(study, series)
    found = displaced.look(spoilt)
    assert list(found.beside) == [series]
    back, mm = displaced.laid_back(spoilt, found)
    assert list(mm) == [series] and 5 < mm[series] < 9
    assert all(back.volumes[m] is v for m, v in spoilt.volumes.items() if m is not series)
    true, brain = study.volumes[series].data, study.volumes[series].data != 0
    off = [np.abs(s.volumes[series].data - true)[brain].mean() for s in (spoilt, back)]
    assert off[1] < off[0] / 3
    assert f"{series.title} lies {mm[series]:.0f} mm beside" in displaced.words(found, mm)
    assert "laid onto them" in displaced.words(found, mm) and "align it" in displaced.words(found, {})


def test_voxels_that_are_no_cubes_and_axes_that_run_backwards_change_nothing(study):
    flipped = {
        m: replace(v, data=v.data[::-1, :, ::2], grid=Grid((96, 96, 32), np.diag([-1.0, 1, 2, 1])))
        for m, v in moved(study, Modality.T2).volumes.items()
    }
    assert list(displaced.look(replace(study, volumes=flipped, segmentation=None)).beside) == [Modality.T2]


def test_of_two_series_it_cannot_be_told_which_lies_wrong(study):
    two = {m: v for m, v in moved(study, Modality.FLAIR).volumes.items() if m in (Modality.T1CE, Modality.FLAIR)}
    spoilt = replace(study, volumes=two)
    found = displaced.look(spoilt)
    assert not found.beside and found.unsettled[:2] == ((Modality.T1CE,), (Modality.FLAIR,))
    assert displaced.laid_back(spoilt, found) == (spoilt, {})
    assert displaced.words(found, {}).startswith(f"T1ce lies {found.unsettled[2]:.0f} mm beside FLAIR:")


@pytest.mark.parametrize("partner", [Modality.T1CE, Modality.T2, Modality.FLAIR])
def test_of_two_series_beside_two_it_cannot_be_told_which_lie_wrong(study, partner):
    spoilt = moved(moved(study, Modality.T1), partner)
    found = displaced.look(spoilt)
    kept = tuple(m for m in study.volumes if m not in (Modality.T1, partner))
    assert not found.beside and {frozenset(s) for s in found.unsettled[:2]} == {
        frozenset((Modality.T1, partner)),
        frozenset(kept),
    }
    assert displaced.laid_back(spoilt, found) == (spoilt, {})
    said = displaced.words(found, {})
    assert " lie " in said and "mm beside" in said and all(m.title in said for m in study.volumes)


def test_two_that_went_different_ways_are_both_laid_onto_the_two_that_stayed(study):
    spoilt = moved(moved(study, Modality.T2), Modality.FLAIR, mm=(-6.0, 5.0, -5.0), degrees=(0.0, 0.0, -4.0))
    found = displaced.look(spoilt)
    assert set(found.beside) == {Modality.T2, Modality.FLAIR} and found.unsettled is None
    _, mm = displaced.laid_back(spoilt, found)
    assert set(mm) == {Modality.T2, Modality.FLAIR}


def test_nothing_is_claimed_of_images_that_cannot_tell(study):
    unknown = {m: replace(v, grid=Grid(v.grid.shape, np.eye(4), calibrated=False)) for m, v in study.volumes.items()}
    empty = {m: replace(v, data=np.zeros_like(v.data)) for m, v in study.volumes.items()}
    flat = {m: replace(v, data=(v.data != 0) * 7.0) for m, v in study.volumes.items()}
    for volumes in (unknown, empty, flat, {Modality.T1: study.volumes[Modality.T1]}):
        assert displaced.look(replace(study, volumes=volumes, segmentation=None)) == Found()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_the_coarse_grid_holds_the_mean_of_each_block(order, dtype):
    data = np.asarray(np.random.default_rng(3).integers(0, 120, (13, 9, 8)), dtype=dtype, order=order)
    pooled = displaced._pooled(data, [4, 2, 1])
    blocks = data[:12, :8].astype(np.float64).reshape(3, 4, 4, 2, 8, 1)
    np.testing.assert_allclose(pooled, blocks.mean(axis=(1, 3, 5)), rtol=1e-6)
    assert pooled.dtype == np.float32


def test_a_rough_registration_settles_only_what_is_near(study, monkeypatch):
    asked = []
    real = displaced._registered
    monkeypatch.setattr(displaced, "_registered", lambda a, b, n, *how: asked.append(how) or real(a, b, n, *how))
    displaced.look(study)
    assert asked == [displaced._ROUGH] * 3
    asked.clear()
    displaced.look(moved(study, Modality.T2))
    assert displaced._FINE in asked


def test_it_can_be_cancelled(study):
    with pytest.raises(Cancelled):
        displaced.laid_back(study, Found({Modality.T2: 5.0}), cancelled=lambda: True)


def test_the_answer_tells_of_it_and_is_that_of_the_series_laid_back(tiny_model, study):
    predictor, spoilt = Predictor(tiny_model, "cpu"), moved(study, Modality.T2)
    answer = predictor.predict(spoilt)
    assert "T2 lies" in answer.displaced and list(answer.laid_back_mm) == [Modality.T2]
    back, _ = displaced.laid_back(spoilt, displaced.look(spoilt))
    np.testing.assert_array_equal(answer.segmentation.labels, predictor.predict(back).segmentation.labels)
    beside = report(answer, spoilt, {})
    assert beside["displaced"] == answer.displaced and list(beside["laid_back_mm"]) == ["t2"]
    seg = answer.segmentation
    there = prediction_from_wire(prediction_to_wire(answer), seg.grid, seg.labels)
    assert (there.displaced, dict(there.laid_back_mm)) == (answer.displaced, dict(answer.laid_back_mm))
    clean = predictor.predict(study)
    assert clean.displaced == "" and "displaced" not in report(clean, study, {})
