"""Wires the view section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QObject

from brainseg_engine.core.study import Modality
from napari_brainseg.display import layers, planes
from napari_brainseg.display.windows import PRESETS, brain_window
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.view.view import ViewView
from napari_brainseg.qt.threads import Timer

THREE_D = "3d"
PLANES = (("Axial", "axial", "A"), ("Coronal", "coronal", "D"), ("Sagittal", "sagittal", "S"), ("3D", THREE_D, "T"))
"""Text, value and key of each button."""

_VALUES_MS = 30


class ViewSection(QObject):
    """Between the view section's view and the canvas."""

    def __init__(self, view: ViewView, actions: Actions) -> None:
        super().__init__()
        self._view = view
        self._actions = actions
        self._viewer = actions.viewer
        self._values: Mapping[Modality, float] = {}
        self._images: dict[Modality, Any] = {}
        self._windows: dict[tuple[int, str], tuple[float, float]] = {}
        self._soon = Timer(self, _VALUES_MS, lambda: view.show_values(self._values))
        view.plane_chosen.connect(self._to_plane)
        view.modality_chosen.connect(self._to_modality)
        view.window_chosen.connect(self._to_window)
        self._viewer.dims.events.order.connect(self._show_plane)
        self._viewer.dims.events.ndisplay.connect(self._show_plane)
        actions.session.study_changed.connect(self._attach)
        self._attach()
        self._show_plane()

    def close(self) -> None:
        """Follow the viewer no more."""
        self._soon.stop()
        self._viewer.dims.events.order.disconnect(self._show_plane)
        self._viewer.dims.events.ndisplay.disconnect(self._show_plane)
        self._detach()

    def show_values(self, values: Mapping[Modality, float]) -> None:
        """The intensities at the cursor, shown a moment later: the mouse moves faster than one reads."""
        self._values = values
        if not self._soon.isActive():
            self._soon.start()

    def _attach(self) -> None:
        self._detach()
        current = self._actions.session.study
        self._images = layers.image_layers(self._viewer, current.study.id) if current is not None else {}
        for layer in self._images.values():
            layer.events.visible.connect(self._show_modality)
            layer.events.contrast_limits.connect(self._show_window)
        self.show_values({})
        self._show_modality()

    def _detach(self) -> None:
        for layer in self._images.values():
            layer.events.visible.disconnect(self._show_modality)
            layer.events.contrast_limits.disconnect(self._show_window)
        self._images, self._windows = {}, {}

    def _shown(self) -> Modality | None:
        """The topmost visible series."""
        visible = [m for m, layer in self._images.items() if layer.visible and layer in self._viewer.layers]
        return max(visible, key=lambda m: self._viewer.layers.index(self._images[m]), default=None)

    def _show_plane(self, event: Any = None) -> None:
        plane = planes.plane_of(self._viewer)
        in_3d = self._viewer.dims.ndisplay == 3
        self._view.plane.show_value(THREE_D if in_3d else plane.value if plane is not None else None)
        self._show_modality()

    def _show_modality(self, event: Any = None) -> None:
        in_3d = self._viewer.dims.ndisplay == 3
        self._view.show_modalities([] if in_3d else list(self._images), None if in_3d else self._shown())
        self._show_window()

    def _show_window(self, event: Any = None) -> None:
        modality = self._shown()
        if modality is None:
            self._view.window_preset.show_value(None)
            return
        layer = self._images[modality]
        now = tuple(layer.contrast_limits)
        self._view.window_preset.show_value(next((p for p in PRESETS if _close(self._window(modality, p), now)), None))

    def _window(self, modality: Modality, preset: str) -> tuple[float, float]:
        layer = self._images[modality]
        key = (id(layer), preset)
        if key not in self._windows:
            self._windows[key] = brain_window(layer.data, preset, modality)
        return self._windows[key]

    def _to_plane(self, value: str) -> None:
        if value == THREE_D:
            planes.set_3d(self._viewer)
        else:
            planes.set_plane(self._viewer, value)
        self._show_plane()

    def _to_modality(self, modality: Modality) -> None:
        for m, layer in self._images.items():
            layer.visible = m is modality
        self._show_modality()

    def _to_window(self, preset: str) -> None:
        for layer in self._images.values():
            planes.apply_window(layer, preset)
        self._show_window()


def _close(a: tuple[float, float], b: tuple[float, ...]) -> bool:
    slack = 1e-3 * max(abs(a[1] - a[0]), 1e-6)
    return abs(a[0] - b[0]) <= slack and abs(a[1] - b[1]) <= slack
