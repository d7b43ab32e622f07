"""A hand that walks through correcting in a real napari window: every tool, by mouse and keys, and all of it back."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy.ndimage import distance_transform_edt

from brainseg_engine.core.labels import Label
from helpers.window import Hand
from napari_brainseg.display import planes
from napari_brainseg.display.history import history_of

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
APART = 4
"""Slices between the two that are painted before the interpolation."""


def deepest(where: np.ndarray) -> tuple[int, ...]:
    """The voxel furthest from what is not ``where``."""
    return tuple(int(i) for i in np.unravel_index(np.argmax(distance_transform_edt(where)), where.shape))


class Walk(Hand):
    """A hand that remembers what the labels were after each of its steps."""

    def __init__(self, window, folder, monkeypatch) -> None:
        super().__init__(window, folder, monkeypatch)
        self.segment()
        self.answer = self.data
        assert self.answer.any() and not history_of(self.layer).done
        self.states = [self.answer]
        self.tools: list[str] = []
        brain = self.app.context.brush.brain()
        self.z = int(np.argmax((self.answer > 0).sum(axis=(1, 2))))
        free = brain & (self.answer == 0)
        self.y, self.x = deepest(free[self.z : self.z + APART + 1].all(axis=0))  # healthy, far from edge and tumour
        self.go(self.z, self.y, self.x)

    def go(self, *voxel: int) -> None:
        planes.go_to_world(self.viewer, self.layer.data_to_world(voxel))
        self.window.qtbot.wait(150)

    def segment(self) -> None:
        self.window.press("segment")
        self.window.wait(lambda: self.window.session.job is None, 400)
        self.window.wait(lambda: self.window.session.measures is not None)
        message = self.window.session.message  # a phantom looks unlike patients
        assert message.kind.value == "good" or "look unlike" in message.text, message.text

    def choose(self, target: str, tool: str = "", size: int = 0) -> None:
        self.window.press(f"paint_{target}")
        if tool:
            self.window.press(f"tool_{tool}")
        if size:
            self.window.app.sections.paint.size.setValue(size)

    def work(self, name: str) -> None:
        self.window.press(f"work_{name}")

    def changed(self, tool: str) -> None:
        """The labels have changed, by one step, of that tool."""
        self.window.wait(lambda: (self.data != self.states[-1]).any(), 60)
        self.window.qtbot.wait(100)
        done = history_of(self.layer).done
        assert len(done) == len(self.states), tool
        assert done[-1].tool == tool
        self.states.append(self.data)
        self.tools.append(tool)

    # --- the tools

    def paint_with_each_tool(self) -> None:
        z, y, x = self.z, self.y, self.x
        self.choose("WT", "brush", 9)
        self.drag((z, y, x - 2), (z, y, x), (z, y, x + 2))
        self.changed("brush")
        self.choose("WT", "eraser", 3)
        self.drag((z, y, x))
        self.changed("eraser")
        self.choose("WT")
        self.work("holes_flat")
        self.changed("fill holes")
        self.threshold_brush()
        self.choose("class_NCR", "fill")
        patch = np.argwhere(self.data[z, y - 4 : y + 5, x - 4 : x + 5] == Label.ED)[0]
        self.click(z, y - 4 + int(patch[0]), x - 4 + int(patch[1]))
        self.changed("fill")
        self.choose("class_ET", "polygon")
        for corner in ((z, y - 3, x - 3), (z, y - 3, x + 3), (z, y + 3, x + 3), (z, y + 3, x - 3)):
            self.click(*corner)
        self.key(Qt.Key.Key_Return)
        self.changed("polygon")

    def threshold_brush(self) -> None:
        """Only what is bright is painted."""
        z, y, x = self.z, self.y, self.x
        self.choose("ET", "brush", 9)
        self.window.press("threshold")
        self.window.wait(lambda: self.window.widget("threshold_range").isVisible())
        brush = self.app.context.brush
        image = brush.images[brush.settings.modality]
        low, high = float(np.median(image[z, y - 3 : y + 4, x - 3 : x + 4])), float(image.max())
        self.window.app.sections.paint.range.setValue((low, high))
        self.window.wait(lambda: brush.settings.limits == pytest.approx((low, high), rel=0.02))
        low, high = brush.settings.limits
        before = self.data
        self.drag((z, y, x - 2), (z, y, x + 2))
        self.changed("brush")
        painted = image[self.data != before]
        assert painted.size and (painted >= low).all() and (painted <= high).all()
        self.window.press("threshold")

    def work_in_3d(self) -> None:
        z, y, x = self.z, self.y, self.x
        self.go(z + APART, y, x)
        self.choose("WT", "brush", 7)
        self.drag((z + APART, y, x))
        self.changed("brush")
        self.work("interpolate")
        self.changed("interpolate")
        self.work("smooth")
        self.changed("smooth")
        deep = deepest(self.data > 0)
        self.go(*deep)
        self.choose("WT", "eraser", 3)
        self.drag(deep)
        self.changed("eraser")
        self.work("holes")
        self.changed("fill holes")
        brain = self.app.context.brush.brain()
        alone = (z, *deepest(brain[z] & (self.data[z - 1 : z + 2] == 0).all(axis=0)))
        self.go(*alone)
        self.choose("WT", "brush", 3)
        self.drag(alone)
        self.changed("brush")
        self.work("islands")
        self.changed("remove islands")

    def work_at_a_point(self) -> None:
        z, y, x = self.z, self.y, self.x
        self.go(z, y, x)
        self.choose("WT", "brush")
        self.window.app.sections.paint.numbers["grow"].setValue(10)
        self.click_after("grow")
        self.changed("grow")
        self.choose("class_NCR" if self.data[z, y, x] != Label.NCR else "class_ED")
        self.click_after("relabel")
        self.changed("relabel")
        self.choose("WT")
        self.click_after("erase_part")
        self.changed("erase component")
        assert self.data[z, y, x] == 0
        self.window.press("take")  # from the model's answer
        self.changed("take")
        planes.set_plane(self.viewer, "sagittal")
        self.go(z, y, x)
        self.choose("WT", "brush", 7)
        self.drag((z - 2, y, x), (z + 2, y, x))
        self.changed("brush")
        planes.set_plane(self.viewer, "axial")

    def propagate(self) -> None:
        """The model adapts to what was corrected; its proposal is taken."""
        self.window.press("propagate")
        self.window.wait(lambda: self.app.features.propagate.running, 20)
        self.window.wait(lambda: not self.app.features.propagate.running, 600)
        assert self.app.features.propagate.proposal is not None, self.window.session.message.text
        np.testing.assert_array_equal(self.data, self.states[-1])
        self.window.press("propagate_accept")
        self.changed("propagate")

    def click_after(self, name: str) -> None:
        self.work(name)
        self.window.wait(lambda: self.window.widget(f"work_{name}").text().startswith("Click"))
        self.click(self.z, self.y, self.x)

    # --- and back

    def undo_all_and_redo_all(self) -> None:
        """By Ctrl+Z to the answer and by Ctrl+Shift+Z to the last state, each on the way bit for bit."""
        for state in reversed(self.states[:-1]):
            self.key(Qt.Key.Key_Z, CONTROL)
            np.testing.assert_array_equal(self.data, state)
        assert self.data.tobytes() == self.answer.tobytes()
        assert not self.window.widget("undo").isEnabled()
        for state in self.states[1:]:
            self.key(Qt.Key.Key_Z, CONTROL, SHIFT)
            np.testing.assert_array_equal(self.data, state)
        assert self.data.tobytes() == self.states[-1].tobytes()
