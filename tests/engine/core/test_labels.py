"""Codings and regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainseg_engine.core.errors import CodingError
from brainseg_engine.core.labels import (
    CODINGS,
    REGION_LABELS,
    Label,
    Region,
    coding,
    labels_from_regions,
    region_mask,
    region_masks,
)

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)
CODING = st.sampled_from(sorted(CODINGS.values(), key=lambda c: c.name))


def labels_of(classes) -> st.SearchStrategy:
    return hnp.arrays(np.uint8, SHAPES, elements=st.sampled_from(sorted(int(c) for c in classes)))


@given(st.data(), CODING)
def test_canonical_to_file_to_canonical_is_the_identity(data, table):
    labels = data.draw(labels_of(table.writes))
    before = labels.copy()
    assert np.array_equal(table.to_canonical(table.from_canonical(labels)), labels)
    assert np.array_equal(labels, before)


@given(st.data(), CODING, st.sampled_from([np.uint8, np.int16, np.int64, np.float32]))
def test_the_file_type_does_not_matter(data, table, dtype):
    values = data.draw(hnp.arrays(np.uint8, SHAPES, elements=st.sampled_from(sorted(table.values))))
    expected = np.vectorize(lambda v: int(table.values[v]))(values)
    assert np.array_equal(table.to_canonical(values.astype(dtype)), expected)
    assert table.to_canonical(np.asfortranarray(values)).dtype == np.uint8


@given(CODING, st.sampled_from([np.uint8, np.int32]), st.integers(0, 254))
def test_an_unknown_value_is_refused_and_named(table, dtype, value):
    mask = np.zeros((2, 2, 2), dtype=dtype)
    mask[1, 0, 1] = value
    if value in table.values:
        assert table.to_canonical(mask)[1, 0, 1] == table.values[value]
    else:
        with pytest.raises(CodingError, match=rf"a_seg\.nii\.gz holds the value {value}, .*'{table.name}'"):
            table.to_canonical(mask, "a_seg.nii.gz")


@given(CODING, st.sampled_from(list(Label)))
def test_a_class_the_coding_lacks_is_refused_never_folded(table, label):
    mask = np.full((2, 1, 1), label, dtype=np.uint8)
    if label in table.writes:
        assert (table.from_canonical(mask) == table.writes[label]).all()
    else:
        with pytest.raises(CodingError, match=r"cannot express.*the choices are"):
            table.from_canonical(mask)


@pytest.mark.parametrize("bad", [[0.0, 1.5], [0.0, 0.25]])
def test_fractions_are_no_labels(bad):
    with pytest.raises(CodingError, match="x holds fractional values"):
        coding("brats2021").to_canonical(np.array([[bad]]), "x")


def test_negative_values_are_refused():
    with pytest.raises(CodingError, match="value -1,"):
        coding("brats2021").to_canonical(np.array([[[-1, 0]]]))


def test_the_codings_are_the_published_ones():
    ncr, ed, et, rc = Label.NCR, Label.ED, Label.ET, Label.RC
    published = {
        "brats2015": {1: ncr, 2: ed, 3: ncr, 4: et},
        "brats2018": {1: ncr, 2: ed, 4: et},
        "brats2021": {1: ncr, 2: ed, 4: et},
        "BraTS2023": {1: ncr, 2: ed, 3: et},
        "brats2024": {1: ncr, 2: ed, 3: et, 4: rc},
        "decathlon": {1: ed, 2: ncr, 3: et},
    }
    for name, values in published.items():
        assert dict(coding(name).values) == {0: Label.BACKGROUND, **values}, name


def test_an_unknown_coding_names_the_choices():
    with pytest.raises(CodingError) as e:
        coding("brats1999")
    assert all(name in str(e.value) for name in CODINGS)


@given(labels_of(Label))
def test_regions_are_nested_and_hold_what_the_field_says(labels):
    masks = region_masks(labels)
    assert (masks[Region.ET] <= masks[Region.TC]).all() and (masks[Region.TC] <= masks[Region.WT]).all()
    for region, members in REGION_LABELS.items():
        assert np.array_equal(region_mask(labels, region), np.isin(labels, [int(m) for m in members]))


@given(labels_of([Label.BACKGROUND, Label.NCR, Label.ED, Label.ET]))
def test_labels_come_back_from_their_regions(labels):
    m = region_masks(labels)
    assert np.array_equal(labels_from_regions(m[Region.WT], m[Region.TC], m[Region.ET]), labels)


@given(st.data(), SHAPES)
def test_any_three_masks_become_nested(data, shape):
    wt, tc, et = (data.draw(hnp.arrays(np.bool_, shape)) for _ in range(3))
    m = region_masks(labels_from_regions(wt, tc, et))
    assert np.array_equal(m[Region.ET], et)
    assert np.array_equal(m[Region.TC], tc | et)
    assert np.array_equal(m[Region.WT], wt | tc | et)
