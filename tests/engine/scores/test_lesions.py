"""Lesion-wise scores: the rules one by one on masks made by hand, and all together against the rules done the slow way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from brainseg_engine.scores.lesions import DILATION_MM, PENALTY_MM, SMALLEST_MM3, LesionScore, dilated, lesion_wise
from brainseg_engine.scores.overlap import dice, hd95

SHAPE = (48, 20, 20)
MM = (1.0, 1.0, 1.0)


def blocks(*starts, size=4, shape=SHAPE):
    """Cubes of 64 mm³ that start at those x."""
    mask = np.zeros(shape, bool)
    for x in starts:
        mask[x : x + size, 6 : 6 + size, 6 : 6 + size] = True
    return mask


def slow(prediction, truth):
    """The published procedure word by word, for voxels of 1 mm: (Dice, HD95, found, missed, extra)."""
    near = ndimage.generate_binary_structure(3, 2)
    touch = np.ones((3, 3, 3))
    zones, n = ndimage.label(ndimage.binary_dilation(truth, near, iterations=3), touch)
    parts, m = ndimage.label(prediction, touch)
    rows, used = [], set()
    for lesion in range(1, n + 1):
        own = truth & (zones == lesion)
        around = ndimage.binary_dilation(own, near, iterations=3)
        met = set(parts[around].tolist()) - {0}
        used |= met
        if own.sum() > 50:
            predicted = np.isin(parts, list(met))
            rows.append((dice(predicted, own), hd95(predicted, own, MM)) if met else None)
    extra = m - len(used)
    values = [row or (0.0, 374.0) for row in rows] + [(0.0, 374.0)] * extra
    means = np.mean(values, axis=0) if values else (1.0, 0.0)
    found = sum(row is not None for row in rows)
    return (*map(float, means), found, len(rows) - found, extra)


def test_the_published_numbers():
    assert (DILATION_MM, SMALLEST_MM3, PENALTY_MM) == (3.0, 50.0, 374.0)


@given(arrays(np.bool_, (9, 10, 11), elements=st.booleans()))
def test_equal_masks_are_perfect(mask):
    score = lesion_wise(mask, mask.copy(), MM)
    assert (score.dice, score.hd95_mm, score.missed, score.extra) == (1.0, 0.0, 0, 0)


def test_all_found():
    assert lesion_wise(blocks(4, 30), blocks(4, 30), MM) == LesionScore(1.0, 0.0, 2, 0, 0)


def test_one_missed():
    assert lesion_wise(blocks(4), blocks(4, 30), MM) == LesionScore(0.5, PENALTY_MM / 2, 1, 1, 0)


def test_one_extra():
    assert lesion_wise(blocks(4, 30), blocks(4), MM) == LesionScore(0.5, PENALTY_MM / 2, 1, 0, 1)


def test_an_extra_counts_however_small():
    prediction = blocks(4)
    prediction[40, 10, 10] = True
    assert lesion_wise(prediction, blocks(4), MM).extra == 1


@pytest.mark.parametrize(("gap", "lesions"), [(5, 1), (6, 1), (7, 2), (8, 2)])
def test_parts_whose_dilations_touch_are_one_lesion(gap, lesions):
    truth = blocks(4, 8 + gap)
    # 3 mm from either side leave gap - 6 voxels between; 26-connected ones have none between
    assert lesion_wise(truth, truth, MM).found == lesions
    one = lesion_wise(blocks(4), truth, MM)
    assert (one.found, one.missed) == (1, lesions - 1)
    assert one.dice == pytest.approx(2 / 3 if lesions == 1 else 1 / 2)


def test_one_component_may_belong_to_two_lesions():
    truth, bridge = blocks(4, 30), blocks(4, 30)
    bridge[4:34, 7, 7] = True
    score = lesion_wise(bridge, truth, MM)
    assert (score.found, score.missed, score.extra) == (2, 0, 0)
    assert score.dice == pytest.approx(2 * 64 / (64 + int(bridge.sum())))


def test_two_components_in_the_reach_of_a_lesion_are_its_prediction_together():
    truth = blocks(10, size=6)
    prediction = blocks(10, size=2) | blocks(14, size=2)
    assert lesion_wise(prediction, truth, MM) == LesionScore(
        dice(prediction, truth), hd95(prediction, truth, MM), 1, 0, 0
    )


@pytest.mark.parametrize(("distance", "found"), [(3, True), (4, False)])
def test_a_component_beside_a_lesion_belongs_to_it_within_3_mm(distance, found):
    score = lesion_wise(blocks(8 + distance - 1), blocks(4), MM)
    assert (score.found, score.missed, score.extra) == ((1, 0, 0) if found else (0, 1, 1))
    assert score.dice == 0.0


@pytest.mark.parametrize(("voxels", "counted"), [(50, 0), (51, 1)])
def test_lesions_of_at_most_50_mm3_are_dropped_found_or_missed(voxels, counted):
    truth = np.zeros(SHAPE, bool)
    line = np.flatnonzero(blocks(10, size=6))[:voxels]
    truth.reshape(-1)[line] = True
    missed = lesion_wise(np.zeros(SHAPE, bool), truth, MM)
    assert missed == (LesionScore(0.0, PENALTY_MM, 0, 1, 0) if counted else LesionScore(1.0, 0.0, 0, 0, 0))
    hit = lesion_wise(blocks(10), truth, MM)
    assert (hit.found, hit.missed, hit.extra) == (counted, 0, 0)  # what touches a dropped lesion is no extra


def test_mm3_and_not_voxels_decide():
    truth = blocks(10, size=3)  # 27 voxels
    assert lesion_wise(truth, truth, MM).found == 0
    assert lesion_wise(truth, truth, (1.0, 1.0, 2.0)).found == 1


def test_empty_masks():
    empty = np.zeros(SHAPE, bool)
    assert lesion_wise(empty, empty, MM) == LesionScore(1.0, 0.0, 0, 0, 0)
    assert lesion_wise(blocks(4), empty, MM) == LesionScore(0.0, PENALTY_MM, 0, 0, 1)
    assert lesion_wise(empty, blocks(4), MM) == LesionScore(0.0, PENALTY_MM, 0, 1, 0)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        lesion_wise(np.ones((2, 2, 2), bool), np.ones((2, 2, 1), bool), MM)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.8, 0.99), st.floats(0.0, 0.03))
def test_it_is_the_published_procedure(seed, level, noise):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((30, 28, 26)), 2.0)
    truth = field > np.quantile(field, level)
    guess = ndimage.gaussian_filter(field + rng.normal(0, noise, field.shape), 0.8)
    prediction = guess > np.quantile(guess, level)
    score = lesion_wise(prediction, truth, MM)
    values = (score.dice, score.hd95_mm, score.found, score.missed, score.extra)
    assert values == pytest.approx(slow(prediction, truth))


@given(arrays(np.bool_, (7, 8, 9), elements=st.sampled_from([False] * 15 + [True])))
def test_the_dilation_is_three_steps_of_the_18_neighbourhood(mask):
    steps = ndimage.generate_binary_structure(3, 2)
    expected = ndimage.binary_dilation(mask, steps, iterations=3)
    assert np.array_equal(dilated(mask, MM), expected)
    assert np.array_equal(dilated(mask, (1.0000001, 0.9999999, 1.0)), expected)  # what headers hold


@pytest.mark.parametrize(("spacing", "reach"), [((0.5, 1.0, 3.0), (6, 3, 1)), ((5.5, 2.0, 0.9), (0, 1, 3))])
def test_the_dilation_is_measured_in_mm(spacing, reach):
    point = np.zeros((21, 21, 21), bool)
    point[10, 10, 10] = True
    grown = dilated(point, spacing)
    offsets = np.argwhere(grown) - 10
    assert tuple(offsets.max(axis=0)) == tuple(-offsets.min(axis=0)) == reach
    assert (np.abs(offsets * spacing).sum(axis=1) <= 6.01).all()


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_flips_and_permutations_change_nothing(seed, order, flipped):
    rng = np.random.default_rng(seed)
    a, b = (ndimage.gaussian_filter(rng.random((20, 22, 24)), 1.5) > 0.53 for _ in range(2))
    spacing = (1.0, 1.5, 0.7)
    turned = [np.flip(m, tuple(flipped)).transpose(order) for m in (a, b)]
    one, other = lesion_wise(a, b, spacing), lesion_wise(*turned, [spacing[i] for i in order])
    assert (one.found, one.missed, one.extra) == (other.found, other.missed, other.extra)
    assert (one.dice, one.hd95_mm) == pytest.approx((other.dice, other.hd95_mm))
