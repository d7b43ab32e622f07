"""What the mouse does on the canvas: slices, zoom, window and level, moving the image."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_brainseg.display import preferences
from napari_brainseg.display.layers import ACQUIRED, layer_modality

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

_ZOOM = 1.15
"""By one notch of the wheel."""
_PER_PIXEL = 1 / 400  # of the window's width: a drag across half the canvas doubles it


def shown_image(viewer: ViewerModel) -> Image | None:
    """The topmost visible image of ours, a series as acquired included."""
    for layer in reversed(list(viewer.layers)):
        if layer.visible and (layer_modality(layer) or ACQUIRED in layer.metadata):
            return layer
    return None


def drag_window(viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
    """Window and level by the right button, but for the brush, whose it is; by Ctrl + left drag whatever tool is in hand.

    A ``mouse_drag_callback``.
    """
    active = viewer.layers.selection.active
    mode = getattr(active, "mode", None)
    by_right = (
        event.button == 2 and not event.modifiers and str(mode) in ("pan_zoom", "None") and viewer.dims.ndisplay == 2
    )
    layer = shown_image(viewer)
    if not (by_right or (event.button == 1 and "Control" in event.modifiers)) or layer is None:
        return
    event.handled = by_right  # else the camera zooms along
    up = 1 if preferences.level_up_is_brighter() else -1
    if mode is not None:
        active.mode = "pan_zoom"  # the brush would paint along; viewer callbacks come before the layer's
    low, high = layer.contrast_limits
    width, level, start = high - low, (low + high) / 2, tuple(event.pos)
    try:
        yield
        while event.type == "mouse_move":
            right, down = event.pos[0] - start[0], event.pos[1] - start[1]
            new = max(width * (1 + right * _PER_PIXEL), width * 0.02)
            event.handled = by_right
            middle = level + up * down * _PER_PIXEL * width  # upwards: a lower level, a brighter image
            _set_limits(layer, middle - new / 2, middle + new / 2)
            yield
    finally:
        if mode is not None:
            active.mode = mode


def drag_image(viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
    """Move the image with the middle button, in 2D: a ``mouse_drag_callback``."""
    if event.button != 3 or viewer.dims.ndisplay != 2:
        return
    camera = viewer.scene.camera
    centre, start, zoom = camera.center, tuple(event.pos), camera.zoom
    yield
    while event.type == "mouse_move":
        right, down = (event.pos[0] - start[0]) / zoom, (event.pos[1] - start[1]) / zoom
        camera.center = (0.0, centre[-2] - down, centre[-1] - right)
        yield


def turn_wheel(viewer: ViewerModel, event: Any) -> None:
    """The wheel goes through the slices, with Ctrl it zooms about the cursor; in 3D it is the camera's. A
    ``mouse_wheel_callback``."""
    if viewer.dims.ndisplay != 2 or viewer.dims.ndim != 3:
        return
    turned = float(np.clip(event.delta[1], -1, 1)) * (1 if not event.native.inverted() else -1)
    if "Control" in event.modifiers:
        camera, axes = viewer.scene.camera, list(viewer.dims.order[1:])
        at, centre, by = np.asarray(event.position)[axes], np.array(camera.center)[-2:], _ZOOM**turned
        camera.zoom *= by
        here = at + (centre - at) / by
        camera.center = (0.0, float(here[0]), float(here[1]))
    elif not event.modifiers:
        step_slice(viewer, -1 if turned > 0 else 1)
    else:
        return
    event.handled = True


def step_slice(viewer: ViewerModel, step: int) -> None:
    """That many slices on in the plane shown; no further than the images go."""
    if viewer.dims.ndisplay == 2 and viewer.dims.ndim == 3:
        axis = viewer.dims.order[0]
        viewer.dims.set_current_step(axis, viewer.dims.current_step[axis] + step)


def _set_limits(layer: Image, low: float, high: float) -> None:
    """Set the contrast limits, widening the slider's range where they leave it."""
    reach = layer.contrast_limits_range
    if low < reach[0] or high > reach[1]:
        layer.contrast_limits_range = (min(low, reach[0]), max(high, reach[1]))
    layer.contrast_limits = (low, high)
