"""Connects the export dialog and its verbs; asks for folders, and opens the report's page."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog

from napari_brainseg.features.context import Context
from napari_brainseg.features.export.verbs import ExportOrder, ExportVerbs
from napari_brainseg.features.export.view import ExportAsked, ExportDialog, ExportRow


class ExportSection:
    """Between the export dialog and its verbs."""

    def __init__(self, row: ExportRow, verbs: ExportVerbs, context: Context) -> None:
        self._row, self._verbs, self._context = row, verbs, context
        self._dialog: ExportDialog | None = None
        self._images: Path | None = None
        self._chosen = False  # the folder, by a person
        row.asked.connect(self._open)
        context.follow(context.session.segmentation_changed, self._show)
        context.follow(context.session.study_changed, self._close)
        context.follow(context.labels_changed, self._show)
        self._show()

    def _show(self) -> None:
        self._row.show_possible(self._verbs.possible)

    def _open(self) -> None:
        self._close()
        dialog = self._dialog = ExportDialog(self._row)
        dialog.requested.connect(self._export)
        dialog.images_requested.connect(self._choose_images)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
        self._verbs.find_images(
            lambda folder: self._show_images(folder) if self._dialog is dialog and not self._chosen else None
        )

    def _close(self) -> None:
        dialog, self._dialog, self._images, self._chosen = self._dialog, None, None, False
        if dialog is not None:
            dialog.close()
        self._show()

    def _show_images(self, folder: Path | None) -> None:
        self._images = folder
        if self._dialog is not None:
            self._dialog.show_images("" if folder is None else str(folder), self._verbs.series)

    def _choose_images(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self._row, "Folder of the study's DICOM series", str(self._verbs.place or "")
        )
        if folder:
            self._chosen = True
            self._show_images(Path(folder))

    def _export(self, asked: ExportAsked) -> None:
        folder = QFileDialog.getExistingDirectory(
            self._row, "Folder for the export", str(self._verbs.place or Path.cwd())
        )
        if not folder:
            return
        images = self._images
        self._close()
        self._verbs.export(ExportOrder(asked.formats, Path(folder), images, asked.on, asked.deidentify, asked.face))
