"""The law of the way there and back, on grids of any obliquity and slice thickness."""

import numpy as np
from helpers.raw_grids import FINE, acquired, blobs, dice, oblique
from helpers.raw_study import rigid_motion
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, Region, region_mask
from brainseg_engine.core.morphology import components
from brainseg_engine.core.study import Segmentation
from brainseg_engine.prepare.back import finer, segmentation_onto
from brainseg_engine.prepare.rigid import Rigid, carried


@given(acquired, st.integers(0, 1000))
@settings(max_examples=8)
def test_from_the_1_mm_grid_to_a_series_volumes_stay_regions_nest_and_no_piece_vanishes(target, seed):
    seg = Segmentation(blobs(seed, FINE.shape), FINE)
    there = segmentation_onto(seg, target)
    for region in Region:
        before, after = region_mask(seg.labels, region), region_mask(there.labels, region)
        voxel = float(abs(np.linalg.det(target.affine[:3, :3])))
        assert abs(after.sum() * voxel - before.sum()) <= 0.05 * before.sum() + 3 * voxel
        assert components(after)[1] >= min(1, components(before)[1])
    wt, tc, et = (region_mask(there.labels, r) for r in (Region.WT, Region.TC, Region.ET))
    assert not (et & ~tc).any()
    assert not (tc & ~wt).any()


@given(acquired, st.integers(0, 1000))
@settings(max_examples=8)
def test_painted_on_a_series_there_and_back(own, seed):
    painted = Segmentation(blobs(seed, own.shape, own.spacing), own)
    back = segmentation_onto(segmentation_onto(painted, FINE), own)
    for region, least in ((Region.WT, 0.95), (Region.TC, 0.93), (Region.ET, 0.78)):
        a, b = region_mask(painted.labels, region), region_mask(back.labels, region)
        assert dice(a, b) >= least, (region, dice(a, b))
        assert abs(int(a.sum()) - int(b.sum())) <= 0.08 * a.sum() + 3


def test_slices_that_hold_whole_voxels_come_back_exactly():
    own = Grid((60, 64, 11), np.array([[-1.0, 0, 0, 30], [0, 1, 0, -32], [0, 0, 6, -30.5], [0, 0, 0, 1]]))
    painted = Segmentation(blobs(3, own.shape, own.spacing), own)
    back = segmentation_onto(segmentation_onto(painted, FINE), own)
    np.testing.assert_array_equal(back.labels, painted.labels)


def test_a_speck_and_a_sheet_thinner_than_a_slice_stay():
    labels = np.zeros(FINE.shape, np.uint8)
    labels[20, 20, 20] = Label.ET
    labels[30:50, 30:50, 41] = Label.ED
    thick = Grid((60, 64, 11), np.array([[-1.0, 0, 0, 30], [0, 1, 0, -32], [0, 0, 6, -30.5], [0, 0, 0, 1]]))
    there = segmentation_onto(Segmentation(labels, FINE), thick)
    assert (there.labels == Label.ET).sum() == 1
    assert abs((there.labels == Label.ED).sum() - 400 / 6) <= 400  # ties of a flat sheet: at most the whole sheet
    assert (there.labels == Label.ED).any()


def test_equal_grids_change_nothing_and_a_motion_is_followed():
    seg = Segmentation(blobs(1, FINE.shape), FINE)
    np.testing.assert_array_equal(segmentation_onto(seg, FINE).labels, seg.labels)
    rigid = rigid_motion((0, 0, 0), np.array([5.0, 0, 0]), (0, 0, 0))  # the target's points lie 5 mm to the right
    moved = segmentation_onto(seg, FINE, rigid)
    expected = np.roll(seg.labels, 5, axis=0)  # x runs to the left
    np.testing.assert_array_equal(moved.labels, expected)


def test_probabilities_place_the_border_but_never_what_post_processing_took_away():
    labels = np.zeros(FINE.shape, np.uint8)
    labels[20:40, 20:40, 20:40] = Label.ED
    p = np.where(labels > 0, 0.9, 0.1).astype(np.float16)
    p[50:55, 50:55, 50:55] = 0.95  # a piece that was dropped as too small
    target = oblique(np.array([0.9, 0.9, 5.0]), (4, 3, 2), np.zeros(3), (70, 74, 15))
    there = segmentation_onto(Segmentation(labels, FINE), target, None, {Region.WT: p})
    plain = segmentation_onto(Segmentation(labels, FINE), target)
    assert dice(there.labels > 0, plain.labels > 0) > 0.93
    assert components(there.labels > 0)[1] == 1


def test_a_target_that_shows_a_part_gets_that_part_and_one_beside_it_nothing():
    seg = Segmentation(blobs(2, FINE.shape), FINE)
    half = FINE.crop((0, 0, 0), (60, 64, 33))
    np.testing.assert_array_equal(segmentation_onto(seg, half).labels > 0, seg.labels[:, :, :33] > 0)
    away = Grid(
        (10, 10, 10), Rigid(np.eye(4)).matrix @ np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 500.0]] + [[0] * 4] * 3)
    )
    assert not segmentation_onto(seg, away).labels.any()


def test_a_cavity_and_an_unknown_class_are_kept():
    labels = np.zeros(FINE.shape, np.uint8)
    labels[20:30, 20:30, 20:30] = Label.RC
    target = oblique(np.array([1.0, 1.0, 3.0]), (5, 0, 0), np.zeros(3), (60, 64, 22))
    assert set(np.unique(segmentation_onto(Segmentation(labels, FINE), target).labels)) == {0, Label.RC}
    labels[labels > 0] = Label.TUMOUR
    lgg = Segmentation(labels, FINE, "lgg", regions=(Region.WT,))
    assert set(np.unique(segmentation_onto(lgg, target).labels)) == {0, Label.TUMOUR}


def test_voxels_cut_into_finer_ones_cover_the_same_box():
    grid = oblique(np.array([1.0, 2.0, 6.0]), (3, 5, 7), np.zeros(3), (4, 5, 6))
    small = finer(grid, (1, 2, 6))
    np.testing.assert_allclose(small.to_world(np.array([-0.5] * 3)), grid.to_world(np.array([-0.5] * 3)), atol=1e-9)
    end = np.array(small.shape) - 0.5
    np.testing.assert_allclose(small.to_world(end), grid.to_world(np.array(grid.shape) - 0.5), atol=1e-9)
    assert carried(np.ones(grid.shape), grid, small).min() == 1
