"""Diameters of analytic bodies, within one voxel on grids of any spacing and tilt."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import GeometryError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.scores import diameters as measure
from brainseg_engine.scores.diameters import diameters, slice_axis
from brainseg_engine.scores.lesions import lesions


def rotation(degrees, axis):
    turn = np.radians(degrees)
    matrix = np.eye(3)
    a, b = (i for i in range(3) if i != axis)
    matrix[[a, a, b, b], [a, b, a, b]] = np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)
    return matrix


def grid_of(spacing, size_mm=(72.0, 72.0, 60.0), tilt=(0, 0)):
    """A grid around the origin; ``tilt`` in degrees about R and about S."""
    shape = tuple(int(np.ceil(mm / s)) for mm, s in zip(size_mm, spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = rotation(tilt[0], 0) @ rotation(tilt[1], 2) @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2 + 0.2)
    return Grid(shape, affine)


def body(grid, inside):
    """ET where ``inside`` (slice frame mm (..., 3) → bool) holds; the frame is that of the grid's own axes, about the origin."""
    directions = grid.affine[:3, :3] / np.array(grid.spacing)
    frame = grid.to_world(np.stack(np.indices(grid.shape), -1)) @ directions
    return np.where(inside(frame), np.uint8(Label.ET), np.uint8(0))


def ellipsoid(a, b, c, centre=(0, 0, 0), turned=0.0):
    turn = rotation(turned, 2)
    return lambda p: (((p - np.array(centre)) @ turn / np.array([a, b, c])) ** 2).sum(-1) <= 1


GRIDS = {
    "iso": grid_of((1, 1, 1)),
    "thick": grid_of((0.5, 0.5, 6)),
    "unequal": grid_of((0.5, 1.2, 6)),
    "oblique": grid_of((0.9, 0.9, 5.5), tilt=(17, 8)),
}


@pytest.mark.parametrize("name", GRIDS)
@given(a=st.floats(12, 30), flat=st.floats(0.45, 1), turned=st.floats(0, 180))
@settings(max_examples=8)
def test_ellipsoids(name, a, flat, turned):
    grid = GRIDS[name]
    b, c = max(a * flat, 6.0), 20.0
    labels = body(grid, ellipsoid(a, b, c, turned=turned))
    found = diameters(labels, grid, (Region.ET,))[Region.ET]
    (lesion,) = found.lesions
    # the slice nearest to the centre shows a little less than the largest section
    off = abs(grid.affine[:3, 2] / grid.spacing[2] @ grid.to_world([0, 0, lesion.index]))
    shown = np.sqrt(1 - (off / c) ** 2)
    voxel = max(grid.spacing[:2])
    assert lesion.longest.mm == pytest.approx(2 * a * shown, abs=voxel)
    assert lesion.perpendicular.mm == pytest.approx(2 * b * shown, abs=voxel)
    assert found.largest_3d.mm == pytest.approx(2 * max(a, c), abs=max(grid.spacing))


@pytest.mark.parametrize("name", GRIDS)
def test_a_box_measures_its_diagonal_and_what_crosses_it(name):
    grid = GRIDS[name]
    labels = body(grid, lambda p: (np.abs(p) <= (20, 12, 15)).all(-1))
    (lesion,) = diameters(labels, grid, (Region.ET,))[Region.ET].lesions
    voxel = max(grid.spacing[:2])
    assert lesion.longest.mm == pytest.approx(np.hypot(40, 24), abs=2 * voxel)  # the contour rounds both corners
    # the longest line at a right angle to the diagonal (slope 0.6) runs from one long side to the other
    assert lesion.perpendicular.mm == pytest.approx(24 / np.cos(np.arctan(24 / 40)), abs=2 * voxel)


@pytest.mark.parametrize("name", ["iso", "thick", "oblique"])
def test_the_cavity_of_a_ring_is_left_out(name):
    grid, outer, inner = GRIDS[name], 25.0, 15.0
    labels = body(
        grid, lambda p: ((r := np.hypot(p[..., 0], p[..., 1])) <= outer) & (r >= inner) & (abs(p[..., 2]) < 9)
    )
    (lesion,) = diameters(labels, grid, (Region.ET,))[Region.ET].lesions
    assert lesion.longest.mm == pytest.approx(2 * np.sqrt(outer**2 - inner**2), abs=2 * grid.spacing[0])  # a tangent
    directions = grid.affine[:3, :2] / np.array(grid.spacing[:2])
    for chord in (lesion.longest, lesion.perpendicular):
        t = np.linspace(0, 1, 200)[:, None]
        along = (np.array(chord.start) * (1 - t) + np.array(chord.end) * t) @ directions
        assert np.linalg.norm(along, axis=1).min() > inner - grid.spacing[0]


@pytest.mark.parametrize("name", GRIDS)
def test_both_chords_are_perpendicular_and_cross_in_one_slice(name):
    grid = GRIDS[name]
    rng = np.random.default_rng(3)
    blobs = [ellipsoid(*rng.uniform(6, 14, 3), centre=rng.uniform(-10, 10, 3)) for _ in range(5)]
    labels = body(grid, lambda p: np.any([blob(p) for blob in blobs], axis=0))
    for lesion in diameters(labels, grid, (Region.ET,))[Region.ET].lesions:
        ends = [grid.to_index(p) for c in (lesion.longest, lesion.perpendicular) for p in (c.start, c.end)]
        assert np.allclose([e[lesion.axis] for e in ends], lesion.index, atol=1e-6)
        a, b, c, d = (np.array(p) for ch in (lesion.longest, lesion.perpendicular) for p in (ch.start, ch.end))
        assert abs((b - a) @ (d - c)) < 1e-6 * lesion.product_mm2
        foot = ((c - a) @ (b - a)) / ((b - a) @ (b - a))
        along = ((a + foot * (b - a) - c) @ (d - c)) / max((d - c) @ (d - c), 1e-9)
        assert -1e-6 <= foot <= 1 + 1e-6
        assert -1e-6 <= along <= 1 + 1e-6
        assert lesion.perpendicular.mm <= lesion.longest.mm + grid.spacing[0]


def test_two_lesions_are_targets_by_their_products_and_a_small_one_is_listed():
    grid = GRIDS["iso"]
    parts = [ellipsoid(14, 9, 9, (-18, -18, 0)), ellipsoid(10, 8, 8, (18, 18, 0)), ellipsoid(7, 6, 6, (18, -18, 0)),
             ellipsoid(3, 3, 3, (-18, 18, 0)), ellipsoid(1, 1, 1, (0, 0, 20))]  # fmt: skip
    labels = body(grid, lambda p: np.any([part(p) for part in parts], axis=0))
    found = diameters(labels, grid, (Region.ET,))[Region.ET]
    assert [round(lesion.longest.mm) for lesion in found.lesions] == [28, 20, 14, 6]  # 33 voxels-and-less is no lesion
    assert [lesion.measurable for lesion in found.lesions] == [True, True, True, False]
    products = [lesion.product_mm2 for lesion in found.lesions]
    assert found.sum_of_products_mm2() == pytest.approx(sum(products[:2]))
    assert found.sum_of_products_mm2(measure.RANO2_TARGETS) == pytest.approx(sum(products[:3]))
    content = json.loads(json.dumps(measure.to_json({Region.ET: found})))
    assert content["ET"]["measurable_count"] == 3
    again = measure.from_json(content)[Region.ET]
    assert again.lesions[0].longest.mm == pytest.approx(found.lesions[0].longest.mm, abs=0.01)


def test_resection_cavities_are_no_part_of_any_region():
    grid = GRIDS["iso"]
    labels = body(grid, ellipsoid(20, 20, 20))
    alone = diameters(labels, grid)
    labels[body(grid, ellipsoid(12, 12, 12, (0, 10, 0))) > 0] = Label.RC
    cut = diameters(labels, grid)
    for region in Region:
        assert cut[region].lesions[0].product_mm2 < alone[region].lesions[0].product_mm2 - 100


@given(st.permutations(range(3)), st.tuples(*[st.sampled_from((1, -1))] * 3))
@settings(max_examples=12)
def test_the_way_a_file_holds_its_axes_changes_nothing(order, signs):
    grid = GRIDS["oblique"]
    labels = body(grid, ellipsoid(22, 13, 12, turned=30))
    turned = labels.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    affine = grid.affine[:, [*order, 3]].copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            affine[:, 3] += affine[:, axis] * (turned.shape[axis] - 1)
            affine[:, axis] *= -1
    (a,), (b,) = (
        diameters(x, g, (Region.ET,))[Region.ET].lesions
        for x, g in ((labels, grid), (turned, Grid(turned.shape, affine)))
    )
    assert b.longest.mm == pytest.approx(a.longest.mm, abs=0.01)
    assert b.perpendicular.mm == pytest.approx(a.perpendicular.mm, abs=0.01)


def test_thick_slices_tell_their_plane_and_cubes_are_cut_axially():
    assert slice_axis(grid_of((1, 1, 1))) == 2
    assert slice_axis(grid_of((6, 0.5, 0.5))) == 0  # a sagittal series
    assert slice_axis(grid_of((1, 1, 0.9))) == 2


def test_nothing_and_a_speck():
    grid = grid_of((2, 2, 2), (20, 20, 20))
    labels = np.zeros(grid.shape, np.uint8)
    empty = diameters(labels, grid)[Region.ET]
    assert (empty.lesions, empty.largest_3d, empty.sum_of_products_mm2()) == ((), None, 0)
    labels[3, 3, 1:9] = Label.ET  # a thread of 64 mm³ along the slices' normal: a pixel in each
    (lesion,) = diameters(labels, grid)[Region.ET].lesions
    assert 0 < lesion.longest.mm <= 2 * np.sqrt(2)
    assert not lesion.measurable
    with pytest.raises(GeometryError, match="not known"):
        diameters(labels, Grid(grid.shape, np.eye(4), calibrated=False))


def test_lesions_are_those_that_evaluation_counts():
    spacing, mask = (1.0, 1.0, 1.0), np.zeros((40, 40, 40), bool)
    mask[2:8, 2:8, 2:8] = True  # 216 mm³
    mask[2:8, 2:8, 13:19] = True  # 5 voxels on: by the dilation of 3 mm the same lesion
    mask[25:31, 25:31, 25:31] = True
    mask[36, 36, 36] = True  # at most 50 mm³
    numbered, n = lesions(mask, spacing)
    assert n == 2
    assert numbered[3, 3, 3] == numbered[3, 3, 15] != numbered[26, 26, 26] > 0
    assert numbered[36, 36, 36] == 0
