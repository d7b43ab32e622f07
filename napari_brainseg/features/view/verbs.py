"""Looking: planes and 3D, which series is shown, its window, the values at the cursor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine.core.study import Modality
from napari_brainseg.display import layers, planes, preferences
from napari_brainseg.display.caption import Caption, elided, place_of, window_of
from napari_brainseg.display.gestures import drag_image, drag_window, shown_image, step_slice, turn_wheel
from napari_brainseg.display.panes import canvas_of
from napari_brainseg.display.planes import WINDOW_PRESETS, Marks, Plane
from napari_brainseg.display.region_layer import set_visible
from napari_brainseg.display.windows import PRESETS, brain_window
from napari_brainseg.features.context import Context
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from napari.layers import Image

VALUES_S = 0.03
"""How often the values at the cursor follow the mouse, which moves faster than one reads."""


class ViewVerbs:
    """What the view section shows and asks for."""

    changed = Signal()
    """Another plane, series or window is shown."""
    values_changed = Signal()
    """The values at the cursor are others."""
    fitted = Signal()
    """The head fills napari's canvas: others may follow."""

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.marks = Marks(context.viewer, canvas=canvas_of(context.viewer))
        self.caption = Caption(context.viewer, canvas=canvas_of(context.viewer))
        self.all_canvases: Callable[[], Any] = lambda: None
        """A picture of all canvases, as a QImage; None where there is one."""
        self._images: dict[Modality, Image] = {}
        self._drops: list[Callable[[], None]] = []
        self._head: planes.Box | None = None
        self._windows: dict[tuple[int, str], tuple[float, float]] = {}
        self._flat: tuple[Plane, tuple[float, ...], Any, float] | None = None
        self._pointed = False  # until the mouse has moved over the canvas, napari's cursor is nowhere in particular
        self._looked_at = False  # until the mouse has moved over the study
        self._cursor_at: tuple[float, ...] = ()
        self._soon = context.later(VALUES_S, self.values_changed.emit)
        viewer = context.viewer
        viewer.mouse_drag_callbacks += [drag_window, drag_image]
        self._napari_wheel = [c for c in viewer.mouse_wheel_callbacks if c.__name__ == "dims_scroll"]
        for callback in self._napari_wheel:  # Ctrl + wheel, which zooms here
            viewer.mouse_wheel_callbacks.remove(callback)
        viewer.mouse_wheel_callbacks.append(turn_wheel)
        viewer.mouse_move_callbacks.append(self._moved)
        for event in (viewer.cursor.events.position, viewer.dims.events.point):
            context.follow(event, self._on_cursor)
        for event in (viewer.dims.events.order, viewer.dims.events.ndisplay):
            context.follow(event, self._on_change)
        for event in (viewer.dims.events.point, viewer.canvas.events.size):
            context.follow(event, self._tell)
        context.follow(self.changed, self._tell)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            context.follow(event, self._on_layers)
        context.follow(context.session.study_changed, self._attach)
        context.follow(context.easel_changed, self._on_change)
        self._attach()
        if not self.controls_shown:
            self._arrange_controls()

    def close(self) -> None:
        """Take the gestures away; the marks are the canvas's own until ``marks.close``."""
        for callbacks, mine in (
            (self._viewer.mouse_drag_callbacks, drag_window),
            (self._viewer.mouse_drag_callbacks, drag_image),
            (self._viewer.mouse_wheel_callbacks, turn_wheel),
            (self._viewer.mouse_move_callbacks, self._moved),
        ):
            if mine in callbacks:
                callbacks.remove(mine)
        self._viewer.mouse_wheel_callbacks += [
            c for c in self._napari_wheel if c not in self._viewer.mouse_wheel_callbacks
        ]

    def _tell(self, event: object = None) -> None:
        """Say on the canvas what is looked at."""
        self.marks.suit(self._viewer.canvas.size[1] < planes.SMALL_PX)
        current, modality = self._session.study, self.modality
        if current is None:
            self.caption.show("", "")
            return
        name = elided(current.study.id, self._viewer.canvas.size[1])
        read = self._context.read_as_acquired
        image = read[1] if read is not None else self._images[modality] if modality is not None else None
        top = name if image is None else f"{name}\n{image.name}"
        bottom = ""
        if image is not None and self.plane is not None:
            bottom = f"{place_of(self._viewer, image)}\n{window_of(image)}"
        self.caption.show(top, bottom)

    def _on_layers(self, event: object = None) -> None:
        self.caption.show_legend()

    # --- what is shown

    @property
    def in_3d(self) -> bool:
        """True in 3D."""
        return bool(self._viewer.dims.ndisplay == 3)

    @property
    def plane(self) -> Plane | None:
        """The plane shown; None in 3D, and for an order of axes that is none of the three."""
        return planes.plane_of(self._viewer)

    @property
    def modalities(self) -> list[Modality]:
        """The series that can be shown: none in 3D, where images hide."""
        return [] if self.in_3d else list(self._images)

    @property
    def modality(self) -> Modality | None:
        """The series that is read as acquired, else the topmost visible one; None in 3D."""
        if self.in_3d:
            return None
        if (read := self._context.read_as_acquired) is not None:
            return read[0]
        visible = [m for m, layer in self._images.items() if layer.visible and layer in self._viewer.layers]
        return max(visible, key=lambda m: self._viewer.layers.index(self._images[m]), default=None)

    @property
    def window(self) -> str | None:
        """The window preset that the series shown has; None for another window."""
        read, modality = self._context.read_as_acquired, self.modality
        image = self._images.get(modality) if modality is not None else None
        if read is not None:
            modality, image = read
        if modality is None or image is None:
            return None
        now = tuple(image.contrast_limits)
        return next((p for p in PRESETS if _close(self._window(modality, p), now)), None)

    @property
    def values(self) -> Mapping[Modality, float]:
        """The intensities at the cursor; a series without one there is absent."""
        if not self._looked_at:
            return {}
        read = self._context.read_as_acquired  # the others lie elsewhere then
        return planes.values_at_cursor(self._viewer, images=None if read is None else dict([read]))

    def _window(self, modality: Modality, preset: str) -> tuple[float, float]:
        layer = self._images[modality]
        key = (id(layer), preset)
        if key not in self._windows:
            self._windows[key] = brain_window(layer.data, preset, modality)
        return self._windows[key]

    def _attach(self) -> None:
        for drop in self._drops:
            drop()
        current = self._session.study
        self._images = layers.image_layers(self._viewer, current.study.id) if current is not None else {}
        self._windows, self._looked_at = {}, False
        self._cursor_at = tuple(self._viewer.cursor.position[i] for i in self._viewer.dims.displayed[-2:])
        before, self._head = self._head, planes.head_box(current.study) if current is not None else None
        if self._head is not None and self._images and (before is None or not np.array_equal(before, self._head)):
            self._flat = None
            self.fit()
        follow = self._context.follow
        self._drops = [
            follow(event, self._on_change)
            for layer in self._images.values()
            for event in (layer.events.visible, layer.events.contrast_limits)
        ]
        self._soon.start()
        self.changed.emit()

    def _on_change(self, event: object = None) -> None:
        self.changed.emit()

    def _moved(self, viewer: object, event: object) -> None:
        self._pointed = True

    def _on_cursor(self, event: object = None) -> None:
        position = self._viewer.cursor.position
        flat = tuple(position[i] for i in self._viewer.dims.displayed if i < len(position))
        if flat != self._cursor_at:  # the cursor, and not only the slice below it
            self._cursor_at, self._looked_at = flat, True
        if not self._soon.active:
            self._soon.start()

    # --- planes

    def to_plane(self, plane: Plane | str) -> None:
        """That plane through the current slices."""
        planes.set_plane(self._viewer, plane, within=self._head)
        self.changed.emit()

    def to_3d(self) -> None:
        """Show the volume in 3D."""
        planes.set_3d(self._viewer)
        self.changed.emit()

    def plane_at_cursor(self, plane: Plane | str) -> None:
        """The plane through the point under the cursor, or through the current slices where the mouse is elsewhere."""
        over = self._pointed and self._viewer.mouse_over_canvas
        at = planes.cursor_point(self._viewer) if over else None
        planes.set_plane(self._viewer, plane, at=at, within=self._head)

    def fit(self) -> None:
        """The head fills the canvas, its slice in the head."""
        if self._head is not None:
            planes.fit(self._viewer, self._head)
        else:
            self._viewer.reset_view()
        self.fitted.emit()

    def step_slice(self, step: int = 1) -> None:
        """The next slice of the plane shown (-1: the one before)."""
        step_slice(self._viewer, step)

    def toggle_3d(self) -> None:
        """To 3D, or back to the plane, slice and zoom that one came from."""
        camera = self._viewer.scene.camera
        if self._viewer.dims.ndisplay == 2:
            self._flat = (self.plane or Plane.AXIAL, self._viewer.dims.point, camera.center, camera.zoom)
            planes.set_3d(self._viewer)
        elif self._flat is None:
            planes.set_3d(self._viewer, False)
        else:
            plane, point, centre, zoom = self._flat
            planes.set_plane(self._viewer, plane)
            self._viewer.dims.point = point
            camera.center, camera.zoom = centre, zoom

    # --- napari's own controls

    @property
    def controls_shown(self) -> bool:
        """Whether napari's own controls of the chosen layer are to be seen, which repeat what the panel has."""
        return preferences.controls_shown()

    def show_controls(self, on: bool) -> None:
        """Show or hide them; remembered."""
        preferences.show_controls(on)
        self._arrange_controls()
        self.changed.emit()

    def _arrange_controls(self) -> None:
        dock = getattr(getattr(getattr(self._viewer, "window", None), "_qt_viewer", None), "dockLayerControls", None)
        if dock is not None:
            dock.setVisible(self.controls_shown)

    # --- a picture

    @property
    def picture_name(self) -> str:
        """A name to suggest for a picture of what is seen."""
        current, image = self._session.study, self.modality
        if current is None:
            return "picture.png"
        return f"{current.study.id}_{image.value if image is not None else '3d'}.png"

    def save_picture(self, path: Path) -> None:
        """Write what the canvas shows as PNG."""
        shoot = getattr(self._viewer, "screenshot", None)
        if shoot is None:
            return
        try:
            several = self.all_canvases()
            if several is None:
                shoot(str(path), canvas_only=True, flash=False)
            elif not several.save(str(path)):
                raise OSError(0, "it cannot be written there")
        except OSError as e:
            self._session.say(f"{path} could not be written: {e.strerror or e}. Choose another folder.", Kind.ERROR)
            return
        self._session.say(f"Saved {path}", Kind.GOOD)

    def save_film(self, kind: str, path: Path) -> None:
        """Write the slices one after the other ("sweep"), or the tumour turning in 3D ("turn"), as GIF or MP4."""
        current, layer = self._session.study, self._context.labels
        if current is None or layer is None:
            self._session.say("There is nothing to film yet: segment the study, or open a mask.", Kind.WARNING)
            return

        def work() -> None:
            from brainseg_engine.figures.moving import film_of, sweep
            from brainseg_engine.report.pictures import turning

            segmentation = layers.segmentation_of(layer)
            if kind == "sweep":
                sweep(current.study, segmentation, path)
            else:
                film_of(turning(segmentation, current.study), path)

        self._context.read("drawing the film …", work, lambda _: self._session.say(f"Saved {path}", Kind.GOOD))

    # --- series and windows

    def show_modality(self, modality: Modality) -> None:
        """Show that series instead of the one shown."""
        for m, layer in self._images.items():
            set_visible(layer, m is modality)
        self.changed.emit()

    def step_modality(self, step: int = 1) -> None:
        """Show the next (1) or previous (-1) series instead of the one shown. In 3D, where images hide, nothing."""
        names = list(layers.image_layers(self._viewer))
        if not names or self.in_3d:
            return
        images = layers.image_layers(self._viewer)
        read, shown = self._context.read_as_acquired, shown_image(self._viewer)
        now = read[0] if read is not None else next((m for m in names if images[m] is shown), None)
        here = names.index(now) if now in names else -step
        for i, name in enumerate(names):
            set_visible(images[name], i == (here + step) % len(names))

    def choose_window(self, preset: str) -> None:
        """That window preset on all series."""
        for layer in self._images.values():
            planes.apply_window(layer, preset)
            layer.metadata["brainseg_window"] = preset
        if (read := self._context.read_as_acquired) is not None:
            # of the brain: a bright scalp would leave it dark
            planes.set_window(read[1], self._window(read[0], preset))
            read[1].metadata["brainseg_window"] = preset
            self._tell()
        self.changed.emit()

    def next_window(self) -> None:
        """The next window preset on the image shown."""
        layer = shown_image(self._viewer)
        if layer is None:
            return
        now = layer.metadata.get("brainseg_window", WINDOW_PRESETS[0])
        preset = WINDOW_PRESETS[(WINDOW_PRESETS.index(now) + 1) % len(WINDOW_PRESETS)]
        if self._context.read_as_acquired is not None:
            self.choose_window(preset)
        else:
            planes.apply_window(layer, preset)
            layer.metadata["brainseg_window"] = preset


def _close(a: tuple[float, float], b: tuple[float, ...]) -> bool:
    slack = 1e-3 * max(abs(a[1] - a[0]), 1e-6)
    return abs(a[0] - b[0]) <= slack and abs(a[1] - b[1]) <= slack
