from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from app_model.types import KeyBinding
from helpers.marker_studies import marker_study
from helpers.rig import House, drag

import napari_brainseg
from brainseg_engine.core.study import Modality
from napari_brainseg.display import axes, layers, planes, region_layer, windows
from napari_brainseg.keys import KEYS, MOUSE, NAMES, UNDO_KEYS
from napari_brainseg.session import Answer, OpenStudy

LAYERS_OF_OURS = ("viewer", "image", "labels", "surface")


@pytest.fixture
def study():
    return marker_study("LPS")


@pytest.fixture
def bound(viewer, study):
    """(viewer, images, labels, keys, house) of a small study that is open."""
    images = layers.add_study(viewer, study)
    labels = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    house = House(viewer)
    house.session.open(OpenStudy(study), Answer.of(study.segmentation))
    keys = house.features.bind_keys()
    yield viewer, images, labels, keys, house
    keys.close()
    house.close()


def press(viewer, key: str) -> None:
    """The key as napari's canvas handles it."""
    binding = next(b for b in viewer.keymap if str(b) == str(KeyBinding.from_str(key.replace("-", "+"))))
    viewer.keymap[binding](viewer)


def point_at(viewer, world) -> None:
    """The mouse moves over the canvas to a world point."""
    viewer.mouse_over_canvas = True
    viewer.cursor.position = tuple(world)
    for callback in viewer.mouse_move_callbacks:
        callback(viewer, SimpleNamespace(type="mouse_move"))


def test_no_key_is_one_of_napari_s():
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Surface
    from napari.utils.action_manager import action_manager
    from napari.utils.shortcuts import default_shortcuts

    taken = set()
    for keymap in (ViewerModel.class_keymap, Image.class_keymap, Labels.class_keymap, Surface.class_keymap):
        taken |= {str(k) for k in keymap}
    for action, keys in default_shortcuts.items():
        provider = getattr(action_manager._actions.get(str(action)), "keymapprovider", None)
        if provider is None or provider.__name__ in ("ViewerModel", "Image", "Labels", "Surface"):
            taken |= {str(k) for k in keys}
    assert len(taken) > 30
    ours = {str(KeyBinding.from_str(key.replace("-", "+"))) for key, _ in KEYS}
    assert len(ours) == len(KEYS)
    assert not ours & taken


def test_every_key_can_be_chosen_among_napari_s_preferences():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(Path(napari_brainseg.__file__).with_name("napari.yaml"))
    offered = manifest.contributions.configurations["keys"].properties
    assert {name: p.default for name, p in offered.items()} == {name: key for key, name in NAMES.items()}
    assert set(NAMES) == {key for key, _ in KEYS}


def test_every_key_of_the_table_is_bound_and_unbound(viewer):
    house = House(viewer)
    keys = house.features.bind_keys()
    assert len(viewer.keymap) == len(KEYS) + len(UNDO_KEYS)
    for key, _ in KEYS:
        press(viewer, key)  # nothing is open: nothing happens, and nothing fails
    keys.close()
    house.close()
    assert len(viewer.keymap) == 0 and not viewer.mouse_move_callbacks
    assert all(text for _, text in (*KEYS, *MOUSE))


@pytest.mark.parametrize(("key", "plane"), [("A", "axial"), ("S", "sagittal"), ("D", "coronal")])
def test_plane_keys_keep_the_point_under_the_cursor(bound, study, key, plane):
    viewer = bound[0]
    planes.set_plane(viewer, "sagittal" if key != "S" else "coronal")
    point = axes.voxel_to_world(study.reference.grid, (10, 31, 22))
    point_at(viewer, point)
    press(viewer, key)
    assert planes.plane_of(viewer) == plane
    sliced = viewer.dims.order[0]
    assert abs(viewer.dims.point[sliced] - point[sliced]) <= 1.0


def test_without_the_mouse_on_the_canvas_the_slices_stay(bound):
    viewer = bound[0]
    before = viewer.dims.point
    press(viewer, "S")
    assert planes.plane_of(viewer) == "sagittal" and viewer.dims.point == before
    point_at(viewer, (0.5, 0.5, 0.5))
    viewer.mouse_over_canvas = False
    press(viewer, "D")
    assert viewer.dims.point == before


def test_modalities_in_turn_and_back(bound):
    viewer, images, *_ = bound
    seen = []
    for _ in range(4):
        press(viewer, "N")
        seen += [m for m, layer in images.items() if layer.visible]
    assert seen == [Modality.T2, Modality.FLAIR, Modality.T1, Modality.T1CE]
    press(viewer, "Shift-N")
    assert [m for m, layer in images.items() if layer.visible] == [Modality.T1]
    for layer in images.values():
        layer.visible = False
    press(viewer, "N")
    assert [m for m, layer in images.items() if layer.visible] == [Modality.T1]


def test_the_overlay_hides_shows_and_becomes_outlines(bound):
    viewer, _, labels, *_ = bound
    press(viewer, "H")
    assert not labels.visible
    press(viewer, "H")
    assert labels.visible and region_layer.region_view(labels).visible
    press(viewer, "U")
    assert labels.contour == 1 and region_layer.region_view(labels).outline
    press(viewer, "U")
    assert labels.contour == 0


def test_window_presets_in_turn(bound):
    viewer, images, *_ = bound
    seen = []
    for _ in planes.WINDOW_PRESETS:
        press(viewer, "W")
        seen.append(tuple(images[Modality.T1CE].contrast_limits))
    assert len(set(seen)) >= 2
    assert seen[-1] == pytest.approx(windows.brain_window(images[Modality.T1CE].data, modality=Modality.T1CE))


def test_3d_and_back(bound):
    viewer = bound[0]
    planes.set_plane(viewer, "coronal")
    press(viewer, "T")
    assert viewer.dims.ndisplay == 3 and tuple(viewer.dims.order) == (0, 1, 2)
    press(viewer, "T")
    assert viewer.dims.ndisplay == 2


def test_a_drag_changes_window_and_level_and_paints_nothing(bound):
    viewer, images, labels, *_ = bound
    button, modifiers = 1, ("Control",)
    image = images[Modality.T1CE]
    low, high = image.contrast_limits
    viewer.layers.selection.active = labels
    labels.mode = "paint"
    before = layers.labels_of(labels)
    drag(viewer, [(100, 100), (160, 100), (200, 100)], button=button, modifiers=modifiers)
    wide = np.diff(image.contrast_limits)[0]
    assert wide > high - low and np.mean(image.contrast_limits) == pytest.approx((low + high) / 2)
    drag(viewer, [(100, 100), (100, 40)], button=button, modifiers=modifiers)
    assert np.mean(image.contrast_limits) < (low + high) / 2 and np.diff(image.contrast_limits)[0] == pytest.approx(
        wide
    )
    assert labels.mode == "paint"
    np.testing.assert_array_equal(layers.labels_of(labels), before)


def test_an_ordinary_drag_still_paints(bound):
    viewer, images, labels, _, house = bound
    house.paint.change_brush(inside=False)
    limits = list(images[Modality.T1CE].contrast_limits)
    viewer.layers.selection.active = labels
    labels.mode, labels.selected_label = "paint", 1
    before = layers.labels_of(labels)
    viewer.dims.point = (0.0, 0.0, 0.0)
    drag(viewer, [(100, 100), (140, 100)], modifiers=())
    assert list(images[Modality.T1CE].contrast_limits) == limits
    assert (layers.labels_of(labels) != before).any()


def test_values_at_the_cursor_are_reported(bound, study):
    viewer, *_, house = bound
    heard: list = []
    house.view.values_changed.connect(lambda: heard.append(house.view.values))
    index = (20, 25, 18)
    point_at(viewer, axes.voxel_to_world(study.reference.grid, index))
    house.timers.pass_time()
    assert heard[-1] == {m: float(v.data[index]) for m, v in study.volumes.items()}


@pytest.mark.window
def test_real_keys_and_a_real_drag_on_the_canvas(make_napari_viewer, qtbot, study):
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    viewer = make_napari_viewer(show=True)
    images = layers.add_study(viewer, study)
    labels = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    house = House(viewer)
    house.session.open(OpenStudy(study), Answer.of(study.segmentation))
    keys = house.features.bind_keys()
    native = viewer.window._qt_viewer.canvas.native
    image = images[Modality.T1CE]

    def mouse(kind, where, button=Qt.MouseButton.NoButton, buttons=None, modifiers=Qt.KeyboardModifier.NoModifier):
        held = button if buttons is None else buttons
        at = QPointF(*where)
        QApplication.sendEvent(native, QMouseEvent(kind, at, native.mapToGlobal(at), button, held, modifiers))

    spot = (native.width() * 0.45, native.height() * 0.55)
    viewer.mouse_over_canvas = True
    mouse(QEvent.Type.MouseMove, spot)
    point = planes.cursor_point(viewer)
    assert point is not None
    for key, plane in ((Qt.Key.Key_S, "sagittal"), (Qt.Key.Key_D, "coronal"), (Qt.Key.Key_A, "axial")):
        qtbot.keyClick(native, key)
        assert planes.plane_of(viewer) == plane
        mouse(QEvent.Type.MouseMove, spot)
        shown = list(viewer.dims.order[1:])
        # a point that lay on the slice shown before comes to the middle of its voxel
        np.testing.assert_allclose(planes.cursor_point(viewer)[shown], point[shown], atol=1.0)

    labels.mode = "paint"
    viewer.layers.selection.active = labels
    before, limits, centre = layers.labels_of(labels), list(image.contrast_limits), viewer.scene.camera.center
    ctrl, left = Qt.KeyboardModifier.ControlModifier, Qt.MouseButton.LeftButton
    mouse(QEvent.Type.MouseButtonPress, spot, left, modifiers=ctrl)
    for step in (10, 30, 60):
        qtbot.wait(30)  # vispy drops moves that follow within 10 ms
        mouse(QEvent.Type.MouseMove, (spot[0] + step, spot[1]), buttons=left, modifiers=ctrl)
    end = (spot[0] + 60, spot[1])
    mouse(QEvent.Type.MouseButtonRelease, end, left, buttons=Qt.MouseButton.NoButton, modifiers=ctrl)
    assert np.diff(image.contrast_limits)[0] > np.diff(limits)[0]
    assert labels.mode == "paint" and viewer.scene.camera.center == centre
    np.testing.assert_array_equal(layers.labels_of(labels), before)
    keys.close()
    house.close()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_3d_key_returns_to_plane_slice_and_zoom(bound, study, plane):
    viewer, *_, house = bound
    manager = house.regions.surfaces
    planes.set_plane(viewer, plane)
    planes.go_to_voxel(viewer, study.reference.grid, (9, 30, 25))
    viewer.scene.camera.zoom, viewer.scene.camera.center = 7.0, (0.0, 25.0, 15.0)
    point = viewer.dims.point
    for _ in range(2):
        press(viewer, "T")
        assert "WT" in manager.surfaces and manager.surfaces["WT"].visible
        press(viewer, "T")
        assert planes.plane_of(viewer) == plane and viewer.dims.point == point
        assert viewer.scene.camera.zoom == 7.0 and tuple(viewer.scene.camera.center)[1:] == (25.0, 15.0)
