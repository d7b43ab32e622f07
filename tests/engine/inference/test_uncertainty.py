"""Where a model doubts: laws of the entropy, of the profile along an axis, and of the score that ranks studies."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers.small_study import make_study
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainseg_engine.core.events import Progress
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Prediction
from brainseg_engine.inference import uncertainty
from brainseg_engine.inference.uncertainty import NOISE, Score, Scores, doubtful_slices, entropy, mean, profile, score

SHAPE = (5, 6, 7)
halves = hnp.arrays(np.float16, SHAPE, elements=st.floats(0, 1, width=16))


def three(p: np.ndarray) -> dict[Region, np.ndarray]:
    return dict.fromkeys(Region, p)


@given(halves)
def test_doubt_lies_between_nothing_and_one_bit_and_is_the_same_for_yes_and_no(p):
    found = entropy(three(p))
    assert found.shape == SHAPE and found.dtype == np.float16
    assert (found >= 0).all() and (found <= 1).all()
    other = entropy(three((1 - p.astype(np.float32)).astype(np.float16)))
    assert np.allclose(found, other, atol=0.02)


@given(halves)
def test_the_nearer_to_one_half_the_greater_the_doubt(p):
    found, far = entropy(three(p)).ravel(), np.abs(p.ravel().astype(np.float32) - 0.5)
    order = np.argsort(far)
    assert (np.diff(found[order].astype(np.float32)) <= 2e-3).all()


@pytest.mark.parametrize(("p", "bits"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.25, 0.811278)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_known_values(p, bits, order):
    found = entropy({Region.WT: np.full(SHAPE, p, np.float16, order=order)})
    assert np.allclose(found, bits, atol=1e-3)


def test_the_doubts_of_the_regions_are_averaged():
    certain, open_ = np.zeros(SHAPE, np.float16), np.full(SHAPE, 0.5, np.float16)
    found = entropy({Region.WT: certain, Region.TC: open_, Region.ET: open_})
    assert np.allclose(found, 2 / 3, atol=1e-3)


def test_the_map_does_not_depend_on_how_many_voxels_are_done_at_a_time(monkeypatch):
    p = np.random.default_rng(0).random(SHAPE).astype(np.float16)
    whole = entropy(three(p))
    monkeypatch.setattr(uncertainty, "_CHUNK", 11)
    assert np.array_equal(entropy(three(p)), whole)
    assert np.array_equal(entropy(three(np.asfortranarray(p))), whole)


def test_models_that_contradict_each_other_doubt_more_than_each_alone():
    yes, no = three(np.ones(SHAPE, np.float16)), three(np.zeros(SHAPE, np.float16))
    assert not entropy(yes).any() and not entropy(no).any()
    assert np.allclose(entropy(mean([yes, no])), 1)
    assert set(mean([yes, {Region.WT: no[Region.WT]}])) == {Region.WT}  # what both tell of


@given(halves, st.integers(0, 2))
def test_the_profile_adds_up_to_the_whole_without_the_noise(p, axis):
    sums = profile(p, axis)
    assert sums.shape == (SHAPE[axis],)
    assert np.isclose(sums.sum(), p[p > NOISE].astype(np.float64).sum(), rtol=1e-3, atol=1e-3)


@given(hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(0, 100, width=32)))
def test_the_slices_to_look_at_are_apart_and_come_in_order_of_doubt(sums):
    found = doubtful_slices(sums)
    assert (len(found) > 0) == bool(len(sums) and sums.max() > 0)
    if found:
        assert sums[found[0]] == sums.max()
        assert all(sums[a] >= sums[b] for a, b in itertools.pairwise(found))
        assert all(abs(a - b) > 2 for i, a in enumerate(found) for b in found[:i])
        assert all(sums[i] >= 0.25 * sums.max() for i in found)


def test_the_score_is_relative_to_the_tumour_and_counts_volumes_not_voxels():
    blob = np.zeros((20, 20, 20), np.float16)
    blob[:10, :10, :10] = 0.5
    one = Grid(blob.shape, np.eye(4))
    small, large = score(blob, 1000, one), score(blob, 8000, one)
    assert small.score > large.score > 0
    assert small.doubted_ml == pytest.approx(0.5) and small.score == pytest.approx(0.5 / 2)
    assert score(blob, 0, one).score == pytest.approx(0.5)  # nothing found: finite, and doubtful
    thick = Grid(blob.shape, np.diag([1, 1, 4, 1.0]))
    assert score(blob, 1000, thick).doubted_ml == pytest.approx(2.0)
    assert score(np.full_like(blob, NOISE / 2), 1000, one).score == 0
    unknown = replace(one, calibrated=False)
    assert score(blob, 1000, unknown) == small


def test_a_prediction_s_doubt_lies_on_its_grid():
    study = make_study()
    p = three(np.full(study.reference.grid.shape, 0.5, np.float16))
    made = Prediction("x", study.segmentation, "m", "1", "cpu", {}, p)
    found = uncertainty.doubt_of(made)
    assert found.map.shape == study.reference.grid.shape and np.allclose(found.map, 1)
    assert found.score.tumour_ml == pytest.approx((study.segmentation.labels > 0).sum() / 1000)
    certain = replace(made, probabilities=three(np.ones(found.map.shape, np.float16)))
    assert np.allclose(uncertainty.doubt_of(made, certain).map, 0.811, atol=2e-3)  # p = 3/4
    with pytest.raises(ValueError, match="without probabilities"):
        uncertainty.doubt_of(replace(made, probabilities=None))


def test_a_real_model_over_flips_and_several_models(tiny_model):
    from brainseg_engine.inference.predictor import Predictor

    study = make_study(shape=(16, 16, 16))
    heard: list[Progress] = []
    models = [Predictor(tiny_model, "cpu", threads=1), Predictor(tiny_model, "cpu", tta=True, threads=1)]
    found = uncertainty.doubt(study, models, progress=heard.append)
    assert found.map.shape == (16, 16, 16) and found.map.min() >= 0 and 0 < found.map.max() <= 1
    fractions = [e.fraction for e in heard]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_scores_are_kept_by_study_and_by_model():
    one, other = Scores("aa" * 32), Scores("bb" * 32)
    assert one.get("k") is None
    one.put("k", Score(0.5, 1.0, 2.0))
    assert one.get("k") == Score(0.5, 1.0, 2.0) and other.get("k") is None
    assert Scores("aa" * 32, "flips").get("k") is None


def test_the_key_of_files_is_known_until_they_change(tmp_path):
    file = tmp_path / "a.nii.gz"
    file.write_bytes(b"1")
    assert uncertainty.known_key([file]) == ""
    key = uncertainty.remember_key([file], make_study())
    assert uncertainty.known_key([file]) == key
    file.write_bytes(b"12")
    assert uncertainty.known_key([file]) == ""


def test_the_window_reads_scores_without_torch():
    import subprocess
    import sys

    code = "import sys, brainseg_engine.inference.uncertainty, brainseg_engine.corrections; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
