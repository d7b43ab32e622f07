"""Grids against nibabel, and against themselves."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.on_disk import affine_of
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.geometry import Grid

CODES = st.sampled_from(["RAS", "LPS", "LAS", "PIR", "SAR", "IPL"])
SIDES = st.tuples(*[st.floats(0.3, 6)] * 3)
ANGLES = st.floats(-40, 40)
SHAPES = st.tuples(*[st.integers(2, 20)] * 3)


@st.composite
def grids(draw, angle=ANGLES):
    shape = draw(SHAPES)
    return Grid(shape, affine_of(draw(CODES), shape, draw(SIDES), angle=draw(angle)))


POINTS = st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=4)


@given(grids(), POINTS)
def test_index_and_world_are_inverse(grid, points):
    assert np.allclose(grid.to_index(grid.to_world(points)), points, atol=1e-6)
    assert np.allclose(grid.to_world(points), nib.affines.apply_affine(grid.affine, points))


@given(grids(angle=st.just(0.0)))
def test_without_rotation_spacing_volume_and_codes_are_those_of_nibabel(grid):
    assert np.allclose(grid.spacing, nib.affines.voxel_sizes(grid.affine))
    assert grid.orientation == "".join(nib.aff2axcodes(grid.affine))
    assert np.isclose(grid.voxel_ml, np.prod(grid.spacing) / 1000)
    assert grid.obliquity_deg == pytest.approx(0, abs=1e-4)


@given(grids())
def test_a_rotation_changes_neither_size_nor_volume(grid):
    upright = Grid(grid.shape, np.diag([*grid.spacing, 1.0]))
    assert np.isclose(upright.voxel_ml, grid.voxel_ml)
    assert np.isclose(upright.diagonal_mm, grid.diagonal_mm)


def test_obliquity_is_the_angle():
    a = np.radians(17.0)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    assert Grid((3, 3, 3), turned).obliquity_deg == pytest.approx(17.0)


@given(grids(), st.tuples(*[st.integers(-5, 5)] * 3), SHAPES, POINTS)
def test_a_crop_keeps_every_voxel_in_its_place(grid, start, shape, points):
    crop = grid.crop(start, shape)
    assert crop.shape == shape
    assert np.allclose(crop.to_world(points), grid.to_world(np.array(points) + start), atol=1e-6)


@given(grids(), st.floats(0.001, 5))
def test_same_as_is_about_corners(grid, shift):
    moved = grid.affine.copy()
    moved[2, 3] += shift
    other = Grid(grid.shape, moved)
    assert grid.same_as(grid)
    assert grid.same_as(other) == other.same_as(grid) == (shift <= grid.tolerance_mm) or shift == pytest.approx(
        grid.tolerance_mm, abs=1e-6
    )
    assert grid.corner_distance(other) == pytest.approx(shift, abs=1e-9)
    longer = Grid((grid.shape[0] + 1, *grid.shape[1:]), grid.affine)
    assert not grid.same_as(longer) and np.isinf(grid.corner_distance(longer))


@pytest.mark.parametrize(
    "affine", [np.zeros((4, 4)), np.diag([1, 1, 0, 1]), np.full((4, 4), np.nan), np.eye(3)], ids=str
)
def test_what_is_no_grid_is_refused(affine):
    with pytest.raises(ValueError, match="affine"):
        Grid((2, 2, 2), affine)


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 0), (2, 2, 2, 2)])
def test_shapes_are_three_axes(shape):
    with pytest.raises(ValueError, match="shape"):
        Grid(shape, np.eye(4))


def test_the_affine_is_a_copy_that_nobody_changes():
    mine = np.eye(4)
    grid = Grid((2, 2, 2), mine)
    mine[0, 0] = 9
    assert grid.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 9
