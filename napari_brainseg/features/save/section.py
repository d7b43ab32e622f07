"""Connects the save view and its verbs; asks for a file."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog

from brainseg_engine.core.labels import CODINGS
from napari_brainseg.features.context import Context
from napari_brainseg.features.save.verbs import SaveVerbs
from napari_brainseg.features.save.view import SaveView

FILTER = "NIfTI, compressed (*.nii.gz);;NIfTI (*.nii);;MetaImage (*.mha)"
ENDINGS = (".nii.gz", ".nii", ".mha")
CODING_CHOICES = tuple((c.name, c.description) for c in CODINGS.values())


class SaveSection:
    """Between the save view and its verbs."""

    def __init__(self, view: SaveView, verbs: SaveVerbs, context: Context) -> None:
        self._view, self._verbs, self._session = view, verbs, context.session
        view.save_requested.connect(self._save)
        context.follow(context.session.study_changed, self._show_coding)
        context.follow(context.session.study_changed, self._show_grids)
        context.follow(context.session.segmentation_changed, self._show)
        context.follow(context.session.segmentation_changed, self._show_coding)
        context.follow(context.session.dirty_changed, self._show)
        self._show_coding()
        self._show()

    def _show_coding(self) -> None:
        self._view.show_coding(self._verbs.coding)

    def _show(self) -> None:
        self._view.show_state(possible=self._session.segmentation is not None, dirty=self._session.dirty)

    def _show_grids(self) -> None:
        self._view.show_grids(self._verbs.grids)

    def ask(self) -> None:
        """Ask where to, and save in the coding that is chosen; nothing where there is nothing to save."""
        if self._session.segmentation is not None:
            self._save(self._view.coding.currentData())

    def _save(self, coding: str) -> None:
        suggested = self._verbs.suggestion()
        name, chosen = QFileDialog.getSaveFileName(self._view, "Save the mask", str(suggested or ""), FILTER)
        if name:
            self._verbs.save(with_ending(Path(name), chosen), coding, self._view.grid.currentData() or "")


def with_ending(path: Path, chosen: str = "") -> Path:
    """The path with an ending that says its format: its own, else that of the filter chosen."""
    if path.name.lower().endswith(ENDINGS):
        return path
    ending = next((e for e in ENDINGS if f"(*{e})" in chosen), ENDINGS[0])
    return path.with_name(path.name + ending)
