from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.labels import REGION_LABELS, Label, Region, region_mask
from napari_brainseg.display.region_style import (
    ITEMS,
    RegionView,
    Scheme,
    item_labels,
    item_name,
    label_styles,
    outline_of,
)


@given(visible=st.tuples(*[st.booleans()] * 3))
def test_what_is_shown_is_the_union_of_the_visible_regions(visible):
    view = RegionView()
    for region, on in zip(Region, visible, strict=True):
        view = view.with_item(region, visible=on)
    view = view.with_item("RC", visible=False)
    expected = {label for r, on in zip(Region, visible, strict=True) if on for label in REGION_LABELS[r]}
    assert set(label_styles(view)) == expected


@given(visible=st.tuples(*[st.booleans()] * 3))
def test_a_voxel_takes_the_colour_of_the_innermost_visible_region(visible):
    on = dict(zip(Region, visible, strict=True))
    view = RegionView()
    for region in Region:
        view = view.with_item(region, visible=on[region])
    styles = label_styles(view)
    for label in (Label.NCR, Label.ED, Label.ET, Label.TUMOUR):
        holding = [r for r in (Region.ET, Region.TC, Region.WT) if on[r] and label in REGION_LABELS[r]]
        assert (label in styles) == bool(holding)
        if holding:
            assert styles[label].colour == view.items[holding[0]].colour


def test_hiding_et_shows_it_as_core_and_hiding_the_core_as_whole_tumour():
    view = RegionView().with_item("ET", visible=False)
    assert label_styles(view)[Label.ET] == label_styles(view)[Label.NCR]
    view = view.with_item("TC", visible=False)
    assert label_styles(view)[Label.ET] == label_styles(view)[Label.ED]


def test_classes_are_disjoint():
    view = RegionView().with_scheme("classes").with_item("ET", visible=False)
    styles = label_styles(view)
    assert set(styles) == {Label.NCR, Label.ED, Label.RC, Label.TUMOUR}
    assert len({s.colour for s in styles.values()}) == 4


def test_both_schemes_keep_their_own_items():
    view = RegionView().with_item("WT", opacity=0.9).with_scheme("classes").with_item("ED", visible=False)
    assert view.with_scheme("regions").items["WT"].opacity == 0.9
    assert view.with_scheme("regions").with_scheme("classes").items["ED"].visible is False
    with pytest.raises(KeyError):
        view.with_item("WT", visible=True)
    with pytest.raises(TypeError):
        view.items["ED"] = view.items["NCR"]


def test_opacity_is_kept_within_bounds():
    assert RegionView().with_item("ET", opacity=3).items["ET"].opacity == 1.0
    assert RegionView().with_item("ET", opacity=-1).items["ET"].opacity == 0.0


@pytest.mark.parametrize("scheme", Scheme)
def test_every_label_belongs_to_an_item_and_every_item_has_a_name(scheme):
    assert {v for i in ITEMS[scheme] for v in item_labels(scheme, i)} == set(Label) - {Label.BACKGROUND}
    assert all(item_name(scheme, i) for i in ITEMS[scheme])


@given(seed=st.integers(0, 50), thickness=st.integers(1, 2))
def test_the_outline_lies_inside_and_closes_what_is_shown(seed, thickness):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 4, (5, 5)), np.ones((4, 4), int)).astype(np.uint8)
    ranks = np.zeros(256, np.uint8)
    for label, style in label_styles(RegionView()).items():
        ranks[label] = style.rank
    line = outline_of(labels, ranks, thickness)
    assert not line[labels == 0].any()
    for region in Region:
        mask = region_mask(labels, region)
        edge = np.zeros_like(mask)
        for axis in (0, 1):
            for step in (1, -1):
                beyond = np.roll(mask, step, axis)
                border = [slice(None)] * 2
                border[axis] = 0 if step == 1 else -1
                beyond[tuple(border)] = mask[tuple(border)]
                edge |= mask & ~beyond
        assert line[edge].all()
