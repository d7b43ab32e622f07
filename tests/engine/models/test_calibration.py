"""What a card says of how far a model's numbers can be trusted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.labels import Region
from brainseg_engine.models import checkpoint
from brainseg_engine.models.calibration import (
    AS_IS,
    Appearance,
    Calibration,
    RegionCalibration,
    about,
    conformal_quantile,
    scaled,
    score,
)
from brainseg_engine.scores.volumes import limits

ML = st.floats(0, 500)
SPREAD = st.floats(0, 6)


def calibration(**changes):
    """Of all three regions."""
    region = RegionCalibration(
        temperature=1.5, offset=-0.5, error_before=0.01, error_after=0.002, quantile=0.6, coverage=0.9, width=0.7,
        bins_after=((0.1, 0.12, 0.5), (0.9, 0.88, 0.5)),
    )  # fmt: skip
    return Calibration(**({"regions": dict.fromkeys(Region, region), "cases": 32} | changes))


@given(ML, SPREAD, st.floats(0.01, 20))
def test_an_interval_holds_the_volume_itself_and_never_less_than_nothing(ml, spread, quantile):
    low, high = about(ml, spread, quantile)
    assert 0 <= low <= ml <= high < math.inf


@given(ML, ML, SPREAD, st.floats(0.05, 5))
def test_an_interval_holds_a_volume_exactly_where_its_score_is_small_enough(true, ml, spread, quantile):
    low, high = about(ml, spread, quantile)
    found = score(true, ml, spread)
    if abs(found - quantile) > 1e-6 * max(1, quantile):
        assert (low <= true <= high) == (found <= quantile)


def test_the_quantile_holds_at_least_the_level_of_exchangeable_scores():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(3000):
        scores = rng.gamma(1.5, size=33)
        held.append(scores[0] <= conformal_quantile(list(scores[1:])))
    # 30/33 of them in the long run; three standard errors below 0.9 would be 0.884
    assert 0.89 <= np.mean(held) <= 0.93


def test_of_too_few_scores_nothing_is_held():
    assert conformal_quantile([1.0] * 8) == math.inf
    assert conformal_quantile([1.0] * 9) == 1.0


@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=50),
    st.floats(0.2, 10),
    st.floats(-5, 5),
    st.floats(0.05, 0.95),
)
def test_thresholds_can_be_taken_along(values, temperature, offset, threshold):
    p = np.array(values, dtype=np.float32)
    after = scaled(p, (temperature, offset))
    assert ((after >= 0) & (after <= 1)).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(after[order]) >= -1e-6).all()
    at = scaled(np.array([threshold], dtype=np.float32), (temperature, offset))[0]
    clear = np.abs(p - threshold) > 1e-4
    assert (after[clear & (p > threshold)] >= at).all() and (after[clear & (p < threshold)] <= at).all()


def test_what_is_not_scaled_stays_what_it_is():
    p = np.array([0, 0.3, 1], dtype=np.float32)
    np.testing.assert_array_equal(scaled(p, AS_IS), p)
    np.testing.assert_array_equal(scaled(p, (2.0, 1.0))[[0, 2]], [0, 1])


def test_a_card_keeps_its_calibration_and_the_weights_stay_bit_for_bit(tiny_model, tmp_path):
    from safetensors.torch import load_file

    look = Appearance(mean=(0.0,) * 8, spread=(1.0,) * 8, threshold=2.0, series=4, false_alarms=0.05)
    written = calibration(appearance=look, confidence_correlation=0.8, made_from="phantoms")
    out = tmp_path / "calibrated.safetensors"
    checkpoint.with_card(tiny_model, out, lambda card: card.model_copy(update={"calibration": written}))
    card, _ = checkpoint.read_metadata(out)
    assert card.calibration == written
    before, after = load_file(tiny_model), load_file(out)
    assert before.keys() == after.keys()
    assert all(before[k].dtype == after[k].dtype and bool((before[k] == after[k]).all()) for k in before)


def test_a_card_of_before_has_none(tiny_model):
    card, _ = checkpoint.read_metadata(tiny_model)
    assert card.calibration is None


def test_images_far_from_all_that_was_learnt_are_told_and_missing_series_do_not_count():
    look = Appearance(mean=(0.0,) * 8, spread=(1.0,) * 8, threshold=2.0, series=4, false_alarms=0.05)
    known = calibration(appearance=look)
    near, far = np.ones(8), np.ones(8)
    far[4:6] = 3
    assert known.unlike(near) == ""
    assert "look unlike" in known.unlike(far)
    far[4:6] = np.nan
    assert known.unlike(far) == ""
    assert calibration().unlike(far) == ""


@pytest.mark.parametrize(("interval", "words"), [((36.2, 47.4), "36–47"), ((0, 4.04), "0.0–4.0"), ((3.2, 12), "3–12")])
def test_limits_in_words(interval, words):
    assert limits(interval) == words
