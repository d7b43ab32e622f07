"""What breaks in the hand, pressed in a real window: doors, keys, focus, what is left on the canvas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from helpers.window import Hand
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSlider, QComboBox, QMessageBox

from brainseg_engine.core.study import Modality, Volume
from napari_brainseg.display import layers, planes
from napari_brainseg.qt.frame import PanelView

pytestmark = pytest.mark.window
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


def test_segment_over_edits_asks_once(hand, monkeypatch):
    asked = []
    answer = [QMessageBox.StandardButton.No]
    monkeypatch.setattr(QMessageBox, "question", lambda *a, **_: asked.append(a[2]) or answer[0])
    hand.window.press("paint_ET")
    hand.window.press("tool_brush")
    hand.layer.brush_size = 8
    hand.click(20, 28, 12)
    hand.window.wait(lambda: hand.window.session.dirty, 10)
    hand.window.press("segment")
    assert len(asked) == 1 and "not accepted" in asked[0] and hand.window.session.job is None
    answer[0] = QMessageBox.StandardButton.Yes
    hand.window.press("segment")
    hand.window.wait(lambda: hand.window.session.job is not None, 10)
    hand.window.press("cancel")
    hand.window.wait(lambda: hand.window.session.job is None, 10)
    hand.window.press("segment")
    assert len(asked) == 2
    hand.window.wait(lambda: hand.window.session.job is not None, 10)
    hand.window.press("cancel")
    hand.window.wait(lambda: hand.window.session.job is None, 10)


def test_a_light_theme_and_a_persons_own_layers(hand):
    viewer = hand.viewer
    viewer.theme = "light"
    hand.window.qtbot.wait(50)
    assert tuple(viewer.canvas.background_color)[:3] == (0, 0, 0)
    viewer.add_points(np.zeros((1, 3)))
    hand.window.qtbot.wait(50)
    assert [str(u) for u in viewer.layers.units] == ["millimeter"] * 3  # the scale bar's
    viewer.theme = "dark"


def test_a_study_whose_series_are_those_of_another_brain_keeps_its_head(study):
    """The box of the head is that of all series."""
    low, high = planes.head_box(study)
    moved = {
        m: Volume(np.roll(v.data, 4, axis=0) if m is Modality.T2 else v.data, v.grid, m)
        for m, v in study.volumes.items()
    }
    again_low, again_high = planes.head_box(replace(study, volumes=moved))
    assert (again_low <= low).all() and (again_high >= high).all() and (again_high - again_low > high - low).any()
