"""Laws of painting and of the 3D tools."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small_study import make_study
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainseg_engine import edits
from brainseg_engine.core.labels import REGION_LABELS, Label, Region, region_mask
from brainseg_engine.edits import Action, Guard, Range

NESTED = (Region.WT, Region.TC, Region.ET)
TARGETS = (*NESTED, Label.NCR, Label.ED, Label.ET, Label.RC, Label.TUMOUR)

shapes = st.tuples(*[st.integers(2, 6)] * 3)


@st.composite
def cases(draw):
    """Labels, a marking, a guard, and what to do."""
    shape = draw(shapes)
    labels = draw(arrays(np.uint8, shape, elements=st.integers(0, 5)))
    marked = draw(arrays(np.bool_, shape))
    inside = draw(st.none() | arrays(np.bool_, shape))
    image = draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    within = draw(st.none() | st.just(Range(image, 0.25, 0.75)))
    guard = Guard(draw(st.frozensets(st.sampled_from(list(Label)))), inside, within)
    return labels, marked, guard


def tools(labels, target, guard, seed=0):
    """Name → result of every tool that changes the target."""
    rng = np.random.default_rng(seed)
    index = tuple(int(rng.integers(n)) for n in labels.shape)
    image = rng.random(labels.shape, dtype=np.float32)
    other = rng.permuted(labels.ravel()).reshape(labels.shape)
    mm = (1.0, 1.2, 2.0)
    to = target if isinstance(target, Label) else Label.NCR
    return {
        "fill_holes": edits.fill_holes(labels, target, guard),
        "fill_holes_2d": edits.fill_holes(labels, target, guard, axis=1),
        "remove_islands": edits.remove_islands(labels, target, 0.005, 0.001, guard),
        "relabel": edits.relabel_component(labels, index, to, guard),
        "relabel_off": edits.relabel_component(labels, index, Label.BACKGROUND, guard),
        "erase_component": edits.erase_component(labels, index, target, guard),
        "take": edits.take_region(labels, other, target, guard),
        "smooth": edits.smooth(labels, target, 1.0, mm, guard),
        "grow": edits.grow(labels, target, image, index, (0.2, 0.8), 4.0, mm, guard),
        "interpolate": edits.interpolate(labels, target, 0, mm, guard=guard),
        "interpolate_marked": edits.interpolate(labels, target, 2, mm, slices=[0, labels.shape[2] - 1], guard=guard),
    }


# --- the table


@pytest.mark.parametrize("region", NESTED)
@pytest.mark.parametrize("action", list(Action))
def test_painting_and_erasing_as_the_design_has_it(action, region):
    before = np.arange(4, dtype=np.uint8).reshape(4, 1, 1)
    after = edits.constrain(before, np.ones_like(before, bool), action, region)
    wanted = {
        (Action.PAINT, Region.WT): [2, 1, 2, 3],
        (Action.PAINT, Region.TC): [1, 1, 1, 3],
        (Action.PAINT, Region.ET): [3, 3, 3, 3],
        (Action.ERASE, Region.WT): [0, 0, 0, 0],
        (Action.ERASE, Region.TC): [0, 2, 2, 2],
        (Action.ERASE, Region.ET): [0, 1, 2, 1],
    }[action, region]
    assert after.ravel().tolist() == wanted


@given(cases(), st.sampled_from(NESTED))
def test_painting_a_region_adds_to_it_and_changes_nothing_inside_it(case, region):
    labels, marked, _ = case
    after = edits.constrain(labels, marked, Action.PAINT, region)
    assert region_mask(after, region)[marked].all()
    for r in NESTED:
        before_r, after_r = region_mask(labels, r), region_mask(after, r)
        assert (after_r >= before_r).all()  # what encloses it grows along
        if REGION_LABELS[r] < REGION_LABELS[region]:
            np.testing.assert_array_equal(after_r, before_r)


@given(cases(), st.sampled_from(NESTED))
def test_erasing_a_region_takes_from_it_and_leaves_what_is_around_it(case, region):
    labels, marked, _ = case
    after = edits.constrain(labels, marked, Action.ERASE, region)
    assert not region_mask(after, region)[marked].any()
    for r in NESTED:
        if REGION_LABELS[r] > REGION_LABELS[region]:
            np.testing.assert_array_equal(region_mask(after, r), region_mask(labels, r))


@given(cases(), st.sampled_from(TARGETS), st.sampled_from(list(Action)))
def test_painting_twice_is_painting_once(case, target, action):
    labels, marked, guard = case
    once = edits.constrain(labels, marked, action, target, guard)
    np.testing.assert_array_equal(edits.constrain(once, marked, action, target, guard), once)
    assert (once == labels)[~marked].all()


# --- the guard holds for everything


@settings(deadline=None)
@given(cases(), st.sampled_from(TARGETS), st.sampled_from(list(Action)))
def test_the_guard_holds_for_the_hand_and_for_every_tool(case, target, action):
    labels, marked, guard = case
    kept = labels.copy()
    results = {"hand": edits.constrain(labels, marked, action, target, guard), **tools(labels, target, guard)}
    for name, after in results.items():
        changed = after != labels
        assert after.dtype == np.uint8 and after.max() <= 5, name
        assert not changed[np.isin(labels, [int(v) for v in guard.protect])].any(), name
        if guard.inside is not None:
            assert not changed[~guard.inside].any(), name
        if guard.within is not None:
            image = guard.within.image
            assert not changed[(image < guard.within.low) | (image > guard.within.high)].any(), name
    np.testing.assert_array_equal(labels, kept)  # the input is left alone


@settings(deadline=None)
@given(cases(), st.sampled_from(NESTED))
def test_no_tool_changes_what_lies_inside_or_outside_of_the_region_but_by_nesting(case, region):
    """A region that a tool adds to pulls those around it along, one it takes from those inside it; nothing else."""
    labels, _, guard = case
    results = tools(labels, region, guard)
    for name in ("fill_holes", "fill_holes_2d", "remove_islands", "take", "smooth", "grow", "interpolate"):
        after = results[name]
        gained = region_mask(after, region) & ~region_mask(labels, region)
        lost = region_mask(labels, region) & ~region_mask(after, region)
        for r in NESTED:
            now, then = region_mask(after, r), region_mask(labels, r)
            if REGION_LABELS[r] > REGION_LABELS[region]:
                np.testing.assert_array_equal(now, then | gained, err_msg=name)
            if REGION_LABELS[r] < REGION_LABELS[region]:
                np.testing.assert_array_equal(now, then & ~lost, err_msg=name)


# --- tool by tool


@settings(deadline=None)
@given(cases(), st.sampled_from(TARGETS))
def test_filling_and_cleaning_twice_is_once(case, target):
    labels, _, guard = case
    for tool in (
        lambda x: edits.fill_holes(x, target, guard),
        lambda x: edits.fill_holes(x, target, guard, axis=0),
        lambda x: edits.remove_islands(x, target, 0.004, 0.001, guard),
        lambda x: edits.take_region(x, np.flip(labels), target, guard),
    ):
        once = tool(labels)
        np.testing.assert_array_equal(tool(once), once)


@given(arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3)))
def test_enclosed_is_what_scipy_fills(mask):
    from scipy.ndimage import binary_fill_holes

    np.testing.assert_array_equal(edits.enclosed(mask), binary_fill_holes(mask) & ~mask)
    np.testing.assert_array_equal(edits.enclosed(mask[0]), binary_fill_holes(mask[0]) & ~mask[0])


def test_a_cavity_is_no_hole():
    labels = np.full((7, 7, 7), 2, np.uint8)
    labels[0] = labels[-1] = 0
    labels[3, 3, 3], labels[3, 5, 3] = Label.RC, Label.BACKGROUND
    after = edits.fill_holes(labels, Region.WT)
    assert after[3, 3, 3] == Label.RC and after[3, 5, 3] == Label.ED


def test_islands_go_by_their_volume():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[1:5, 1:5, 1:5] = 2
    labels[8:10, 8:10, 8:10] = 2
    labels[2, 2, 2] = 3
    after = edits.remove_islands(labels, Region.WT, 0.009, 0.001)
    assert not after[8:10, 8:10, 8:10].any() and (after[1:5, 1:5, 1:5] == labels[1:5, 1:5, 1:5]).all()
    np.testing.assert_array_equal(edits.remove_islands(labels, Region.WT, 0.008, 0.001), labels)
    assert edits.remove_islands(labels, Label.ET, 1.0, 0.001)[2, 2, 2] == Label.ED  # the class around it
    assert edits.remove_islands(labels, Region.TC, 1.0, 0.001)[2, 2, 2] == Label.ED


def test_relabelling_takes_the_component_under_the_cursor_alone():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[1:3, 1:3, 1:3] = labels[6:8, 6:8, 6:8] = 1
    after = edits.relabel_component(labels, (1, 1, 1), Label.ET)
    assert (after[1:3, 1:3, 1:3] == 3).all() and (after[6:8, 6:8, 6:8] == 1).all()
    np.testing.assert_array_equal(edits.relabel_component(labels, (0, 0, 0), Label.ET), labels)
    assert not edits.erase_component(labels, (6, 6, 6), Region.WT)[6:8].any()


@settings(deadline=None, max_examples=60)
@given(cases(), st.sampled_from(TARGETS), st.floats(0.3, 3.0))
def test_smoothing_keeps_the_volume_whatever_is_guarded(case, target, sigma):
    labels, _, guard = case
    after = edits.smooth(labels, target, sigma, (1.0, 1.0, 2.5), guard)
    before_n = np.count_nonzero(edits.target_mask(labels, target))
    if isinstance(target, Region):
        assert np.count_nonzero(edits.target_mask(after, target)) == before_n
        for r in NESTED:
            if r is not target:
                np.testing.assert_array_equal(region_mask(after, r), region_mask(labels, r))


def test_smoothing_takes_a_spike_away():
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[8:16, 8:16, 8:16] = 2
    labels[16:20, 11, 11] = 2
    after = edits.smooth(labels, Region.WT, 1.5, (1, 1, 1))
    assert not after[17:].any() and np.count_nonzero(after) == np.count_nonzero(labels)


def test_growing_stays_in_the_component_the_range_and_the_reach():
    image = np.zeros((30, 30, 30), np.float32)
    image[5:10, 5:10, 5:10] = image[20:25, 5:10, 5:10] = 1.0
    labels = np.zeros(image.shape, np.uint8)
    after = edits.grow(labels, Region.TC, image, (7, 7, 7), (0.5, 1.5), 50.0, (1, 1, 1))
    np.testing.assert_array_equal(after == 1, (image > 0) & (np.indices(image.shape)[0] < 15))
    near = edits.grow(labels, Region.TC, image, (7, 7, 7), (0.5, 1.5), 1.0, (1, 1, 2))
    assert np.count_nonzero(near) == 5
    np.testing.assert_array_equal(edits.grow(labels, Region.TC, image, (0, 0, 0), (0.5, 1.5), 50.0, (1, 1, 1)), labels)


def test_a_click_into_enhancement_grows_enhancement():
    """What stands out like the voxel: not the brain, not the oedema, and the other way round for what is darker."""
    study = make_study()
    image, labels = study.volumes["t1ce"].data, study.segmentation.labels
    usual = float(np.median(image[image > 0]))
    index = tuple(int(i) for i in np.argwhere(labels == 3)[np.count_nonzero(labels == 3) // 2])
    flat = np.where(labels == 3, np.float32(250), np.float32(usual))  # without noise and neighbours
    low, high = edits.limits_like(flat, index, usual)
    assert usual < low < 250 and high == np.inf
    after = edits.grow(np.zeros_like(labels), Region.ET, image, index, (low, high), 50.0, (1, 1, 1))
    grown = after == 3
    assert (labels[grown] == 3).mean() > 0.95 and grown.sum() > 0.5 * np.count_nonzero(labels == 3)
    dark_low, dark_high = edits.limits_like(-flat, index, -usual)
    assert dark_low == -np.inf and dark_high == pytest.approx(-low)


# --- interpolation


@st.composite
def two_slices(draw):
    """Two nested pictures, n slices apart, along one of the axes."""
    h, w, n = draw(st.integers(2, 7)), draw(st.integers(2, 7)), draw(st.integers(2, 6))
    axis = draw(st.integers(0, 2))
    flat = arrays(np.uint8, (h, w), elements=st.integers(0, 3))
    labels = np.zeros((n + 1, h, w), np.uint8)
    labels[0], labels[n] = draw(flat), draw(flat)
    return np.moveaxis(labels, 0, axis), axis, n


@settings(deadline=None)
@given(two_slices(), st.sampled_from(NESTED), st.booleans())
def test_interpolation_keeps_the_given_slices_and_does_not_care_for_direction(case, region, marked):
    labels, axis, n = case
    slices = [0, n] if marked else None
    after = edits.interpolate(labels, region, axis, (1, 1, 1), slices=slices)
    for end in (0, n):
        np.testing.assert_array_equal(np.take(after, end, axis), np.take(labels, end, axis))
    back = np.flip(edits.interpolate(np.flip(labels, axis), region, axis, (1, 1, 1), slices=slices), axis)
    a, b = (region_mask(np.take(labels, end, axis), region) for end in (0, n))
    assume(not (a.any() and b.any()) or (a & b).any())  # moved shapes are rounded one way or the other
    np.testing.assert_array_equal(back, after)


@settings(deadline=None)
@given(two_slices())
def test_interpolated_regions_lie_inside_each_other(case):
    """Interpolating the regions one by one gives, for shapes that overlap, what lies between them, nested."""
    labels, axis, n = case
    ends = [np.take(labels, end, axis) for end in (0, n)]
    assume(all((region_mask(ends[0], r) & region_mask(ends[1], r)).any() for r in NESTED))
    masks = []
    for r in NESTED:
        after = edits.interpolate(labels, r, axis, (1, 1, 1))
        between = np.moveaxis(region_mask(after, r), axis, 0)[1:-1]
        both = region_mask(ends[0], r) & region_mask(ends[1], r)
        either = region_mask(ends[0], r) | region_mask(ends[1], r)
        assert (between >= both).all() and (between <= either).all()
        masks.append(between)
    assert (masks[0] >= masks[1]).all() and (masks[1] >= masks[2]).all()


def test_interpolating_between_discs_gives_the_discs_between():
    labels = np.zeros((11, 60, 60), np.uint8)
    y, x = np.indices((60, 60)) - 30
    labels[0][y**2 + x**2 <= 100] = 2
    labels[10][y**2 + x**2 <= 400] = 2
    after = edits.interpolate(labels, Region.WT, 0, (1, 1, 1))
    radii = np.sqrt(np.count_nonzero(after, axis=(1, 2)) / np.pi)
    np.testing.assert_allclose(radii, np.linspace(10, 20, 11), atol=0.7)


def test_shapes_that_do_not_overlap_are_still_joined():
    labels = np.zeros((9, 50, 20), np.uint8)
    labels[0, 5:11, 7:13] = labels[8, 35:41, 7:13] = 1
    after = edits.interpolate(labels, Region.TC, 0, (1, 1, 1))
    areas = np.count_nonzero(after, axis=(1, 2))
    assert areas.min() > 20 and areas.max() <= 49
    centres = [np.argwhere(s).mean(axis=0)[0] for s in after]
    np.testing.assert_allclose(centres, np.linspace(7.5, 37.5, 9), atol=1.0)


def test_marked_slices_replace_what_lies_between_and_far_ones_do_not():
    labels = np.zeros((10, 12, 12), np.uint8)
    labels[:, 3:9, 3:9] = 2
    labels[4, :, :] = 2
    np.testing.assert_array_equal(edits.interpolate(labels, Region.WT, 0, (1, 1, 1)), labels)
    after = edits.interpolate(labels, Region.WT, 0, (1, 1, 1), slices=[0, 9])
    assert (after == after[0]).all()
    np.testing.assert_array_equal(
        edits.interpolate(labels, Region.WT, 0, (1, 1, 1), slices=[0, 9], most_apart=8), labels
    )


def test_changes_tell_gains_and_losses():
    before, after = np.array([0, 0, 2, 3], np.uint8), np.array([2, 0, 2, 1], np.uint8)
    assert edits.changes(before, after) == {
        Label.BACKGROUND: -1, Label.NCR: 1, Label.ED: 1, Label.ET: -1,
    }  # fmt: skip
