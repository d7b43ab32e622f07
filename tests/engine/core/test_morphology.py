"""Laws of bounding boxes, components, surfaces and meshes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.morphology import bounding_box, components, depth, mesh, surface, union_box

masks = arrays(np.bool_, st.tuples(*[st.integers(1, 7)] * 3), elements=st.booleans())


def ball(shape=(24, 26, 28), centre=(12, 13, 14), radius=7.0, spacing=(1.0, 1.0, 1.0)):
    index = np.indices(shape)
    away = sum(((i - c) * s) ** 2 for i, c, s in zip(index, centre, spacing, strict=True))
    return away <= radius**2


@given(masks)
def test_bounding_box_holds_all_and_is_tight(mask):
    box = bounding_box(mask)
    if box is None:
        assert not mask.any()
        return
    assert mask[box].sum() == mask.sum()
    for axis in range(3):
        assert np.take(mask[box], 0, axis).any()
        assert np.take(mask[box], -1, axis).any()


@given(masks, st.tuples(*[st.floats(0.5, 3)] * 3))
def test_the_depth_is_the_distance_to_what_is_outside(mask, sides):
    if not mask.all():
        np.testing.assert_allclose(depth(mask, sides), ndimage.distance_transform_edt(mask, sampling=sides))


def test_a_margin_grows_the_box_up_to_the_border():
    mask = np.zeros((10, 10, 10), bool)
    mask[4:6, 0, 9] = True
    assert bounding_box(mask, 2) == (slice(2, 8), slice(0, 3), slice(7, 10))


@given(masks, st.data())
def test_union_box_is_the_box_of_the_union(a, data):
    b = data.draw(arrays(np.bool_, a.shape))
    assert union_box(a, b) == bounding_box(a | b)


@given(masks)
def test_components_agree_with_scipy(mask):
    labelled, n = components(mask)
    expected, m = ndimage.label(mask, np.ones((3, 3, 3)))
    assert n == m
    assert np.array_equal(labelled > 0, mask)
    pairs = {(int(x), int(y)) for x, y in zip(labelled[mask], expected[mask], strict=True)}
    assert len(pairs) == n  # one to one


def test_a_corner_joins_and_a_gap_separates():
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert components(mask)[1] == 1
    mask[3, 3, 3] = True
    assert components(mask)[1] == 2


@given(masks)
def test_surface_is_the_mask_minus_its_erosion(mask):
    eroded = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1), border_value=0)
    assert np.array_equal(surface(mask), mask & ~eroded)


def test_a_mask_that_fills_the_array_has_the_border_as_surface():
    full = np.ones((5, 6, 7), bool)
    inner = np.zeros_like(full)
    inner[1:-1, 1:-1, 1:-1] = True
    assert np.array_equal(surface(full), full & ~inner)


def _volume(vertices, faces):
    """The signed volume inside a closed mesh: positive when the faces are wound outwards."""
    a, b, c = (vertices[faces[:, i]].astype(float) for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def _is_closed(faces):
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, counts = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    return (counts % 2 == 0).all()


def test_the_mesh_of_a_ball_is_a_ball():
    mask = ball()
    vertices, faces = mesh(mask)
    assert (vertices.dtype, faces.dtype) == (np.float32, np.int32)
    radii = np.linalg.norm(vertices - np.array([12, 13, 14]), axis=1)
    assert radii.min() > 6.3
    assert radii.max() < 7.7
    assert _volume(vertices, faces) == pytest.approx(mask.sum(), rel=0.06)
    assert _is_closed(faces)


def test_a_mesh_at_the_border_is_closed_too():
    vertices, faces = mesh(np.ones((4, 5, 6), bool))
    assert _is_closed(faces)
    assert vertices.min() < 0


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-5, 5))
@settings(max_examples=15)
def test_the_mesh_moves_with_the_mask(i, j, k):
    here, faces = mesh(ball(radius=4.0))
    there, moved_faces = mesh(ball(radius=4.0, centre=(12 + i, 13 + j, 14 + k)))
    assert np.allclose(there, here + np.array([i, j, k]), atol=1e-4)
    assert np.array_equal(faces, moved_faces)


def test_with_a_grid_smoothing_is_in_mm():
    spacing = (1.0, 1.0, 3.0)
    grid = Grid((40, 40, 20), np.diag([*spacing, 1.0]))
    mask = ball((40, 40, 20), (20, 20, 10), 12.0, spacing)
    vertices, _ = mesh(mask, grid)
    radii = np.linalg.norm((vertices - np.array([20, 20, 10])) * np.array(spacing), axis=1)
    assert radii.mean() == pytest.approx(12.0, abs=0.5)
    assert radii.max() < 14.0


@given(arrays(np.bool_, (5, 5, 5)))
@settings(max_examples=30)
def test_every_component_can_be_seen(mask):
    vertices, _ = mesh(mask)
    labelled, n = components(mask)
    for c in range(1, n + 1):
        voxels = np.argwhere(labelled == c)
        away = np.linalg.norm(vertices[None] - voxels[:, None], axis=2)
        assert away.min() < 1.0


def test_an_empty_mask_has_an_empty_mesh():
    vertices, faces = mesh(np.zeros((3, 4, 5), bool))
    assert vertices.shape == faces.shape == (0, 3)
