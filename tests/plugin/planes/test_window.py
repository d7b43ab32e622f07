"""Several canvases in a real napari window: what is seen, painted, scrolled and clicked on each of them is one study."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from helpers.window import Hand
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality
from napari_brainseg.display import diameter_lines, layers, planes, region_layer
from napari_brainseg.display.history import history_of
from napari_brainseg.display.planes import Plane

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]


@pytest.fixture
def folder(tmp_path):
    return write(make_study(id="A", shape=(48, 56, 40)), tmp_path)


@pytest.fixture
def hand(window, folder, monkeypatch) -> Hand:
    return Hand(window, folder, monkeypatch)


@pytest.fixture
def four(hand) -> Hand:
    hand.window.press("canvases_four")
    hand.window.wait(lambda: len(panes(hand)) == 3 and all(pane.native.isVisible() for pane in panes(hand)), 20)
    z, y, x = (round(c) for c in np.argwhere(hand.data > 0).mean(axis=0))
    planes.go_to_world(hand.viewer, hand.layer.data_to_world((z, y, x)))
    hand.middle = (z, y, x)
    hand.window.qtbot.wait(100)
    return hand


def linked(hand):
    return hand.app.features.planes.canvases


def panes(hand):
    return linked(hand).panes


class PaneHand(Hand):
    """The same hand, over another canvas."""

    def __init__(self, hand: Hand, plane: Plane) -> None:
        self.window, self.app = hand.window, hand.app
        self.pane = next(pane for pane in linked(hand).flat if pane.plane is plane)
        self.viewer = self.pane.model

    @property
    def native(self):
        return self.pane.native

    @property
    def mirror(self):
        return self.pane.mirrors[self.layer].layer

    def wheel(self, notches: int, modifiers=Qt.KeyboardModifier.NoModifier) -> None:
        at = QPointF(self.native.rect().center())
        event = QWheelEvent(
            at, self.native.mapToGlobal(at), QPoint(), QPoint(0, 120 * notches), Qt.MouseButton.NoButton, modifiers,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(self.native, event)
        self.window.qtbot.wait(30)

    def double_click(self) -> None:
        at = QPointF(self.native.rect().center())
        left = Qt.MouseButton.LeftButton
        for kind in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonRelease, QEvent.Type.MouseButtonDblClick,
                     QEvent.Type.MouseButtonRelease):  # fmt: skip
            held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else left
            event = QMouseEvent(kind, at, self.native.mapToGlobal(at), left, held, Qt.KeyboardModifier.NoModifier)
            QApplication.sendEvent(self.native, event)
        self.window.qtbot.wait(60)


def shown_slice(layer) -> np.ndarray:
    """What of the array the layer's canvas shows."""
    return np.asarray(layer._slice.image.raw)


def test_four_canvases_show_one_study_and_go_without_a_trace(hand):
    window, viewer = hand.window, hand.viewer
    connections = {name: len(getattr(viewer.dims.events, name).callbacks) for name in ("point", "order", "range")}
    of_layers = {layer: len(layer.events.callbacks) for layer in viewer.layers}
    mouse = [len(c) for c in (viewer.mouse_drag_callbacks, viewer.mouse_double_click_callbacks)]
    window.press("canvases_four")
    native = viewer.window._qt_viewer.canvas.native
    window.wait(lambda: len(panes(hand)) == 3 and all(p.native.isVisible() for p in panes(hand)), 20)
    assert native.isVisible()
    assert {pane.plane for pane in linked(hand).flat} == {Plane.CORONAL, Plane.SAGITTAL}
    for pane in linked(hand).flat:
        assert [m.source for m in pane.mirrors.values()] == [x for x in viewer.layers if x.visible]
        for source, mirror in pane.mirrors.items():
            assert np.shares_memory(mirror.layer.data, source.data)
        assert pane.marks.letters == planes.MARKS[planes.ORDERS[pane.plane]]
        assert pane.caption.words[0].startswith(pane.plane.value.capitalize()[:3])
    window.wait(lambda: "WT" in linked(hand).solid.surfaces.surfaces, 30)
    del pane, source, mirror
    gone = [weakref.ref(x) for pane in panes(hand) for x in (pane, pane.model, pane.canvas)]
    gone += [weakref.ref(m.layer) for pane in linked(hand).flat for m in pane.mirrors.values()]
    window.press("canvases_one")
    assert native.isVisible() and hand.app.features.planes.canvases is None
    window.qtbot.wait(100)
    gc.collect()
    window.wait(lambda: gc.collect() is not None and not any(ref() is not None for ref in gone), 10)
    assert {n: len(getattr(viewer.dims.events, n).callbacks) for n in connections} == connections
    assert {layer: len(layer.events.callbacks) for layer in viewer.layers} == of_layers
    assert [len(c) for c in (viewer.mouse_drag_callbacks, viewer.mouse_double_click_callbacks)] == mouse


def test_painted_on_another_canvas_with_the_rules_and_one_history(four):
    hand, window = four, four.window
    coronal, sagittal = PaneHand(hand, Plane.CORONAL), PaneHand(hand, Plane.SAGITTAL)
    z, y, x = hand.middle
    states = [hand.data]
    window.press("paint_TC")
    window.press("protect_ET")
    window.press("tool_brush")
    hand.app.features.paint.set_brush_size(3)
    assert coronal.mirror.mode == "paint" and coronal.mirror.brush_size == 3
    coronal.drag((z - 6, y, x), (z, y, x), (z + 6, y, x))
    window.wait(lambda: (hand.data != states[0]).any(), 10)
    window.wait(lambda: len(history_of(hand.layer).done) == 1, 10)
    states.append(hand.data)
    changed = np.argwhere(states[1] != states[0])
    assert set(changed[:, 1]) == {y}  # in the coronal slice shown, and nowhere else
    assert ((states[0] == Label.ET) <= (states[1] == Label.ET)).all()  # protected
    step = history_of(hand.layer).done[0]
    assert (step.axis, step.index, step.tool) == (1, y, "brush")
    for axis, (view, at) in enumerate(((hand.layer, z), (coronal.mirror, y), (sagittal.mirror, x))):
        window.wait(lambda v=view, a=axis, i=at: np.array_equal(shown_slice(v), np.take(hand.data, i, axis=a)), 5)
    sagittal.drag((z - 5, y - 8, x), (z - 5, y + 8, x))
    window.wait(lambda: len(history_of(hand.layer).done) == 2, 10)
    states.append(hand.data)
    hand.drag((z, y - 8, x - 3), (z, y - 8, x + 3))
    window.wait(lambda: len(history_of(hand.layer).done) == 3, 10)
    for before in reversed(states):  # from a side canvas too
        coronal.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        window.wait(lambda b=before: np.array_equal(hand.data, b), 10)
    assert not history_of(hand.layer).done and len(history_of(hand.layer).undone) == 3


@pytest.mark.slow
def test_polygon_eraser_and_fill_on_another_canvas(four):
    hand, window = four, four.window
    coronal = PaneHand(hand, Plane.CORONAL)
    z, y, x = hand.middle
    window.press("paint_WT")
    window.press("tool_eraser")
    hand.app.features.paint.set_brush_size(9)
    before = hand.data
    coronal.drag((z, y, x), (z, y, x + 2))
    window.wait(lambda: len(history_of(hand.layer).done) == 1, 10)
    assert (hand.data[z, y, x] == 0) and before[z, y, x] != 0
    window.press("tool_polygon")
    for corner in ((z - 3, y, x - 3), (z - 3, y, x + 3), (z + 3, y, x + 3)):
        coronal.click(*corner)
    coronal.window.qtbot.wait(300)
    coronal.double_click()
    window.wait(lambda: len(history_of(hand.layer).done) == 2, 10)
    assert hand.data[z - 1, y, x + 1] != 0
    assert not hand.app.features.planes.alone  # the double click was the polygon's


@pytest.mark.slow
def test_wheel_click_and_keys_move_all(four):
    hand, window = four, four.window
    coronal, viewer = PaneHand(hand, Plane.CORONAL), four.viewer
    z, y, x = hand.middle
    window.press("tool_move")
    point = viewer.dims.point
    coronal.wheel(-1)
    assert viewer.dims.point[1] == pytest.approx(point[1] + viewer.dims.range[1].step)
    assert viewer.dims.point[0] == point[0] and viewer.dims.point[2] == point[2]
    sagittal = next(p for p in linked(hand).flat if p.plane is Plane.SAGITTAL)
    assert sagittal.crosshair.at == (viewer.dims.point[0], viewer.dims.point[1])
    coronal.click(z - 4, y, x + 6)
    world = hand.layer.data_to_world((z - 4, y, x + 6))
    window.wait(lambda: np.allclose([viewer.dims.point[0], viewer.dims.point[2]], [world[0], world[2]], atol=1.0), 5)
    assert sagittal.model.dims.point[2] == viewer.dims.point[2]
    slices = viewer.dims.current_step
    coronal.key(Qt.Key.Key_N)  # the panel's keys, from any canvas
    shown = hand.app.features.view.modality
    window.wait(lambda: shown is not Modality.T1CE, 5)
    coronal_shown = [layer.name for layer in coronal.pane.model.layers if layer.visible]
    assert coronal_shown == [shown.title, "Segmentation"] and viewer.dims.current_step == slices
    coronal.key(Qt.Key.Key_H)
    assert not coronal.mirror.visible and not hand.layer.visible
    coronal.key(Qt.Key.Key_H)
    assert coronal.mirror.visible
    window.press("crosshair")
    assert all(p.crosshair.at is None for p in linked(hand).flat)
    at = viewer.dims.point
    coronal.click(z, y, x)
    assert viewer.dims.point == at


@pytest.mark.slow
def test_zoom_and_centre_are_shared_or_not(four):
    hand, window = four, four.window
    coronal, camera = PaneHand(hand, Plane.CORONAL), four.viewer.scene.camera
    zoom = camera.zoom
    coronal.wheel(2, Qt.KeyboardModifier.ControlModifier)
    assert camera.zoom > zoom * 1.1
    coronal.viewer.scene.camera.center = (0.0, -20.0, 12.0)
    assert camera.center[2] == 12.0  # left is shared with the axial plane, inferior with the sagittal one
    sagittal = next(p for p in linked(hand).flat if p.plane is Plane.SAGITTAL)
    assert sagittal.model.scene.camera.center[1] == -20.0
    window.press("link_canvases")
    zoom = camera.zoom
    coronal.wheel(2, Qt.KeyboardModifier.ControlModifier)
    assert camera.zoom == zoom
    window.press("link_canvases")
    window.press("fit")
    scales = [m.scene.camera.zoom / min(m.canvas.size) for m in (hand.viewer, *(p.model for p in linked(hand).flat))]
    assert scales == pytest.approx([scales[0]] * 3, rel=0.02)


@pytest.mark.slow
def test_a_double_click_shows_one_canvas_alone_and_all_again(four):
    hand, window, viewer = four, four.window, four.viewer
    own = viewer.window._qt_viewer.canvas.native
    window.press("tool_move")
    coronal = PaneHand(hand, Plane.CORONAL)
    coronal.double_click()
    window.wait(lambda: not any(p.native.isVisible() for p in panes(hand)) and own.isVisible(), 5)
    assert planes.plane_of(viewer) is Plane.CORONAL and hand.app.features.planes.alone
    hand_double(hand)
    window.wait(lambda: all(p.native.isVisible() for p in panes(hand)), 5)
    assert planes.plane_of(viewer) is Plane.AXIAL
    assert {p.plane for p in linked(hand).flat} == {Plane.CORONAL, Plane.SAGITTAL}
    hand.key(Qt.Key.Key_T)  # 3D is alone, too
    window.wait(lambda: viewer.dims.ndisplay == 3 and not any(p.native.isVisible() for p in panes(hand)), 10)
    hand.key(Qt.Key.Key_T)
    window.wait(lambda: viewer.dims.ndisplay == 2 and all(p.native.isVisible() for p in panes(hand)), 10)
    window.press("plane_sagittal")  # the canvas that had it takes the plane that is free
    assert planes.plane_of(viewer) is Plane.SAGITTAL
    assert {p.plane for p in linked(hand).flat} == {Plane.CORONAL, Plane.AXIAL}
    for p in linked(hand).flat:
        assert planes.plane_of(p.model) is p.plane


@pytest.mark.slow
def test_clicks_to_fix_measures_and_points_are_those_of_every_canvas(four):
    """What takes a click on napari's own canvas takes it on the others, and moves no crosshair there."""
    hand, window, viewer = four, four.window, four.viewer
    coronal, sagittal = PaneHand(hand, Plane.CORONAL), PaneHand(hand, Plane.SAGITTAL)
    z, y, x = hand.middle
    drawing, point = hand.app.features.measure.drawing, viewer.dims.point
    window.press("draw_ruler")
    coronal.drag((z - 6, y, x - 8), (z, y, x), (z + 6, y, x + 8))
    window.wait(lambda: len(drawing.drawn) == 1, 10)
    assert drawing.drawn[0].first.mm == pytest.approx(20.0, abs=1.5)
    window.wait(lambda: all("Measurements" in [x.name for x in p.model.layers] for p in linked(hand).flat), 10)
    window.press("draw_roi")
    sagittal.drag((z - 5, y - 5, x), (z, y, x), (z + 5, y + 5, x))
    window.wait(lambda: len(drawing.drawn) == 2, 10)
    spread = np.ptp([drawing.drawn[1].first.start, drawing.drawn[1].second.end, drawing.drawn[1].first.end], axis=0)
    assert np.flatnonzero(spread < 0.1).tolist() == [0]  # it lies in its sagittal slice
    window.press("draw_roi")  # out of the hand
    assert drawing.tool is None
    window.press("paint_WT")
    hand.key(Qt.Key.Key_8)
    before = hand.data
    empty = next(i for i in range(z, before.shape[0]) if before[i, y, x] == 0)
    coronal.click(empty, y, x)
    window.wait(lambda: hand.data[empty, y, x] > 0, 20)
    assert history_of(hand.layer).done[-1].tool == "click"
    coronal.click(empty, y, x)
    coronal.double_click()
    assert viewer.dims.point == point and not hand.app.features.planes.alone
    window.press("tool_move")
    window.press("work_erase_part")
    labelled = hand.data
    sagittal.click(z, y, x)
    window.wait(lambda: (hand.data != labelled).any() and hand.data[z, y, x] == 0, 20)
    assert viewer.dims.point == point


@pytest.mark.slow
def test_what_was_drawn_is_moved_on_every_canvas_a_step_each(four):
    """Rulers and ellipses, and the ends of diameters: dragged on a canvas beside napari's own, undone and redone there."""
    hand, window = four, four.window
    coronal, sagittal = PaneHand(hand, Plane.CORONAL), PaneHand(hand, Plane.SAGITTAL)
    z, y, x = hand.middle
    measure, labels = hand.app.features.measure, hand.data
    drawing = measure.drawing
    window.press("draw_ruler")
    coronal.drag((z, y, x - 8), (z, y, x), (z, y, x + 8))
    window.press("draw_roi")
    sagittal.drag((z - 5, y - 5, x), (z, y, x), (z + 5, y + 5, x))
    window.wait(lambda: len(drawing.drawn) == 2, 10)
    window.press("draw_roi")  # out of the hand
    drawn = list(drawing.drawn)
    window.press("move_drawn")

    def ready(pane: PaneHand) -> bool:
        active = pane.viewer.layers.selection.active
        return active is not None and active.name == "Measurements" and str(active.mode) == "select"

    window.wait(lambda: ready(coronal) and ready(sagittal), 10)
    coronal.drag((z, y, x + 4), (z + 2, y, x + 4), (z + 5, y, x + 4), (z + 5, y, x + 4))
    window.wait(lambda: drawing.drawn[0] != drawn[0], 10)
    moved = list(drawing.drawn)
    spread = np.subtract(moved[0].first.start, drawn[0].first.start)
    assert np.abs(spread).argmax() == 2 and np.abs(spread).max() == pytest.approx(5.0, abs=1.0)  # downwards
    assert moved[0].first.mm == pytest.approx(drawn[0].first.mm, abs=0.1) and moved[1] == drawn[1]
    shown = next(x for x in hand.viewer.layers if x.name == "Measurements")
    assert shown.shape_type == ["line", "ellipse"] and shown.features["name"][0].endswith("mm")
    window.wait(lambda: ready(sagittal), 10)
    sagittal.drag((z, y, x), (z, y + 3, x), (z, y + 6, x), (z, y + 6, x))
    window.wait(lambda: drawing.drawn[1] != moved[1], 10)
    assert drawing.drawn[1].statistics != moved[1].statistics  # measured where it lies now
    for canvas, want in ((sagittal, moved), (coronal, drawn)):
        window.wait(lambda c=canvas: ready(c), 10)
        canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        window.wait(lambda w=want: drawing.drawn == w, 10)
    sagittal.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier)
    assert drawing.drawn == moved
    window.press("move_drawn")
    window.press("measure")
    window.wait(lambda: bool(measure.measured), 20)
    window.press("move_ends")
    window.press("plane_coronal")  # the plane in which they lie is beside it now
    axial, before = PaneHand(hand, Plane.AXIAL), measure.measured
    at, other = diameter_lines.to_shown(measure._grid, diameter_lines.ends_of(measure._layer, measure._grid)[0])
    planes.go_to_world(hand.viewer, hand.layer.data_to_world(at))
    active = axial.viewer.layers.selection
    window.wait(lambda: active.active is not None and str(active.active.mode) == "direct", 10)
    axial.click(*((at + other) / 2))  # chosen, as anywhere in napari
    down = np.array([0.0, 2.0, 0.0])
    axial.drag(at, at + down, at + 2 * down, at + 2 * down)
    window.wait(lambda: any(one.edited for of in measure.measured.values() for one in of.lesions), 10)
    axial.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.wait(lambda: measure.measured == before, 10)
    assert np.array_equal(hand.data, labels) and not history_of(hand.layer).done


def hand_double(hand: Hand) -> None:
    at, left = QPointF(hand.native.rect().center()), Qt.MouseButton.LeftButton
    hand.mouse(QEvent.Type.MouseButtonDblClick, at, left, left)
    hand.mouse(QEvent.Type.MouseButtonRelease, at, left)
    hand.window.qtbot.wait(60)


@pytest.mark.slow
def test_another_study_layers_of_ones_own_theme_and_regions(four, tmp_path, monkeypatch):
    hand, window, viewer = four, four.window, four.viewer
    viewer.theme = "light"
    own = viewer.add_points([[-5.0, 3.0, 2.0], [0.0, 1.0, 1.0]], name="mine", size=4)
    for pane in linked(hand).flat:
        assert pane.mirrors[own].layer.name == "mine" and pane.model.theme == "light"
    own.add([1.0, 1.0, 1.0])
    window.wait(lambda: all(len(p.mirrors[own].layer.data) == 3 for p in linked(hand).flat), 5)
    viewer.layers.remove(own)
    assert all(own not in p.mirrors for p in linked(hand).flat)
    window.press("outline")
    for pane in linked(hand).flat:
        mirror = pane.mirrors[hand.layer].layer
        assert mirror.contour == 1 and region_layer.region_view(mirror).outline
    other = write(make_study(3, id="B", shape=(40, 44, 48)), tmp_path)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(other))
    window.press("open_folder")
    window.wait(lambda: window.session.study.study.id == "B" and window.session.measures is not None, 60)
    for pane in linked(hand).flat:
        assert list(pane.mirrors) == [x for x in viewer.layers if x.visible or x in pane.mirrors]
        for source, mirror in pane.mirrors.items():
            assert mirror.layer.data is source.data or np.shares_memory(mirror.layer.data, source.data)
            assert mirror.layer.visible == source.visible
            np.testing.assert_allclose(mirror.layer.extent.world, source.extent.world)
        assert pane.model.dims.range == viewer.dims.range
        assert pane.mirrors[hand.layer].layer.contour == 1  # outlines were chosen before
    solid = linked(hand).solid
    window.wait(lambda: "brain" in solid.surfaces.surfaces, 30)
    assert solid.marks.letters == ("S", "I", "R", "L")  # from the front, as always
    image = layers.image_layers(viewer)[Modality.T1CE]
    image.contrast_limits = (10.0, 200.0)
    assert all(tuple(p.mirrors[image].layer.contrast_limits) == (10.0, 200.0) for p in linked(hand).flat)
    viewer.layers.clear()
    window.qtbot.wait(50)
    assert all(not p.mirrors for p in linked(hand).flat)
    window.press("canvases_one")


@pytest.mark.slow
def test_the_panel_goes_and_takes_its_canvases(four):
    hand, window, viewer = four, four.window, four.viewer
    own = viewer.window._qt_viewer.canvas.native
    parent = own.parentWidget()
    assert gc.get_freeze_count() > 100_000  # what napari is made of: collections do not look through it
    hand.app.close()
    assert gc.get_freeze_count() == 0
    window.qtbot.wait(50)
    assert own.isVisible() and parent.layout().indexOf(own) == 0 and parent.layout().count() == 2
    viewer.dims.set_current_step(0, 3)
