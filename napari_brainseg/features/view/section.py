"""Connects the view section and its verbs."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog

from napari_brainseg.features.context import Context
from napari_brainseg.features.view.verbs import ViewVerbs
from napari_brainseg.features.view.view import ViewView

THREE_D = "3d"
PICTURES = {
    "seen": ("What is seen", "*.png"),
    "sweep": ("Film of the slices", "*.gif *.mp4"),
    "turn": ("Film of the tumour turning", "*.gif *.mp4"),
}
"""Kind of picture → its words, and what its file may end in."""
PLANES = (("Axial", "axial", "A"), ("Coronal", "coronal", "D"), ("Sagittal", "sagittal", "S"), ("3D", THREE_D, "T"))
"""Text, value and key of each button."""


class ViewSection:
    """Between the view section's view and its verbs."""

    def __init__(self, view: ViewView, verbs: ViewVerbs, context: Context) -> None:
        self._view, self._verbs = view, verbs
        view.plane_chosen.connect(self._to_plane)
        view.modality_chosen.connect(verbs.show_modality)
        view.picture_requested.connect(self._ask_picture)
        view.fit_requested.connect(verbs.fit)
        view.controls_chosen.connect(verbs.show_controls)
        view.window_chosen.connect(verbs.choose_window)
        context.follow(verbs.changed, self._show)
        context.follow(verbs.values_changed, self._show_values)
        self._show()

    def _show_values(self) -> None:
        self._view.show_values(self._verbs.values)

    def _show(self) -> None:
        verbs, plane = self._verbs, self._verbs.plane
        self._view.plane.show_value(THREE_D if verbs.in_3d else plane.value if plane is not None else None)
        self._view.show_modalities(verbs.modalities, verbs.modality)
        self._view.show_controls(verbs.controls_shown)
        self._view.window_preset.show_value(verbs.window)

    def _ask_picture(self) -> None:
        filters = ";;".join(f"{words} ({ends})" for words, ends in PICTURES.values())
        name, chosen = QFileDialog.getSaveFileName(self._view, "Save a picture", self._verbs.picture_name, filters)
        if not name:
            return
        kind = next((k for k, (words, _) in PICTURES.items() if chosen.startswith(words)), "seen")
        if kind == "seen":
            self._verbs.save_picture(Path(name) if name.lower().endswith(".png") else Path(f"{name}.png"))
        else:
            film = name.lower().endswith((".gif", ".mp4"))
            self._verbs.save_film(kind, Path(name) if film else Path(name).with_suffix(".gif"))

    def _to_plane(self, value: str) -> None:
        if value == THREE_D:
            self._verbs.to_3d()
        else:
            self._verbs.to_plane(value)
