from __future__ import annotations

import numpy as np
import pytest
from helpers.marker_studies import CODES, marker_study

from brainseg_engine.core.study import Modality
from napari_brainseg.display import axes, layers, planes
from napari_brainseg.display.planes import MARKS, ORDERS, WINDOW_PRESETS, Marks, Plane
from napari_brainseg.display.windows import brain_window, foreground, full_range

OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}


@pytest.fixture
def study():
    return marker_study("LPS")


def on_canvas(viewer, world) -> np.ndarray:
    """Where a world point stands from the centre of the canvas, in pixels (down, right)."""
    shown = np.asarray(world)[list(viewer.dims.order[1:])]
    return (shown - np.array(viewer.scene.camera.center)[-2:]) * viewer.scene.camera.zoom


@pytest.mark.parametrize("plane", Plane)
def test_marks_name_the_direction_in_which_the_world_axes_grow(plane):
    grows = "IPL"  # the world's axes
    _, down, right = ORDERS[plane]
    top, bottom, left, right_mark = MARKS[ORDERS[plane]]
    assert (bottom, right_mark) == (grows[down], grows[right])
    assert (top, left) == (OPPOSITE[bottom], OPPOSITE[right_mark])


def test_marks_follow_the_plane_and_hide_in_3d(viewer, study):
    layers.add_study(viewer, study)
    marks = Marks(viewer)
    assert marks.letters == ("A", "P", "R", "L")
    planes.set_plane(viewer, "coronal")
    assert marks.letters == ("S", "I", "R", "L")
    planes.set_plane(viewer, "sagittal")
    assert marks.letters == ("S", "I", "A", "P")
    viewer.dims.order = (0, 2, 1)  # somebody transposed: no mark is better than a wrong one
    assert marks.letters == ()
    planes.set_3d(viewer)
    assert len(marks.letters) == 4 and tuple(viewer.dims.order) == (0, 1, 2)
    planes.set_3d(viewer, False)
    assert marks.letters == ("A", "P", "R", "L")
    shown = [o.text for o in viewer.canvas.overlays.values() if getattr(o, "text", "") and o.visible]
    assert sorted(shown) == ["A", "L", "P", "R"] and viewer.canvas.overlays["scale_bar"].visible
    marks.close()
    assert not viewer.canvas.overlays["scale_bar"].visible
    assert not [k for k in viewer.canvas.overlays if k.startswith("brainseg")]


@pytest.mark.parametrize("start", Plane)
@pytest.mark.parametrize("plane", Plane)
def test_the_point_stays_under_the_cursor(viewer, study, start, plane):
    layers.add_study(viewer, study)
    planes.set_plane(viewer, start)
    viewer.scene.camera.zoom = 5.0
    point = axes.voxel_to_world(study.reference.grid, (12, 30, 20))
    before = on_canvas(viewer, point)
    planes.set_plane(viewer, plane, at=point)
    assert planes.plane_of(viewer) is plane
    np.testing.assert_allclose(on_canvas(viewer, point), before, atol=1e-6)
    assert viewer.scene.camera.zoom == 5.0
    sliced = ORDERS[plane][0]
    assert abs(viewer.dims.point[sliced] - point[sliced]) <= np.max(study.reference.grid.spacing) / 2


def test_a_point_outside_the_data_is_none(viewer, study):
    layers.add_study(viewer, study)
    here = viewer.dims.point
    planes.set_plane(viewer, "sagittal", at=(1e4, 0, 0))
    assert planes.plane_of(viewer) is Plane.SAGITTAL and viewer.dims.point == here


def test_planes_without_a_3d_study_do_nothing(viewer):
    planes.set_plane(viewer, "coronal")
    assert viewer.dims.ndim == 2 and planes.cursor_point(viewer) is None and planes.values_at_cursor(viewer) == {}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("plane", Plane)
def test_going_to_a_point_shows_its_slice_wherever_the_array_runs(viewer, code, plane):
    study = marker_study(code)
    grid = study.reference.grid
    image = layers.add_study(viewer, study)[Modality.T1]
    planes.set_plane(viewer, plane)
    index = np.array(grid.shape) // 3
    planes.go_to(viewer, grid.to_world(index))
    sliced = ORDERS[plane][0]
    shown = image.world_to_data(viewer.dims.point)[sliced]
    assert round(shown) == index[axes.axis_order(grid.affine)[sliced]]


def test_going_to_a_voxel_of_an_oblique_grid_shows_its_slice(viewer):
    study = marker_study("RAS", degrees=15)
    image = layers.add_study(viewer, study)[Modality.T1]
    planes.go_to_voxel(viewer, study.reference.grid, (10, 11, 12))
    assert round(image.world_to_data(viewer.dims.point)[0]) == 12


def test_the_canvas_moves_only_for_a_point_out_of_sight(viewer, study):
    layers.add_study(viewer, study)
    grid = study.reference.grid
    before = viewer.scene.camera.center
    planes.go_to_voxel(viewer, grid, (20, 20, 20))
    assert viewer.scene.camera.center == before
    viewer.scene.camera.zoom = 60
    planes.go_to_voxel(viewer, grid, (1, 1, 20))
    np.testing.assert_allclose(on_canvas(viewer, axes.voxel_to_world(grid, (1, 1, 20))), 0, atol=1e-6)


@pytest.mark.parametrize("code", CODES)
def test_values_at_the_cursor_are_those_of_the_file(viewer, code):
    study = marker_study(code)
    grid = study.reference.grid
    layers.add_study(viewer, study)
    rng = np.random.default_rng(1)
    for index in rng.integers(0, grid.shape, (10, 3)):
        viewer.cursor.position = tuple(axes.ras_to_world(grid.to_world(index)))
        expected = {m: float(v.data[tuple(index)]) for m, v in study.volumes.items()}
        assert planes.values_at_cursor(viewer) == expected
    viewer.cursor.position = (1e3, 0, 0)
    assert planes.values_at_cursor(viewer) == {}


@pytest.mark.parametrize("preset", WINDOW_PRESETS)
def test_windows_do_not_depend_on_the_file_s_scale(preset):
    rng = np.random.default_rng(0)
    data = np.zeros((30, 30, 30), np.float32)
    data[5:25, 5:25, 5:25] = rng.gamma(9, 20, (20, 20, 20))
    low, high = brain_window(data, preset)
    assert 0 < low < high <= data.max()
    for scale in (1e-4, 40.0):
        np.testing.assert_allclose(brain_window(data * scale, preset), (low * scale, high * scale), rtol=1e-4)


def test_presets_widen(study):
    data = np.random.default_rng(0).gamma(9, 20, (30, 30, 30))
    data[:12] = 0
    widths = {p: np.diff(brain_window(data, p))[0] for p in WINDOW_PRESETS}
    assert widths["Narrow"] < widths["Standard"] < widths["Wide"]


@pytest.mark.parametrize("data", [np.zeros((4, 4, 4)), np.full((4, 4, 4), 7), np.full((4, 4, 4), np.nan)])
def test_a_window_is_two_numbers_even_for_an_empty_image(data):
    for low, high in (brain_window(data), full_range(data)):
        assert np.isfinite([low, high]).all() and low < high


def test_air_around_a_head_is_not_foreground():
    rng = np.random.default_rng(0)
    head = np.abs(rng.normal(0, 5, (30, 30, 30))) + 1
    head[8:22, 8:22, 8:22] += 200
    inside = foreground(head)
    assert inside[8:22, 8:22, 8:22].all() and inside.mean() < 0.2


def test_apply_window_sets_the_limits(viewer, study):
    image = layers.add_study(viewer, study)[Modality.T2]
    planes.apply_window(image, "Wide")
    assert tuple(image.contrast_limits) == brain_window(image.data, "Wide", Modality.T2)
    assert image.contrast_limits_range[1] >= image.contrast_limits[1]
