"""Laws of Dice and HD95, and a comparison with the definition done the slow way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial.distance import cdist

from brainseg_engine.core.geometry import Grid
from brainseg_engine.scores.overlap import dice, hd95, surface_dice

shapes = st.tuples(*[st.integers(1, 6)] * 3)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)
MM = (1.0, 1.0, 1.0)


@st.composite
def pairs(draw):
    shape = draw(shapes)
    return draw(arrays(np.bool_, shape)), draw(arrays(np.bool_, shape))


def slow_hd95(a, b, spacing):
    """The definition, word by word."""
    if not a.any() and not b.any():
        return 0.0
    if not a.any() or not b.any():
        return float(np.sqrt(sum((n * s) ** 2 for n, s in zip(a.shape, spacing, strict=True))))
    cross = ndimage.generate_binary_structure(3, 1)
    points = [np.argwhere(m & ~ndimage.binary_erosion(m, cross)) * np.array(spacing) for m in (a, b)]
    distances = cdist(*points)
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


def box(shape, start, size):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(i, i + n) for i, n in zip(start, size, strict=True))] = True
    return mask


@given(pairs(), spacings)
def test_hd95_is_what_the_definition_says(ab, spacing):
    assert hd95(*ab, spacing) == pytest.approx(slow_hd95(*ab, spacing), abs=1e-9)


@given(pairs())
def test_dice_is_what_the_definition_says(ab):
    a, b = ({tuple(i) for i in np.argwhere(m)} for m in ab)
    expected = 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
    assert dice(*ab) == pytest.approx(expected)


@given(pairs(), spacings)
def test_both_are_symmetric(ab, spacing):
    a, b = ab
    assert dice(a, b) == dice(b, a)
    assert hd95(a, b, spacing) == hd95(b, a, spacing)


@given(pairs(), spacings, st.sets(st.integers(0, 2)), st.permutations(range(3)))
def test_flips_and_permutations_change_nothing(ab, spacing, flipped, order):
    turned = [np.flip(m, tuple(flipped)).transpose(order) for m in ab]
    assert dice(*turned) == dice(*ab)
    assert hd95(*turned, [spacing[i] for i in order]) == pytest.approx(hd95(*ab, spacing), abs=1e-9)


@given(arrays(np.bool_, shapes), spacings)
def test_equal_masks_are_equal(mask, spacing):
    assert dice(mask, mask.copy()) == 1.0
    assert hd95(mask, mask.copy(), spacing) == 0.0


@given(pairs(), spacings, st.floats(0.1, 10.0))
def test_distances_scale_with_the_spacing(ab, spacing, factor):
    scaled = hd95(*ab, [s * factor for s in spacing])
    assert scaled == pytest.approx(factor * hd95(*ab, spacing), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("axis", "k"), list(itertools.product(range(3), (1, 2, 5))))
def test_a_slab_shifted_by_k_voxels_is_k_voxels_away(axis, k):
    # a face across the axis holds far more than 5 % of the surface, so the 95th percentile is the whole shift
    spacing = (0.5, 1.0, 3.0)
    size = [10, 10, 10]
    size[axis] = 2
    start = [4, 4, 4]
    a = box((24, 24, 24), start, size)
    start[axis] += k
    b = box((24, 24, 24), start, size)
    assert hd95(a, b, spacing) == pytest.approx(k * spacing[axis])
    assert dice(a, b) == pytest.approx(max(0, 2 - k) / 2)


def test_disjoint_masks():
    a, b = box((30, 9, 9), (0, 4, 4), (1, 1, 1)), box((30, 9, 9), (20, 4, 4), (1, 1, 1))
    assert dice(a, b) == 0.0
    assert hd95(a, b, (2.0, 1.0, 1.0)) == 40.0


def test_a_far_blob_counts_once_it_holds_more_than_a_twentieth_of_the_surface():
    truth = box((60, 20, 20), (2, 2, 2), (10, 10, 10))  # 488 voxels of surface
    few, many = truth.copy(), truth.copy()
    few[50:52, 2:4, 2:4] = True  # 8 voxels: 1.6 %
    many[50:54, 2:6, 2:6] = True  # 56 voxels: 10 %
    assert hd95(few, truth, MM) == 0.0
    assert hd95(many, truth, MM) >= 39.0


def test_empty_masks():
    empty, full = np.zeros((4, 5, 6), bool), np.ones((4, 5, 6), bool)
    grid = Grid((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert dice(empty, empty) == 1.0
    assert hd95(empty, empty, grid.spacing) == 0.0
    for a, b in ((empty, full), (full, empty)):
        assert dice(a, b) == 0.0
        assert hd95(a, b, grid.spacing) == pytest.approx(grid.diagonal_mm)


@pytest.mark.parametrize("metric", [dice, lambda a, b: hd95(a, b, MM)])
def test_masks_of_different_shapes_are_refused(metric):
    with pytest.raises(ValueError, match="shapes"):
        metric(np.ones((2, 2, 2), bool), np.ones((2, 2, 1), bool))


def slow_surface_dice(a, b, spacing, tolerance):
    """The definition, word by word."""
    if not a.any() or not b.any():
        return float(not a.any() and not b.any())
    edges = []
    for mask in (a, b):
        inner = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1))
        edges.append(np.argwhere(mask & ~inner) * np.array(spacing))
    distances = cdist(*edges)
    near = np.concatenate([distances.min(axis=1), distances.min(axis=0)]) <= tolerance
    return float(near.mean())


@given(pairs(), spacings, st.floats(0.05, 8.0))
def test_surface_dice_is_its_definition_and_grows_with_the_tolerance(pair, spacing, tolerance):
    a, b = pair
    found = surface_dice(a, b, spacing, tolerance)
    assert found == surface_dice(b, a, spacing, tolerance)
    assert 0 <= found <= surface_dice(a, b, spacing, 2 * tolerance) <= 1
    assert found == pytest.approx(slow_surface_dice(a, b, spacing, tolerance))
    assert surface_dice(a, a, spacing, 0.0) == 1
