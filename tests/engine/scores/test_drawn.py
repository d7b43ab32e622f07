from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.scores import drawn

SHAPE = (40, 44, 20)
OBLIQUE = np.array([[1.8, 0.5, 0, -7], [-0.5, 1.8, 0, 3], [0, 0, 5.5, 5], [0, 0, 0, 1.0]])
GRIDS = [Grid(SHAPE, np.eye(4)), Grid(SHAPE, np.diag([-0.5, -0.9, 6.0, 1.0])), Grid(SHAPE, OBLIQUE)]


@pytest.mark.parametrize("grid", GRIDS)
def test_a_ruler_is_in_mm_whatever_the_spacing(grid):
    a, b = grid.to_world((3, 4, 5)), grid.to_world((3, 4, 9))
    assert drawn.ruler(a, b).first.mm == pytest.approx(4 * grid.spacing[2])
    step = grid.affine[:3, :3] @ (10, -7, 0)
    assert drawn.ruler(a, a + step).first.mm == pytest.approx(float(np.linalg.norm(step)))


@settings(max_examples=40)
@given(st.lists(st.floats(-50, 50), min_size=12, max_size=12))
def test_the_perpendicular_is_at_a_right_angle(numbers):
    a, b, p, q = np.array(numbers).reshape(4, 3)
    found = drawn.with_perpendicular(drawn.ruler(a, b), p, q)
    along = np.subtract(found.first.end, found.first.start)
    across = np.subtract(found.second.end, found.second.start)
    assert abs(along @ across) <= 1e-6 * max(1.0, np.linalg.norm(along) * np.linalg.norm(across))
    assert found.product_mm2 == pytest.approx(found.first.mm * found.second.mm)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_region_of_interest_in_any_plane(grid, axis):
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(100, 10, SHAPE), grid, Modality.T1CE)
    low, high = np.array([4.0, 5.0, 3.0]), np.array([30.0, 29.0, 15.0])
    low[axis] = high[axis] = 8
    found = drawn.roi(grid.to_world(low), grid.to_world(high), grid, axis, [volume])
    mask = drawn.ellipse(found, grid)
    assert mask.any() and np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis))).tolist() == [8]
    sides = [high[i] - low[i] for i in range(3) if i != axis]
    assert mask.sum() == pytest.approx(np.pi / 4 * sides[0] * sides[1], rel=0.1)
    assert found.ml == pytest.approx(mask.sum() * grid.voxel_ml)
    told = found.statistics[Modality.T1CE.value]
    values = volume.data[mask]
    assert (told.mean, told.sd, told.voxels) == pytest.approx((values.mean(), values.std(ddof=1), mask.sum()))
    again = drawn.from_json(drawn.to_json([found]))[0]
    assert again.kind is found.kind and again.first.mm == pytest.approx(found.first.mm, abs=0.01)
    assert drawn.to_json([again])[0]["statistics"] == drawn.to_json([found])[0]["statistics"]


def test_a_point_is_a_region_without_extent():
    grid = GRIDS[0]
    found = drawn.roi((5, 5, 5), (5, 5, 5), grid, 2, [])
    assert found.ml == 0 and not found.statistics
