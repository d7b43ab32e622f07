"""Asking for points on the canvas: the next click, where the mouse is now, or what is drawn while a tool is in hand."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_brainseg.display.planes import cursor_point

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

Index = tuple[int, int, int]


def index_at(layer: Labels, world: Any) -> Index | None:
    """The voxel of the layer's data at a point in world mm; None outside it."""
    index = np.round(np.asarray(layer.world_to_data(world), dtype=np.float64)).astype(int)
    if (index < 0).any() or (index >= layer.data.shape).any():
        return None
    return int(index[0]), int(index[1]), int(index[2])


def index_at_cursor(viewer: ViewerModel, layer: Labels) -> Index | None:
    """The voxel under the mouse; None where it is not over the data, and in 3D."""
    point = cursor_point(viewer) if viewer.mouse_over_canvas else None
    return index_at(layer, point) if point is not None else None


class Pointer:
    """Waits for one click on the canvas, whatever tool is chosen; that click paints nothing."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._asked: Callable[[Any], None] | None = None

    @property
    def waiting(self) -> bool:
        """True while a click is waited for."""
        return self._asked is not None

    def ask(self, clicked: Callable[[Any], None]) -> None:
        """``clicked(world point)`` at the next left click in 2D; an earlier question is dropped."""
        self.drop()
        self._asked = clicked
        self._viewer.mouse_drag_callbacks.insert(0, self.drag)

    def drop(self) -> None:
        """Wait for a click no longer."""
        self._asked = None
        if self.drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self.drag)

    def drag(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        """The click, on that viewer's canvas: a ``mouse_drag_callback``."""
        asked = self._asked
        if asked is None or event.button != 1 or viewer.dims.ndisplay != 2:
            return
        self.drop()
        event.handled = True
        active = viewer.layers.selection.active
        mode = getattr(active, "mode", None)
        if mode is not None:
            active.mode = "pan_zoom"  # the brush would paint along
        point = tuple(event.position)
        try:
            yield
            while event.type == "mouse_move":
                yield
        finally:
            if mode is not None:
                active.mode = mode
        asked(point)


class Sketch:
    """While ``active()``, a left click or drag in 2D is no movement of the image: ``drawn(world points, modifiers, across)``,
    with the world axis across the plane that was drawn in."""

    def __init__(
        self, viewer: ViewerModel, active: Callable[[], bool], drawn: Callable[[list[Any], tuple[str, ...], int], None]
    ) -> None:
        self._viewer, self.active, self._drawn = viewer, active, drawn
        viewer.mouse_drag_callbacks.insert(0, self.drag)

    def close(self) -> None:
        """Draw nothing more."""
        if self.drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self.drag)

    def drag(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        """What is drawn on that viewer's canvas: a ``mouse_drag_callback``."""
        modifiers = tuple(str(m) for m in event.modifiers)
        if event.button != 1 or "Control" in modifiers or viewer.dims.ndisplay != 2 or not self.active():
            return
        event.handled = True
        across = int(viewer.dims.order[0])
        points = [tuple(event.position)]
        yield
        while event.type == "mouse_move":
            event.handled = True
            points.append(tuple(event.position))
            yield
        self._drawn(points, modifiers, across)


def in_hand(viewer: ViewerModel) -> list[Pointer | Sketch]:
    """What takes the next left click on that viewer's canvas, whatever else it would do."""
    tools = [getattr(callback, "__self__", None) for callback in viewer.mouse_drag_callbacks]
    return [
        tool
        for tool in tools
        if (isinstance(tool, Pointer) and tool.waiting) or (isinstance(tool, Sketch) and tool.active())
    ]


def point_elsewhere(viewer: ViewerModel) -> Callable[[ViewerModel, Any], Generator[None, None, None]]:
    """A ``mouse_drag_callback`` for another canvas of the viewer: what takes a click on the viewer's own canvas takes it
    on that one, too."""

    def drag(model: ViewerModel, event: Any) -> Generator[None, None, None]:
        for tool in in_hand(viewer)[:1]:
            yield from tool.drag(model, event)

    return drag
