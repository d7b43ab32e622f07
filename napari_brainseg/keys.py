"""Keys and mouse gestures of the canvas. :data:`KEYS` is the table that the panel lists.

napari ignores the key bindings of a manifest, so they are bound on the viewer here. A layer's own bindings win over a
viewer's: none of ours is one of napari's for the viewer, images, labels or surfaces (a test holds that).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from brainseg_engine.core.study import Modality
from napari_brainseg.display.layers import (
    PARKED,
    apply_region_view,
    image_layers,
    labels_layers,
    layer_modality,
    region_view,
)
from napari_brainseg.display.planes import (
    WINDOW_PRESETS,
    Plane,
    apply_window,
    cursor_point,
    plane_of,
    set_3d,
    set_plane,
    values_at_cursor,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

KEYS: tuple[tuple[str, str], ...] = (
    ("A", "axial plane through the cursor"),
    ("S", "sagittal plane through the cursor"),
    ("D", "coronal plane through the cursor"),
    ("T", "3D and back"),
    ("N", "next modality"),
    ("Shift-N", "previous modality"),
    ("H", "hide or show the segmentation"),
    ("U", "outlines or filled areas"),
    ("W", "next window preset (standard, narrow, wide)"),
    ("Q", "correct: next region (or class) to paint"),
    ("Shift-Q", "correct: previous region (or class) to paint"),
    ("R", "correct: threshold brush on or off"),
    ("I", "correct: interpolate between the painted slices"),
    ("G", "correct: grow from the point under the mouse"),
    ("K", "correct: relabel the part under the mouse"),
    ("Shift-K", "correct: erase the part under the mouse"),
    ("J", "next doubtful slice"),
    ("Shift-J", "previous doubtful slice"),
    ("Shift-H", "where the model doubts"),
    ("Shift-U", "outlines of what was changed"),
    ("Control-Enter", "accept the correction"),
    ("Control-J", "next study of the queue"),
)
"""Key → what it does, in the order to list them."""

NAPARI_KEYS: tuple[tuple[str, str], ...] = (
    ("P, E", "brush, eraser (labels layer chosen)"),
    ("F, 3", "fill, polygon"),
    ("Z, Space", "move the image; Space as long as it is held"),
    ("[, ]", "smaller brush, larger brush"),
    ("Ctrl-Z", "undo"),
    ("Ctrl-Shift-Z", "redo"),
)
"""napari's own keys for the labels layer, to list with ours."""

UNDO_KEYS = ("Control-Z", "Control-Shift-Z")
"""napari binds them on the labels layer; here they work whichever layer is chosen."""

MOUSE: tuple[tuple[str, str], ...] = (
    ("Ctrl + drag", "window (left–right) and level (up–down), with the left button"),
    ("Middle drag", "the same, without a key"),
    ("Ctrl + wheel", "through the slices"),
)
"""Gesture → what it does, in the order to list them."""

ValuesCallback = Callable[[Mapping[Modality, float]], None]

_WINDOW_PER_PIXEL = 1 / 400  # of the window's width: a drag across half the canvas doubles it


class Tools:
    """Binds the keys and gestures to a viewer; ``close`` takes them away. Keep a reference as long as they should work.

    ``segmentation`` gives the labels layer that the overlay keys mean (by default the topmost of ours), ``on_values``
    hears the modalities' intensities at the cursor whenever it moves, ``commands`` are the keys of correcting.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        *,
        segmentation: Callable[[], Labels | None] | None = None,
        on_values: ValuesCallback | None = None,
        commands: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self._viewer = viewer
        self._segmentation = segmentation or (lambda: next(iter(labels_layers(viewer)), None))
        self._on_values = on_values
        self._flat: tuple[Plane, tuple[float, ...], Any, float] | None = None
        self._pointed = False  # until the mouse has moved over the canvas, napari's cursor is nowhere in particular
        self._actions: dict[str, Callable[[], None]] = {
            "A": lambda: self.show_plane(Plane.AXIAL),
            "S": lambda: self.show_plane(Plane.SAGITTAL),
            "D": lambda: self.show_plane(Plane.CORONAL),
            "T": self.toggle_3d,
            "N": lambda: self.step_modality(1),
            "Shift-N": lambda: self.step_modality(-1),
            "H": self.toggle_overlay,
            "U": self.toggle_outline,
            "W": self.next_window,
            **(commands or {}),
        }
        for key in self._keys:
            viewer.bind_key(key, self._binding(key), overwrite=True)
        viewer.mouse_drag_callbacks.append(self._drag_window)
        viewer.mouse_move_callbacks.append(self._moved)
        viewer.cursor.events.position.connect(self._report)
        viewer.dims.events.point.connect(self._report)

    def close(self) -> None:
        """Unbind everything."""
        for key in self._keys:
            self._viewer.bind_key(key, None)
        for callbacks, mine in (
            (self._viewer.mouse_drag_callbacks, self._drag_window),
            (self._viewer.mouse_move_callbacks, self._moved),
        ):
            if mine in callbacks:
                callbacks.remove(mine)
        self._viewer.cursor.events.position.disconnect(self._report)
        self._viewer.dims.events.point.disconnect(self._report)

    # --- what the keys do

    def show_plane(self, plane: Plane | str) -> None:
        """The plane through the point under the cursor, or through the current slices where the mouse is elsewhere."""
        over = self._pointed and self._viewer.mouse_over_canvas
        set_plane(self._viewer, plane, at=cursor_point(self._viewer) if over else None)

    def toggle_3d(self) -> None:
        """To 3D, or back to the plane, slice and zoom that one came from."""
        camera = self._viewer.scene.camera
        if self._viewer.dims.ndisplay == 2:
            self._flat = (plane_of(self._viewer) or Plane.AXIAL, self._viewer.dims.point, camera.center, camera.zoom)
            set_3d(self._viewer)
        elif self._flat is None:
            set_3d(self._viewer, False)
        else:
            plane, point, centre, zoom = self._flat
            set_plane(self._viewer, plane)
            self._viewer.dims.point = point
            camera.center, camera.zoom = centre, zoom

    def step_modality(self, step: int) -> None:
        """Show the next (1) or previous (-1) modality instead of the one shown. In 3D, where images hide, nothing."""
        layers = image_layers(self._viewer)
        if not layers or self._viewer.dims.ndisplay == 3:
            return
        names = list(layers)
        shown = self._shown_image()
        here = names.index(next(m for m in names if layers[m] is shown)) if shown is not None else -step
        for i, name in enumerate(names):
            layers[name].visible = i == (here + step) % len(names)

    def toggle_overlay(self) -> None:
        """Hide the segmentation (its surfaces in 3D), or show it."""
        layer = self._segmentation()
        if layer is not None:
            shown = region_view(layer).visible if PARKED in layer.metadata else layer.visible
            apply_region_view(layer, region_view(layer).with_visible(not shown))
            if PARKED not in layer.metadata:
                layer.visible = not shown  # also where the eye button had it otherwise than the view

    def toggle_outline(self) -> None:
        """Outlines, or filled areas."""
        layer = self._segmentation()
        if layer is not None:
            view = region_view(layer)
            apply_region_view(layer, view.with_outline(not view.outline))

    def next_window(self) -> None:
        """The next window preset on the image shown."""
        layer = self._shown_image()
        if layer is None:
            return
        now = layer.metadata.get("brainseg_window", WINDOW_PRESETS[0])
        preset = WINDOW_PRESETS[(WINDOW_PRESETS.index(now) + 1) % len(WINDOW_PRESETS)]
        apply_window(layer, preset)
        layer.metadata["brainseg_window"] = preset

    # --- plumbing

    _keys = (*(key for key, _ in KEYS), *UNDO_KEYS)

    def _binding(self, key: str) -> Callable[[ViewerModel], None]:
        def run(viewer: ViewerModel) -> None:
            self._actions.get(key, lambda: None)()

        return run

    def _shown_image(self) -> Image | None:
        """The topmost visible image of ours."""
        layers = reversed(list(self._viewer.layers))
        return next((layer for layer in layers if layer.visible and layer_modality(layer)), None)

    def _moved(self, viewer: ViewerModel, event: Any) -> None:
        self._pointed = True

    def _report(self, event: object = None) -> None:
        if self._on_values is not None:
            self._on_values(values_at_cursor(self._viewer))

    def _drag_window(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        """Window and level by Ctrl + left drag, or by the middle button, whatever tool is chosen."""
        wanted = event.button == 3 or (event.button == 1 and "Control" in event.modifiers)
        layer = self._shown_image()
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
                new = max(width * (1 + right * _WINDOW_PER_PIXEL), width * 0.02)
                middle = level + down * _WINDOW_PER_PIXEL * width  # upwards: a lower level, a brighter image
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
