"""What breaks in the hand, pressed in a real window: doors, keys, focus, what is left on the canvas."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from helpers.window import Hand
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QAbstractButton, QAbstractSlider, QApplication, QComboBox, QFileDialog, QLabel

from brainseg_engine.core.study import Modality, Volume
from napari_brainseg.display import layers, planes
from napari_brainseg.qt.frame import PanelView

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]
NAME = "Brain tumour segmentation"


def panels(viewer) -> list[PanelView]:
    return [w for w in viewer.window.dock_widgets.values() if isinstance(w, PanelView)]


@pytest.fixture
def folder(tmp_path):
    return write(make_study(id="A", shape=(48, 56, 40)), tmp_path)


@pytest.fixture
def hand(window, folder, monkeypatch):
    return Hand(window, folder, monkeypatch)


def test_one_panel_whichever_door_it_came_by(window, folder, tmp_path):
    """napari's menu calls the panel otherwise than a reader does."""
    from napari._app_model import get_app_model

    viewer, app = window.viewer, window.app
    get_app_model().commands.execute_command("napari-brainseg.panel").result()
    window.qtbot.wait(50)
    assert panels(viewer) == [window.panel] and window.panel.isVisible()
    viewer.open(folder, plugin="napari-brainseg")
    window.wait(lambda: window.session.measures is not None)
    assert panels(viewer) == [window.panel] and window.panel.isVisible() and window.panel.owner is app
    _, again = viewer.window.add_plugin_dock_widget("napari-brainseg", NAME)
    assert again is window.panel and panels(viewer) == [again]
    window.press("plane_coronal")  # it lives on
    assert planes.plane_of(viewer) is planes.Plane.CORONAL


def test_a_dropped_folder_opens_as_by_the_button(window, folder, tmp_path, monkeypatch):
    window.open(monkeypatch, folder)
    window.wait(lambda: window.session.measures is not None)
    made = list(layers.image_layers(window.viewer).values())
    other = write(make_study(3, id="B"), tmp_path)
    window.viewer.open(other, plugin="napari-brainseg")
    window.wait(lambda: window.session.study is not None and window.session.study.study.id == "B")
    window.wait(lambda: window.session.measures is not None)
    viewer = window.viewer
    assert [x.name for x in viewer.layers] == ["T1", "T2", "FLAIR", "T1ce", "Segmentation"]
    assert list(layers.image_layers(viewer).values()) == made  # no layer was made anew
    for m, layer in layers.image_layers(viewer).items():
        combo = window.widget(f"assign_{m.value}")
        assert combo.currentText() == f"B_{m.value}.nii.gz" and combo.count() >= 5
        np.testing.assert_array_equal(
            layer.data, layers.image_tuple(window.session.study.study.volumes[m], study_id="B")[0]
        )
        low, high = layer.contrast_limits
        assert layer.contrast_limits_range[1] >= layer.data.max() > high * 0.5 and low < high
    assert window.text("study_title") == "B"


def test_a_series_dropped_alone_leaves_nothing_of_the_study_before(window, folder, tmp_path, monkeypatch):
    window.open(monkeypatch, folder)
    window.wait(lambda: window.session.measures is not None)
    other = write(make_study(3, id="B"), tmp_path)
    window.viewer.open(other / "B_t1ce.nii.gz", plugin="napari-brainseg")
    window.wait(lambda: window.session.study is None or window.session.study.study.id == "B")
    window.wait(lambda: window.session.study is not None and not window.session.reading)
    assert window.text("study_title") == "B" and not [x.name for x in window.viewer.layers if "[" in x.name]
    assert window.widget("assign_t1ce").currentText() == "B_t1ce.nii.gz"
    assert window.widget("assign_t1").count() >= 6  # the images beside it can be assigned


def test_keys_that_peek_change_nothing_else(hand):
    hand.window.press("tool_brush")
    layer = hand.layer
    layer.brush_size = 6

    def state():
        viewer = hand.viewer
        return (
            str(layer.mode), layer.brush_size, layer.selected_label, viewer.layers.selection.active is layer,
            layer.visible, round(viewer.scene.camera.zoom, 6), tuple(viewer.dims.point), tuple(viewer.dims.order),
        )  # fmt: skip

    before = state()
    assert before[0] == "paint"
    for key in "H", "U", "T", "W", "N":
        for _ in range(4 if key == "N" else 3 if key == "W" else 2):
            hand.key(getattr(Qt.Key, f"Key_{key}"))
        hand.window.wait(lambda: state() == before, 10)
    hand.window.press("show_flair")
    assert state() == before


def test_nothing_dark_stays_where_the_brush_left_the_canvas(hand):
    hand.window.press("show_flair")
    hand.viewer.mouse_over_canvas = False
    clean = hand.viewer.screenshot(flash=False)
    hand.window.press("tool_brush")
    hand.layer.brush_size = 6
    for x in (200, 260, 320):
        hand.mouse(QEvent.Type.MouseMove, QPointF(x, 260))
        hand.window.qtbot.wait(15)
    hand.viewer.mouse_over_canvas = True
    hand.viewer.screenshot(flash=False)
    hand.viewer.mouse_over_canvas = False
    np.testing.assert_array_equal(hand.viewer.screenshot(flash=False), clean)


def test_planes_stay_in_the_head_and_home_brings_it_back(hand):
    viewer, view = hand.viewer, hand.app.features.view
    low, high = planes.head_box(hand.window.session.study.study)

    def over(world):
        viewer.mouse_over_canvas = True
        viewer.cursor.position = tuple(world)
        view._moved(viewer, None)

    margin = viewer.layers.extent.world[0] + 0.5
    for key in (Qt.Key.Key_S, Qt.Key.Key_D, Qt.Key.Key_A):
        over(margin)
        hand.key(key)
        assert (low <= viewer.dims.point).all() and (np.array(viewer.dims.point) <= high).all()
        assert lit(viewer) > 0.1
    viewer.dims.set_point(0, viewer.dims.range[0].stop)
    viewer.scene.camera.center = (0.0, 1000.0, 1000.0)
    assert lit(viewer) < 0.05
    hand.key(Qt.Key.Key_Home)
    assert lit(viewer) > 0.1
    viewer.dims.point = tuple((low + high) / 2)
    hand.key(Qt.Key.Key_Home)
    inside = viewer.screenshot(flash=False)[..., :3].max(axis=-1) > 40
    rows = np.flatnonzero(inside.any(axis=1))
    assert np.ptp(rows) > 0.8 * inside.shape[0]


def lit(viewer) -> float:
    return float((viewer.screenshot(flash=False)[..., :3].max(axis=-1) > 40).mean())


def test_space_after_a_click_moves_the_image(hand):
    window = hand.window
    hand.native.setFocus()
    window.press("show_t2")
    window.qtbot.keyPress(window.viewer.window._qt_window.focusWidget() or hand.native, Qt.Key.Key_Space)
    window.qtbot.wait(20)
    assert hand.app.features.view.modality is Modality.T2 and str(hand.layer.mode) == "pan_zoom"
    click = Qt.FocusPolicy.ClickFocus
    widgets = [w for kind in (QAbstractButton, QComboBox, QAbstractSlider) for w in window.panel.findChildren(kind)]
    assert len(widgets) > 60
    grabbing = [
        w.objectName() for w in widgets if (w.focusPolicy().value & click.value) and w.objectName() and visible(w)
    ]
    assert grabbing == []


def visible(widget) -> bool:
    return not widget.objectName().startswith("qt_")


def test_a_deleted_segmentation_is_offered_back(hand):
    hand.window.press("paint_ET")
    hand.window.press("tool_brush")
    hand.click(20, 28, 12)
    painted = hand.data
    assert hand.window.session.dirty
    hand.viewer.layers.remove(hand.layer)
    hand.window.wait(lambda: hand.window.widget("message_offer").isVisible(), 10)
    hand.window.press("message_offer")
    hand.window.wait(lambda: hand.layer is not None and (hand.data == painted).all(), 10)


@pytest.mark.slow
def test_a_light_theme_and_a_persons_own_layers(hand):
    viewer = hand.viewer
    viewer.theme = "light"
    hand.window.qtbot.wait(50)
    assert tuple(viewer.canvas.background_color)[:3] == (0, 0, 0)
    viewer.add_points(np.zeros((1, 3)))
    hand.window.qtbot.wait(50)
    assert [str(u) for u in viewer.layers.units] == ["millimeter"] * 3  # the scale bar's
    viewer.theme = "dark"


def wheel(hand, turns, *modifiers) -> None:
    """The wheel over the middle of the canvas; positive: away from the hand."""
    at = QPointF(hand.native.width() / 2, hand.native.height() / 2)
    held = Qt.KeyboardModifier.NoModifier
    for m in modifiers:
        held |= m
    event = QWheelEvent(
        at, hand.native.mapToGlobal(at), QPoint(0, 0), QPoint(0, 120 * turns), Qt.MouseButton.NoButton, held,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(hand.native, event)
    hand.window.qtbot.wait(20)


@pytest.mark.slow
def test_the_mouse_is_that_of_a_reading_station(hand):
    viewer = hand.viewer
    camera, step = viewer.scene.camera, viewer.dims.current_step[0]
    zoom = camera.zoom
    wheel(hand, -1)
    assert viewer.dims.current_step[0] == step + 1 and camera.zoom == zoom
    wheel(hand, 1)
    wheel(hand, 1, Qt.KeyboardModifier.ControlModifier)
    assert viewer.dims.current_step[0] == step and camera.zoom > zoom
    image = layers.image_layers(viewer)[hand.app.features.view.modality]
    before, centre, zoom = tuple(image.contrast_limits), camera.center, camera.zoom
    pull(hand, Qt.MouseButton.RightButton)
    low, high = image.contrast_limits
    assert high - low > before[1] - before[0] and (camera.center, camera.zoom) == (centre, zoom)
    pull(hand, Qt.MouseButton.MiddleButton)
    assert tuple(image.contrast_limits) == (low, high) and camera.zoom == zoom and camera.center != centre
    labels = hand.data
    hand.window.press("tool_brush")
    pull(hand, Qt.MouseButton.MiddleButton)
    np.testing.assert_array_equal(hand.data, labels)
    for key, moved in ((Qt.Key.Key_PageDown, 1), (Qt.Key.Key_PageUp, -1), (Qt.Key.Key_Down, 1), (Qt.Key.Key_Up, -1)):
        step = viewer.dims.current_step[0]
        hand.key(key)
        assert viewer.dims.current_step[0] == step + moved


def pull(hand, button) -> None:
    """Drag to the right with that button."""
    start, none = QPointF(hand.native.width() / 2, hand.native.height() / 2), Qt.MouseButton.NoButton
    hand.mouse(QEvent.Type.MouseMove, start)
    hand.mouse(QEvent.Type.MouseButtonPress, start, button, button)
    for x in (20, 40, 60):
        hand.window.qtbot.wait(15)
        hand.mouse(QEvent.Type.MouseMove, start + QPointF(x, 0), none, button)
    hand.mouse(QEvent.Type.MouseButtonRelease, start + QPointF(60, 0), button, none)
    hand.window.qtbot.wait(20)


def test_to_the_tumour_from_lesion_to_lesion_and_to_what_changed(hand):
    viewer, layer = hand.viewer, hand.layer
    areas = np.count_nonzero(hand.data, axis=(1, 2))

    def shown() -> int:
        return round(float(np.asarray(layer.world_to_data(viewer.dims.point))[0]))

    hand.window.wait(lambda: areas[shown()] == areas.max(), 10)  # on opening a mask
    with layer.block_history():
        layer.data_setitem((np.array([3, 3]), np.array([28, 29]), np.array([24, 24])), 2)
    hand.key(Qt.Key.Key_Period)
    hand.window.wait(lambda: "Lesion 1 of 2" in hand.window.text("message"), 10)
    hand.window.press("lesion_next")
    hand.window.wait(lambda: shown() == 3, 10)
    viewer.dims.set_point(0, layer.data_to_world((20, 0, 0))[0])
    hand.key(Qt.Key.Key_Period, Qt.KeyboardModifier.ControlModifier)
    hand.window.wait(lambda: shown() == 3, 10)
    assert hand.app.features.view.caption.legend == ["added", "removed", "another class"]


def test_the_canvas_says_what_is_seen(hand):
    caption = hand.app.features.view.caption
    count = hand.data.shape[0]
    for _ in range(2):
        hand.key(Qt.Key.Key_Down)
    top, bottom = caption.words
    number = round(float(np.asarray(hand.layer.world_to_data(hand.viewer.dims.point))[0])) + 1
    assert top == "A\nT1ce" and bottom.startswith(f"Axial {number}/{count}\n") and "\nW " in bottom
    hand.key(Qt.Key.Key_T)
    hand.window.wait(
        lambda: hand.app.features.view.marks.letters == ("S", "I", "R", "L"), 10
    )  # once the brain is there
    assert caption.words == ("A", "")
    hand.window.wait(lambda: not hand.app.features.regions.surfaces.busy, 20)
    head = hand.app.features.view.marks.head
    assert head.shown
    front = hand.viewer.screenshot(flash=False)
    hand.viewer.scene.camera.set_view_direction((0.1, 0.2, 1.0), (-1.0, 0.0, 0.0))  # from the patient's right
    assert (corner(front) != corner(hand.viewer.screenshot(flash=False))).any()  # the head turns along
    assert hand.app.features.view.marks.letters == ("S", "I", "P", "A")
    assert {str(x.interpolation2d) for x in layers.image_layers(hand.viewer).values()} == {"linear"}
    hand.key(Qt.Key.Key_T)
    hand.window.wait(lambda: not head.shown)


def corner(picture):
    """Where the head stands."""
    return picture[-90:, :95, :3]


@pytest.mark.slow
def test_what_is_seen_is_saved_as_a_picture(hand, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "seen"), ""))
    hand.window.press("picture")
    assert "seen.png" in hand.window.text("message")
    with Image.open(tmp_path / "seen.png") as picture:
        assert (np.asarray(picture)[..., :3].max(axis=-1) > 40).mean() > 0.1


def test_what_is_used_every_minute_is_always_in_sight(hand):
    window = hand.window
    window.viewer.window._qt_window.resize(1366, 768)
    window.qtbot.wait(100)
    assert window.viewer.window._qt_window.height() <= 768
    for tab in ("correct", "learn", "read"):
        window.press(f"tab_{tab}")
        for name in ("plane_axial", "show_t1", "window_wide", "region_WT_visible", "save"):
            widget = window.widget(name)
            inside = widget.mapTo(window.panel, QPoint(0, 0))
            assert widget.isVisible() and 0 <= inside.y() <= window.panel.height() - widget.height(), name
    assert window.widget("segment").isVisible() and not window.widget("accept").isVisible()
    controls = window.viewer.window._qt_viewer.dockLayerControls
    shown = controls.isVisible()
    window.press("napari_controls")
    assert controls.isVisible() is not shown
    window.press("napari_controls")
    assert controls.isVisible() is shown
    hand.key(Qt.Key.Key_F1)
    sheet = window.widget("key_sheet")
    window.wait(sheet.isVisible, 5)
    words = {x.text() for x in sheet.findChildren(QLabel)}
    assert {"fit: the head fills the canvas", "Home", "F5", "Wheel"} <= words
    hand.key(Qt.Key.Key_F1)
    assert not sheet.isVisible()


def test_a_key_chosen_in_the_preferences_is_the_one_bound(hand):
    from napari.settings import get_plugin_settings

    keys = get_plugin_settings("napari-brainseg").keys
    keys.outline = "Control-F7"
    try:
        hand.key(Qt.Key.Key_U)
        assert not hand.app.features.regions.view.outline
        hand.key(Qt.Key.Key_F7, Qt.KeyboardModifier.ControlModifier)
        assert hand.app.features.regions.view.outline
        assert ("Control-F7", "outlines or filled areas") in hand.app.keys.listed
    finally:
        keys.outline = "U"
    hand.key(Qt.Key.Key_U)
    assert not hand.app.features.regions.view.outline


@pytest.mark.slow
def test_images_of_any_name_open_and_are_assigned_by_their_pictures(window, tmp_path):
    """What voxels tell is proposed; every image stands in the lists, with a picture."""
    from brainseg_engine.phantom import phantom_study

    study = phantom_study(3, (80, 80, 60))
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, m in zip(("one", "two", "three", "four"), Modality, strict=True):
        v = study.volumes[m]
        nib.save(nib.Nifti1Image(v.data, v.grid.affine), folder / f"{name}.nii.gz")
    window.viewer.open(folder, plugin="napari-brainseg")
    verbs = window.app.features.series
    window.wait(lambda: not window.session.reading and (window.session.study is not None or verbs.listed is not None))
    window.qtbot.wait(200)
    if window.session.study is None:  # the voxels told too little: the table of series has them all, to be assigned
        assert len(window.app.sections.series.uses) == 4
        for series in verbs.incoming.visit.series:
            name = series.path.name.split(".")[0]
            verbs.assign(series.facts.id, dict(zip(("one", "two", "three", "four"), Modality, strict=True))[name])
        window.wait(lambda: window.session.study is not None)
    combo = window.widget("assign_t1")
    names = [combo.itemText(i) for i in range(combo.count())]
    assert {"one.nii.gz", "two.nii.gz", "three.nii.gz", "four.nii.gz"} <= set(names)
    assert combo.currentText() == "one.nii.gz"


def test_a_study_whose_series_are_those_of_another_brain_keeps_its_head(study):
    """The box of the head is that of all series."""
    low, high = planes.head_box(study)
    moved = {
        m: Volume(np.roll(v.data, 4, axis=0) if m is Modality.T2 else v.data, v.grid, m)
        for m, v in study.volumes.items()
    }
    again_low, again_high = planes.head_box(replace(study, volumes=moved))
    assert (again_low <= low).all() and (again_high >= high).all() and (again_high - again_low > high - low).any()
