"""Wires the save section."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog

from brainseg_engine.core.labels import CODINGS
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.save.view import SaveView

FILTER = "NIfTI, compressed (*.nii.gz);;NIfTI (*.nii);;MetaImage (*.mha)"
ENDINGS = (".nii.gz", ".nii", ".mha")
CODING_CHOICES = tuple((c.name, c.description) for c in CODINGS.values())


class SaveSection(QObject):
    """Between the save view and the actions."""

    def __init__(self, view: SaveView, actions: Actions) -> None:
        super().__init__()
        self._view = view
        self._actions = actions
        self._session = actions.session
        view.save_requested.connect(self._ask)
        self._session.study_changed.connect(self._show_coding)
        self._session.segmentation_changed.connect(self._show)
        self._session.segmentation_changed.connect(self._show_coding)
        self._session.dirty_changed.connect(self._show)
        self._show_coding()
        self._show()

    def _show_coding(self) -> None:
        """The study's own coding, until a person chooses another."""
        current, segmentation = self._session.study, self._session.segmentation
        own = current.study.coding if current is not None else ""
        if not own and current is not None and current.truth is not None:
            own = current.truth.coding
        self._view.show_coding(own or (segmentation.coding if segmentation is not None else "") or "brats2023")

    def _show(self) -> None:
        self._view.show_state(possible=self._session.segmentation is not None, dirty=self._session.dirty)

    def _ask(self, coding: str) -> None:
        suggested = self._actions.suggestion()
        name, chosen = QFileDialog.getSaveFileName(self._view, "Save the mask", str(suggested or ""), FILTER)
        if name:
            self._actions.save(with_ending(Path(name), chosen), coding)


def with_ending(path: Path, chosen: str = "") -> Path:
    """The path with an ending that says its format: its own, else that of the filter chosen."""
    if path.name.lower().endswith(ENDINGS):
        return path
    ending = next((e for e in ENDINGS if f"(*{e})" in chosen), ENDINGS[0])
    return path.with_name(path.name + ending)
