"""Window and level by the mouse."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from napari_brainseg.display.layers import layer_modality

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

_PER_PIXEL = 1 / 400  # of the window's width: a drag across half the canvas doubles it


def shown_image(viewer: ViewerModel) -> Image | None:
    """The topmost visible image of ours."""
    return next((layer for layer in reversed(list(viewer.layers)) if layer.visible and layer_modality(layer)), None)


def drag_window(viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
    """Window and level by Ctrl + left drag, or by the middle button, whatever tool is chosen: a ``mouse_drag_callback``."""
    wanted = event.button == 3 or (event.button == 1 and "Control" in event.modifiers)
    layer = shown_image(viewer)
    if not wanted or layer is None:
        return
    active = viewer.layers.selection.active
    mode = getattr(active, "mode", None)
    if mode is not None:
        active.mode = "pan_zoom"  # the brush would paint along; viewer callbacks come before the layer's
    low, high = layer.contrast_limits
    width, level, start = high - low, (low + high) / 2, tuple(event.pos)
    try:
        yield
        while event.type == "mouse_move":
            right, down = event.pos[0] - start[0], event.pos[1] - start[1]
            new = max(width * (1 + right * _PER_PIXEL), width * 0.02)
            middle = level + down * _PER_PIXEL * width  # upwards: a lower level, a brighter image
            _set_limits(layer, middle - new / 2, middle + new / 2)
            yield
    finally:
        if mode is not None:
            active.mode = mode


def _set_limits(layer: Image, low: float, high: float) -> None:
    """Set the contrast limits, widening the slider's range where they leave it."""
    reach = layer.contrast_limits_range
    if low < reach[0] or high > reach[1]:
        layer.contrast_limits_range = (min(low, reach[0]), max(high, reach[1]))
    layer.contrast_limits = (low, high)
