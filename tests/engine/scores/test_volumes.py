"""Laws of volumes, counts and the slice to look at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, Region, region_mask
from brainseg_engine.scores.volumes import (
    axial_axis,
    class_component_counts,
    class_volumes_ml,
    component_counts,
    largest_axial_slice,
    volumes_ml,
)

labels_arrays = arrays(np.uint8, (4, 5, 3), elements=st.integers(0, 5))
GRID = Grid((4, 5, 3), np.diag([0.5, 2.0, 3.0, 1.0]))
CODES = ("RAS", "LPS", "LAS", "PIR", "SRA", "ILP")


def turned(array, codes):
    """The RAS array as a file of that orientation would hold it, and its grid."""
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    out = apply_orientation(array, change)
    return out, Grid(out.shape, inv_ornt_aff(change, array.shape))


@given(labels_arrays)
def test_a_volume_is_the_number_of_voxels_times_their_size(labels):
    volumes = volumes_ml(labels, GRID)
    for region in Region:
        assert volumes[region] == pytest.approx(region_mask(labels, region).sum() * 3.0 / 1000)


@given(labels_arrays)
def test_regions_are_the_sums_of_their_classes(labels):
    volumes, classes = volumes_ml(labels, GRID), class_volumes_ml(labels, GRID, tuple(Label))
    assert volumes[Region.ET] == pytest.approx(classes[Label.ET])
    assert volumes[Region.TC] == pytest.approx(classes[Label.ET] + classes[Label.NCR])
    assert volumes[Region.WT] == pytest.approx(volumes[Region.TC] + classes[Label.ED] + classes[Label.TUMOUR])
    assert sum(classes.values()) == pytest.approx(labels.size * GRID.voxel_ml)


def test_a_region_not_asked_for_is_absent():
    labels = np.zeros((4, 5, 3), np.uint8)
    assert volumes_ml(labels, GRID, (Region.WT,)) == {Region.WT: 0.0}
    assert component_counts(labels, (Region.WT,)) == {Region.WT: 0}


def test_components_are_counted_per_region_and_class():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[0:3, 0, 0] = (Label.NCR, Label.ED, Label.ET)  # one WT, two TC
    labels[8, 8, 8] = Label.ED
    assert component_counts(labels) == {Region.WT: 2, Region.TC: 2, Region.ET: 1}
    assert class_component_counts(labels) == {Label.NCR: 1, Label.ED: 2, Label.ET: 1}


@pytest.mark.parametrize("codes", CODES)
def test_the_largest_axial_slice_is_the_same_place_in_every_orientation(codes):
    mask = np.zeros((6, 8, 10), bool)
    mask[2, 2, 1:9] = True
    mask[1:5, 2:6, 7] = True  # the largest axial slice is 7
    array, grid = turned(mask, codes)
    assert grid.orientation == codes
    axis, index = largest_axial_slice(array, grid)
    assert axis == axial_axis(grid) == next(i for i, c in enumerate(codes) if c in "SI")
    place = np.zeros(3)
    place[axis] = index
    assert grid.to_world(place)[2] == pytest.approx(7.0)


def test_of_equal_slices_the_middle_one():
    mask = np.zeros((4, 5, 30), bool)
    mask[1:3, 1:3, 10:21] = True
    assert largest_axial_slice(mask, Grid(mask.shape, np.eye(4))) == (2, 15)


def test_an_oblique_grid_has_an_axial_axis():
    angle = np.radians(30)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert axial_axis(Grid((4, 5, 6), affine)) == 2


def test_an_empty_mask_has_no_slice():
    assert largest_axial_slice(np.zeros((4, 5, 3), bool), GRID) is None
