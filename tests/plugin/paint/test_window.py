"""Correcting in a real napari window: drags on the canvas, keys, the panel's own buttons."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from helpers.window import Hand
from qtpy.QtCore import QEvent, Qt

from brainseg_engine.core.labels import Label
from napari_brainseg.display import planes
from napari_brainseg.display.history import history_of
from napari_brainseg.display.preview import NAME
from napari_brainseg.display.tools import Tool

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]


@pytest.fixture
def hand(window, tmp_path, monkeypatch) -> Hand:
    return Hand(window, write(make_study(id="A"), tmp_path), monkeypatch)


def centre_of(hand: Hand) -> tuple[int, int, int]:
    z, y, x = (round(c) for c in np.argwhere(hand.data > 0).mean(axis=0))
    planes.go_to_world(hand.viewer, hand.layer.data_to_world((z, y, x)))
    hand.window.qtbot.wait(100)
    return z, y, x


@pytest.mark.slow
def test_every_tool_by_hand_then_undone_and_redone_bit_for_bit(hand):
    window = hand.window
    z, y, x = centre_of(hand)
    states = [hand.data]

    def changed(what: str) -> None:
        window.wait(lambda: (hand.data != states[-1]).any(), 10)
        window.qtbot.wait(60)
        assert len(history_of(hand.layer).done) == len(states), what
        states.append(hand.data)

    window.press("paint_WT")
    window.press("tool_brush")
    window.press("brush_size")
    hand.app.features.paint.set_brush_size(5)
    hand.drag((z, y - 9, x - 4), (z, y - 9, x), (z, y - 9, x + 4))
    changed("brush")
    window.press("paint_TC")
    window.press("protect_ET")
    hand.drag((z, y, x - 8), (z, y, x), (z, y, x + 8))
    changed("nested brush")
    assert ((states[-2] == Label.ET) <= (states[-1] == Label.ET)).all()
    window.press("protect_ET")
    window.press("tool_eraser")
    hand.drag((z, y - 3, x), (z, y, x), (z, y + 3, x))
    changed("eraser")
    assert ((states[-2] > 0) == (states[-1] > 0)).all()  # erased core is oedema
    window.press("paint_ET")
    window.press("tool_fill")
    oedema = np.argwhere(states[-1][z] == Label.ED)
    hand.click(z, *(int(i) for i in oedema[len(oedema) // 2]))
    changed("fill")
    window.press("paint_class_NCR")
    window.press("tool_polygon")
    for corner in ((z, y - 4, x - 4), (z, y - 4, x + 4), (z, y + 4, x + 4), (z, y + 4, x - 4)):
        hand.click(*corner)
    hand.key(Qt.Key.Key_Return)
    changed("polygon")
    planes.set_plane(hand.viewer, "sagittal")
    window.qtbot.wait(100)
    window.press("paint_WT")
    window.press("tool_brush")
    hand.drag((z - 4, y, x), (z, y, x), (z + 4, y, x))
    changed("sagittal")
    planes.set_plane(hand.viewer, "axial")
    for name in ("smooth", "holes"):
        window.press("paint_TC" if name == "holes" else "paint_WT")
        window.press(f"work_{name}")
        window.qtbot.wait(300)
        if (hand.data != states[-1]).any():
            changed(name)
    assert len(states) >= 8 and window.session.dirty
    # --- undone by the key, whichever slice is shown; the numbers follow
    hand.viewer.layers.selection.active = hand.layer
    for state in reversed(states[:-1]):
        hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        np.testing.assert_array_equal(hand.data, state)
    assert not window.widget("undo").isEnabled() and window.widget("redo").isEnabled()
    # --- redone by the key while an image is chosen, and by the button
    hand.viewer.layers.selection.active = hand.viewer.layers[0]
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier)
    np.testing.assert_array_equal(hand.data, states[1])
    for state in states[2:]:
        window.wait(lambda: window.widget("redo").isEnabled(), 5)
        window.press("redo")
        np.testing.assert_array_equal(hand.data, state)
    assert not np.array_equal(hand.data, states[0])


@pytest.mark.slow
def test_undo_in_3d(hand):
    z, y, x = centre_of(hand)
    start = hand.data
    hand.window.press("tool_brush")
    hand.drag((z, y - 9, x), (z, y - 9, x + 3))
    assert (hand.data != start).any()
    hand.window.press("plane_3d")
    hand.window.wait(
        lambda: not hand.app.features.regions.surfaces.busy and "WT" in hand.app.features.regions.surfaces.surfaces
    )
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(hand.data, start)
    hand.window.press("tool_brush")  # nothing can be painted in 3D: back to the plane
    assert hand.viewer.dims.ndisplay == 2 and hand.app.context.brush.tool is Tool.BRUSH


def test_the_sizes_follow_in_mid_stroke(hand):
    z, y, x = centre_of(hand)
    before = hand.window.text("region_WT_ml")
    hand.window.press("tool_brush")
    left = Qt.MouseButton.LeftButton
    hand.mouse(QEvent.Type.MouseMove, hand.pixel(z, y - 9, x))
    hand.mouse(QEvent.Type.MouseButtonPress, hand.pixel(z, y - 9, x), left, left)
    hand.window.wait(lambda: hand.window.text("region_WT_ml") != before, 5)
    hand.mouse(QEvent.Type.MouseButtonRelease, hand.pixel(z, y - 9, x), left)
    hand.window.press("undo")
    hand.window.wait(lambda: hand.window.text("region_WT_ml") == before, 5)


@pytest.mark.slow
def test_threshold_by_key_with_its_preview_and_slider(hand):
    window = hand.window
    z, y, x = centre_of(hand)
    window.press("paint_ET")
    hand.key(Qt.Key.Key_R)
    window.wait(lambda: NAME in hand.viewer.layers)
    assert window.widget("threshold").isChecked() and window.widget("threshold_range").isVisible()
    shown = hand.viewer.layers[NAME]
    window.app.sections.paint.range.setValue((1.0, 90.0))
    window.wait(lambda: hand.app.context.brush.settings.limits == (1.0, 90.0))
    assert shown in hand.viewer.layers and hand.viewer.layers.selection.active is hand.layer
    window.press("tool_brush")
    hand.app.features.paint.set_brush_size(15)
    start = hand.data
    hand.drag((z, y, x - 8), (z, y, x), (z, y, x + 8))
    changed = hand.data != start
    image = hand.app.context.brush.images[hand.app.context.brush.settings.modality]
    assert changed.any() and (image[changed] <= 90).all()
    hand.key(Qt.Key.Key_R)
    assert NAME not in hand.viewer.layers


@pytest.mark.slow
def test_a_click_where_to_grow_and_the_parts_under_the_mouse(hand):
    centre_of(hand)
    window = hand.window
    window.press("tool_brush")
    start = hand.data
    window.press("work_relabel")
    window.wait(lambda: window.widget("work_relabel").text().startswith("Click"))
    core = tuple(int(i) for i in np.argwhere(start == Label.NCR)[0])
    planes.go_to_world(hand.viewer, hand.layer.data_to_world(core))
    window.press("paint_ET")
    window.press("work_relabel")  # never mind
    window.wait(lambda: not hand.app.features.paint.pointer.waiting)
    window.press("work_relabel")
    hand.click(*core)
    window.wait(lambda: (hand.data != start).any(), 5)
    assert (hand.data[start == Label.NCR] == Label.ET).all() and hand.app.context.brush.tool is Tool.BRUSH
    hand.mouse(QEvent.Type.MouseMove, hand.pixel(*core))
    window.qtbot.wait(30)
    window.press("paint_WT")
    hand.viewer.mouse_over_canvas = True
    hand.mouse(QEvent.Type.MouseMove, hand.pixel(*core))
    hand.key(Qt.Key.Key_K, Qt.KeyboardModifier.ShiftModifier)
    window.wait(lambda: not hand.data.any(), 5)
    window.press("undo")
    window.press("undo")
    np.testing.assert_array_equal(hand.data, start)


def test_without_a_segmentation_all_is_dim_but_one_can_begin(window, tmp_path, monkeypatch):
    hand = Hand(window, write(make_study(id="B"), tmp_path, mask=False), monkeypatch)
    assert hand.layer is None and not window.widget("tool_brush").isEnabled()
    assert not window.widget("undo").isEnabled()
    window.press("new_mask")
    window.wait(lambda: hand.layer is not None and window.session.measures is not None)
    assert not hand.data.any() and window.text("region_WT_ml") == "0.00"
    window.press("paint_class_ED")
    window.press("tool_brush")
    z, y, x = (n // 2 for n in hand.data.shape)
    planes.go_to_world(hand.viewer, hand.layer.data_to_world((z, y, x)))
    window.qtbot.wait(100)
    hand.drag((z, y, x), (z, y, x + 4))
    assert set(np.unique(hand.data)) == {0, int(Label.ED)}
    assert hand.app.context.brush.settings.target is Label.ED
    window.wait(lambda: window.text("region_WT_ml") != "0.00")
