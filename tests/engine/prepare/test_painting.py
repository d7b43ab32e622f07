"""Laws of painting on a series as acquired: it is told on the grid of 1 mm, and nothing is lost there or on the way back."""

import numpy as np
import pytest
from helpers.raw_grids import FINE, acquired, blobs, dice, oblique
from helpers.raw_study import rigid_motion
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brainseg_engine.core.labels import Label, Region, region_mask
from brainseg_engine.core.morphology import components
from brainseg_engine.core.study import Segmentation
from brainseg_engine.prepare.back import segmentation_onto
from brainseg_engine.prepare.painting import painted_onto, reach

motions = st.builds(
    lambda angles, shift: rigid_motion(angles, np.array(shift), (0, 0, 0)),
    st.tuples(*[st.floats(-8, 8)] * 3),
    st.tuples(*[st.floats(-3, 3)] * 3),
)
EMPTY = np.zeros(FINE.shape, np.uint8)


def ellipsoid(own, rigid, seed):
    """A lesion of 8 to 12 mm within what both grids show (X, Y, Z) on ``own``."""
    rng = np.random.default_rng(seed)
    i = np.stack(np.indices(own.shape), -1)
    p = rigid.inverse.apply(own.to_world(i)) - rng.uniform(-8, 8, 3)
    return np.sqrt(((p / rng.uniform(8, 12, 3)) ** 2).sum(-1)) < 1


@given(acquired, motions, st.integers(0, 1000))
@settings(max_examples=5)
def test_painted_on_a_series_the_1_mm_grid_holds_it_and_gives_it_back(own, rigid, seed):
    lesion = ellipsoid(own, rigid, seed)
    before = np.zeros(own.shape, np.uint8)
    after = np.where(lesion, np.uint8(Label.ET), before)
    on_1mm = painted_onto(EMPTY, FINE, before, after, own, rigid)
    voxel = float(abs(np.linalg.det(own.affine[:3, :3])))
    assert abs((on_1mm > 0).sum() - lesion.sum() * voxel) <= 0.06 * lesion.sum() * voxel
    back = segmentation_onto(Segmentation(on_1mm, FINE), own, rigid.inverse)
    assert dice(back.labels > 0, lesion) >= 0.93
    assert ((back.labels == 0) | (back.labels == Label.ET)).all()


@example(
    own=oblique(np.array((1.0, 0.75, 6.0)), (0, 0, 0), np.zeros(3), (70, 99, 13)),
    rigid=rigid_motion((0, 0, 0), np.zeros(3), (0, 0, 0)),
    seed=248,
)
@given(acquired, motions, st.integers(0, 1000))
@settings(max_examples=3)
def test_strokes_side_by_side_leave_no_seam_and_what_was_not_painted_stays(own, rigid, seed):
    labels = blobs(seed, FINE.shape)
    before = segmentation_onto(Segmentation(labels, FINE), own, rigid.inverse).labels
    lesion = ellipsoid(own, rigid, seed + 1) & (before == 0)
    half = lesion & (np.arange(own.shape[0]) < own.shape[0] // 2)[:, None, None]
    first = np.where(half, np.uint8(Label.ED), before)
    both = np.where(lesion, np.uint8(Label.ED), before)
    at_once = painted_onto(labels, FINE, before, both, own, rigid)
    one_by_one = painted_onto(painted_onto(labels, FINE, before, first, own, rigid), FINE, first, both, own, rigid)
    assert (at_once != one_by_one).sum() <= 4  # pieces thinner than a voxel are told by one
    # a piece of 1 mm that the series is too coarse to show is painted over with the voxel that its centre lies in
    there = np.moveaxis(rigid.apply(FINE.to_world(np.stack(np.indices(FINE.shape), -1))), -1, 0)
    at = np.einsum("ij,j...->i...", np.linalg.inv(own.affine)[:3, :3], there - own.affine[:3, 3].reshape(3, 1, 1, 1))
    at = np.floor(at + 0.5).astype(int)
    inside = ((at >= 0) & (at < np.reshape(own.shape, (3, 1, 1, 1)))).all(axis=0)
    painted = inside & (before != both)[tuple(np.clip(a, 0, n - 1) for a, n in zip(at, own.shape, strict=True))]
    elsewhere = ~(painted | ((labels == 0) & (at_once == Label.ED)))
    np.testing.assert_array_equal(at_once[elsewhere], labels[elsewhere])


@given(acquired, motions, st.integers(0, 1000), st.sampled_from([Region.WT, Region.ET]))
@settings(max_examples=5)
def test_a_region_that_is_erased_on_the_series_leaves_nothing(own, rigid, seed, region):
    labels = blobs(seed, FINE.shape)
    before = segmentation_onto(Segmentation(labels, FINE), own, rigid.inverse).labels
    erased = {Region.WT: Label.BACKGROUND, Region.ET: Label.NCR}[region]
    after = np.where(region_mask(before, region), np.uint8(erased), before)
    left = painted_onto(labels, FINE, before, after, own, rigid)
    assert region_mask(left, region).sum() <= 0.03 * region_mask(labels, region).sum()
    if region is Region.WT:
        assert not left.any()


def test_a_stroke_thinner_than_a_voxel_leaves_one_and_a_class_never_told_stays_out():
    own = oblique(np.array([0.3, 0.3, 5.0]), (4, 3, 2), np.zeros(3), (200, 200, 12))
    before = np.zeros(own.shape, np.uint8)
    for at in ((80, 90, 6), (81, 120, 6), (100, 101, 5)):
        after = before.copy()
        after[at] = Label.NCR
        on_1mm = painted_onto(EMPTY, FINE, before, after, own)
        assert 1 <= (on_1mm == Label.NCR).sum() <= 8 and set(np.unique(on_1mm)) == {0, Label.NCR}
        assert components(on_1mm > 0)[1] == 1


def test_nothing_painted_changes_nothing_and_what_lies_beyond_is_known_before():
    own = oblique(np.array([1.0, 1.0, 4.0]), (5, 0, 3), np.array([20.0, 0, 0]), (70, 74, 20))
    labels, view = blobs(2, FINE.shape), np.zeros(own.shape, np.uint8)
    np.testing.assert_array_equal(painted_onto(labels, FINE, view, view, own), labels)
    within = reach(FINE, own)
    assert 0 < within.mean() < 1
    beyond = np.where(within, view, np.uint8(Label.ED))
    assert (painted_onto(EMPTY, FINE, view, beyond, own) > 0).sum() < 0.05 * EMPTY.size
    held = np.where(within, np.uint8(Label.ED), view)
    told = (painted_onto(EMPTY, FINE, view, held, own) > 0).sum()
    assert told == pytest.approx(within.sum() * 4.0, rel=0.03)
