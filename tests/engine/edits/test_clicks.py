from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.labels import Label, Region, region_mask, region_masks
from brainseg_engine.edits import Click, Guard, Scene, box_clicks, click_to_fix
from brainseg_engine.edits.clicks import MOST_POINTS, thinned

SHAPE = (48, 40, 36)
SPACING = (1.0, 1.0, 1.0)


def ball(centre, radius, spacing=SPACING):
    at = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    return sum(((a - c) * s) ** 2 for a, c, s in zip(at, centre, spacing, strict=True)) < radius**2


def picture(*bright) -> np.ndarray:
    """An image in which those masks are bright, with some noise."""
    image = np.random.default_rng(0).normal(100, 3, SHAPE)
    for mask in bright:
        image[mask] += 60
    return image.astype(np.float32)


TRUTH = ball((20, 20, 18), 9)
HALF = TRUTH & (np.arange(SHAPE[0])[:, None, None] < 20)
LABELS = np.where(HALF, np.uint8(Label.ED), np.uint8(0))
SCENE = Scene([picture(TRUTH)], SPACING)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_click_into_what_is_missing_brings_what_looks_alike():
    found = click_to_fix(LABELS, [Click((25, 20, 18), Region.WT, True)], SCENE) > 0
    assert found[25, 20, 18] and (found >= HALF).all()
    assert dice(found, TRUTH) > dice(HALF, TRUTH) + 0.1


def test_a_click_into_what_is_too_much_takes_it_away():
    other = ball((36, 28, 18), 4)
    labels = np.where(TRUTH | other, np.uint8(Label.ED), np.uint8(0))
    found = click_to_fix(labels, [Click((36, 28, 18), Region.WT, False)], SCENE) > 0
    assert not (found & other).any() and dice(found, TRUTH) > dice(labels > 0, TRUTH)


def test_what_was_said_earlier_holds():
    first = Click((25, 20, 18), Region.WT, True)
    labels = click_to_fix(LABELS, [first], SCENE)
    second = click_to_fix(labels, [Click((27, 20, 18), Region.WT, False)], SCENE, [first])
    assert second[25, 20, 18] and not second[27, 20, 18]


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(0, n - 1) for n in SHAPE]), st.sampled_from(list(Region)), st.booleans(),
    st.integers(0, 2**31),
)  # fmt: skip
def test_the_click_is_obeyed_and_the_regions_stay_nested(index, region, inside, seed):
    rng = np.random.default_rng(seed)
    labels = LABELS.copy()
    labels[ball((18, 20, 18), 6)] = Label.NCR
    labels[ball((16, 20, 18), 3)] = Label.ET
    model = {r: rng.random(SHAPE).astype(np.float16) for r in Region}
    found = click_to_fix(labels, [Click(index, region, inside)], Scene(SCENE.images, SPACING, model))
    assert region_mask(found, region)[index] == inside
    before, after = region_masks(labels), region_masks(found)
    assert (after[Region.ET] <= after[Region.TC]).all() and (after[Region.TC] <= after[Region.WT]).all()
    for r in Region:  # only the way that was asked for
        assert (after[r] >= before[r]).all() if inside else (after[r] <= before[r]).all()


def test_what_must_not_be_changed_is_not():
    inside = np.ones(SHAPE, dtype=bool)
    inside[27:] = False
    guard = Guard(frozenset({Label.ET}), inside)
    labels = LABELS.copy()
    labels[ball((24, 20, 18), 2)] = Label.ET
    found = click_to_fix(labels, [Click((24, 23, 18), Region.TC, True)], Scene(SCENE.images, SPACING, guard=guard))
    np.testing.assert_array_equal(found[27:], labels[27:])
    np.testing.assert_array_equal(found[labels == Label.ET], labels[labels == Label.ET])
    assert found[24, 23, 18] == Label.NCR


def test_it_is_in_millimetres():
    thick = Scene([picture(TRUTH)], (1.0, 1.0, 6.0))
    found = click_to_fix(np.zeros(SHAPE, np.uint8), [Click((20, 20, 18), Region.WT, True)], thick) > 0
    across = found.any(axis=(0, 1)).sum()
    assert found.any(axis=(1, 2)).sum() > 2 * across > 0


def test_no_specks_and_no_crumbs():
    labels = np.where(TRUTH, np.uint8(Label.ED), np.uint8(0))
    rng = np.random.default_rng(1)
    noisy = Scene([rng.normal(100, 60, SHAPE).astype(np.float32)], SPACING)
    found = click_to_fix(labels, [Click((20, 20, 18), Region.WT, False)], noisy) > 0
    from brainseg_engine.core.morphology import components

    parts, n = components(found)
    assert all((parts == i + 1).sum() >= 100 for i in range(n))


def test_a_box_says_what_lies_in_it_and_what_beside_it():
    labels = np.zeros(SHAPE, np.uint8)
    said = box_clicks(((11, 11, 18), (29, 29, 18)), Region.WT, labels)
    found = click_to_fix(labels, said, SCENE) > 0
    assert dice(found, TRUTH) > 0.6
    for click in said:
        assert found[click.index] == click.inside
    assert box_clicks(((5, 5, 5), (5, 9, 5)), Region.TC, labels) == [Click((5, 5, 5), Region.TC, True)]
    assert all(min(c.index) >= 0 for c in box_clicks(((0, 0, 18), (9, 9, 18)), Region.WT, labels))


def test_of_a_long_scribble_some_points_are_heard():
    said = [Click((i % 48, 20, 18), Region.WT, True) for i in range(200)]
    few = thinned(said)
    assert len(few) == MOST_POINTS and few[0] == said[0] and few[-1] == said[47]
    np.testing.assert_array_equal(click_to_fix(LABELS, said, SCENE), click_to_fix(LABELS, few, SCENE))


@pytest.mark.parametrize("click", [Click((20, 20, 18), Region.WT, False), Click((44, 2, 2), Region.ET, False)])
def test_the_labels_given_are_left_alone_and_what_is_so_already_changes_nothing(click):
    before = LABELS.copy()
    click_to_fix(LABELS, [Click((25, 20, 18), Region.WT, True)], SCENE)
    np.testing.assert_array_equal(LABELS, before)
    if not LABELS[click.index]:
        np.testing.assert_array_equal(click_to_fix(LABELS, [click], SCENE), LABELS)
