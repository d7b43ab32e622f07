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
        self._viewer.mouse_drag_callbacks.insert(0, self._click)

    def drop(self) -> None:
        """Wait for a click no longer."""
        self._asked = None
        if self._click in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._click)

    def _click(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        asked = self._asked
        if asked is None or event.button != 1 or viewer.dims.ndisplay != 2:
            return
        self.drop()
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
    """While ``active()``, a left click or drag in 2D is no movement of the image: ``drawn(world points, modifiers)``."""

    def __init__(
        self, viewer: ViewerModel, active: Callable[[], bool], drawn: Callable[[list[Any], tuple[str, ...]], None]
    ) -> None:
        self._viewer, self._active, self._drawn = viewer, active, drawn
        viewer.mouse_drag_callbacks.insert(0, self._drag)

    def close(self) -> None:
        """Draw nothing more."""
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)

    def _drag(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        modifiers = tuple(str(m) for m in event.modifiers)
        if event.button != 1 or "Control" in modifiers or viewer.dims.ndisplay != 2 or not self._active():
            return
        event.handled = True
        points = [tuple(event.position)]
        yield
        while event.type == "mouse_move":
            event.handled = True
            points.append(tuple(event.position))
            yield
        self._drawn(points, modifiers)
