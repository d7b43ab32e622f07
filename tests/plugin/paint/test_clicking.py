"""Click to fix, without a window and in one."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import write
from helpers.rig import House, drag
from helpers.small_study import make_study
from helpers.window import Hand
from qtpy.QtCore import Qt

from brainseg_engine.core.labels import Label, Region, region_mask
from brainseg_engine.edits import Click
from napari_brainseg.display import layers, planes
from napari_brainseg.display.history import history_of
from napari_brainseg.display.tools import Tool
from napari_brainseg.session import Answer, OpenStudy


@pytest.fixture
def house(viewer, tmp_path):
    study = make_study(id="A")
    layers.add_study(viewer, study)
    layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    house = House(viewer)
    house.session.open(OpenStudy(study), Answer.of(study.segmentation))
    house.paint.change_brush(inside=False)
    yield house
    house.close()


def test_each_click_is_one_step_and_what_is_undone_is_said_no_more(house):
    clicking, layer = house.paint.clicking, house.labels
    start = np.array(layer.data)
    missing = tuple(int(i) for i in np.argwhere(start == 0)[0])
    clicking.say([Click(missing, Region.WT, True)])
    first = np.array(layer.data)
    there = tuple(int(i) for i in np.argwhere(start == Label.ET)[0])
    clicking.say([Click(there, Region.ET, False)])
    assert first[missing] and layer.data[there] != Label.ET and layer.data[missing]
    assert [step.tool for step in history_of(layer).done] == ["click", "click"]
    assert [c.index for c in clicking.held] == [missing, there]
    house.paint.undo()
    np.testing.assert_array_equal(layer.data, first)
    assert [c.index for c in clicking.held] == [missing]
    house.paint.undo()
    np.testing.assert_array_equal(layer.data, start)
    assert not clicking.held


def test_a_drag_is_a_scribble_with_shift_of_what_is_too_much(house):
    viewer, layer = house.viewer, house.labels
    house.paint.choose_tool(Tool.CLICK)
    assert house.context.brush.tool is Tool.CLICK and layer.mode == "pan_zoom"
    said = []
    house.paint.clicking.say = said.append
    z, y, x = (round(c) for c in np.argwhere(layer.data > 0).mean(axis=0))
    planes.go_to_world(viewer, layer.data_to_world((z, y, x)))
    drag(viewer, [(10, 10), (12, 10)], modifiers=("Shift",))
    assert len(said) == 1 and not any(c.inside for c in said[0])
    drag(viewer, [(10, 10), (12, 10)], modifiers=("Control",))  # window and level
    house.paint.choose_tool(Tool.BRUSH)
    assert house.context.brush.tool is Tool.BRUSH
    house.paint.choose_tool(Tool.MOVE)
    drag(viewer, [(10, 10), (12, 10)], modifiers=())
    assert len(said) == 1


@pytest.mark.slow
@pytest.mark.window
@pytest.mark.usefixtures("fake_worker")
def test_clicks_scribbles_and_a_box_by_hand(window, tmp_path, monkeypatch):
    hand = Hand(window, write(make_study(id="A"), tmp_path), monkeypatch)
    z, y, x = (round(c) for c in np.argwhere(hand.data > 0).mean(axis=0))
    planes.go_to_world(hand.viewer, hand.layer.data_to_world((z, y, x)))
    window.qtbot.wait(100)
    states = [hand.data]

    def changed() -> None:
        window.wait(lambda: (hand.data != states[-1]).any(), 20)
        states.append(hand.data)

    assert not window.widget("click_box").isVisible()
    window.press("paint_WT")
    hand.key(Qt.Key.Key_8)
    window.wait(lambda: window.widget("tool_click").isChecked() and window.widget("click_box").isVisible())
    centre = hand.viewer.scene.camera.center
    inside = np.argwhere(states[0][z] > 0)
    a, b = (int(v) for v in inside[0] - (2, 0))
    hand.click(z, a, b)
    changed()
    assert region_mask(hand.data, Region.WT)[z, a, b] and hand.viewer.scene.camera.center == centre
    window.press("click_box")
    window.press("paint_ET")
    hand.drag((z, y - 3, x - 3), (z, y, x), (z, y + 3, x + 3))
    changed()
    window.press("tool_move")
    window.wait(lambda: not window.widget("click_box").isVisible())
    for state in reversed(states[:-1]):
        window.press("undo")
        window.wait(lambda state=state: np.array_equal(hand.data, state))


@pytest.mark.slow
@pytest.mark.window
@pytest.mark.usefixtures("fake_worker")
def test_the_names_of_the_tools_fit(window, tmp_path, monkeypatch):
    Hand(window, write(make_study(id="A"), tmp_path), monkeypatch)
    window.press("tool_click")
    for name in ("move", "brush", "eraser", "fill", "polygon", "click"):
        made = window.widget(f"tool_{name}")
        window.wait(lambda made=made: made.width() >= made.fontMetrics().horizontalAdvance(made.text()) + 4, 10)
