"""The button *Export…* and the dialog behind it: which formats, where to, on which series, with names or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDialog, QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from napari_brainseg.qt.widgets import Combo, Elided, FeatureRow, button, label, plain

DICOM, PLAIN = "DICOM objects, for a PACS", "Files"
FORMATS: tuple[tuple[str, str, str, str], ...] = (
    (DICOM, "seg", "Segmentation (SEG)", "The classes and regions as segments on the series' own frames"),
    (DICOM, "rtstruct", "Contours (RTSTRUCT)", "Contours of the regions, for planning systems"),
    (DICOM, "sr", "Measurements (SR)", "Volumes and diameters as a structured report; comes with its SEG"),
    (DICOM, "pdf", "Report (PDF)", "The report as a document beside the images"),
    (DICOM, "sc", "Key images", "The key images as pictures, for viewers without SEG"),
    (DICOM, "images", "The images themselves", "Copies of the study's series; de-identified only"),
    (PLAIN, "report", "Report page", "A page to read or print, and its numbers as JSON and CSV"),
    (PLAIN, "stl", "Shapes (STL)", "A closed mesh of each region in patient mm"),
    (PLAIN, "ply", "Shapes (PLY)", "A closed mesh of each region in patient mm"),
    (PLAIN, "glb", "Shapes (glTF)", "All regions in one file, coloured, for viewers and slides"),
    (PLAIN, "bids", "BIDS derivative", "A dseg with its table and sidecar"),
)
"""(group, format, words, tooltip) of the boxes."""
_NO_DICOM = "These images are no DICOM: choose the folder of the series they were made from."


@dataclass(frozen=True)
class ExportAsked:
    """What the dialog's *Export* asks for."""

    formats: tuple[str, ...]
    on: str
    deidentify: bool
    face: bool


class ExportRow(FeatureRow):
    """The button that opens the dialog."""

    asked = Signal()

    def __init__(self) -> None:
        row = QHBoxLayout()
        super().__init__(row)
        self.open = button("Export…", "export", "Write DICOM objects, shapes, the report: with the patient's name, or without",
                           self.asked.emit)  # fmt: skip
        row.addWidget(self.open)

    def show_possible(self, possible: bool) -> None:
        """Whether there is a mask to export."""
        self.open.setEnabled(possible)


class ExportDialog(QDialog):
    """Shows what can be written, and asks for it; ``images_requested`` asks for another folder of DICOM series."""

    requested = Signal(ExportAsked)
    images_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("export_dialog")
        self.setWindowTitle("Export")
        self.setMinimumWidth(430)
        column = QVBoxLayout(self)
        column.setSpacing(8)
        self.boxes: dict[str, QCheckBox] = {}
        for group in (DICOM, PLAIN):
            column.addWidget(label(group, role="title"))
            column.addWidget(self._group(group))
            if group is DICOM:
                column.addLayout(self._source())
        column.addWidget(label("Names", role="title"))
        self.hidden = _box("De-identified", "deidentify", "No name, id, date, UID or free text of the source in any file: a "
                           "pseudonym stands for them, the same every time. Dates are moved.")  # fmt: skip
        self.face = _box(
            "Leave the face in images", "with_face", "Else nothing but the brain is left in copies and pictures"
        )
        names = QHBoxLayout()
        names.addWidget(self.hidden)
        names.addWidget(self.face)
        names.addStretch(1)
        column.addWidget(plain(names))
        self.note = label(role="dim", name="export_note", wrap=True)
        column.addWidget(self.note)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(button("Cancel", "export_cancel", "Write nothing", self.reject))
        self.go = button("Export into…", "export_go", "Choose the folder, and write", self._press)
        self.go.setProperty("role", "primary")
        buttons.addWidget(self.go)
        column.addLayout(buttons)
        self._dicom = False
        for box in (*self.boxes.values(), self.hidden):
            box.toggled.connect(self._show)
        for name in ("seg", "report"):
            self.boxes[name].setChecked(True)
        self.show_images("", ())

    def _group(self, group: str) -> QWidget:
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        for n, (_, name, words, tip) in enumerate(f for f in FORMATS if f[0] == group):
            self.boxes[name] = _box(words, f"export_{name}", tip)
            grid.addWidget(self.boxes[name], n // 2, n % 2)
        return plain(grid)

    def _source(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(label("On", role="dim"))
        self.on = Combo("export_on", "The series that the objects stand on")
        self.images = Elided("export_folder", "dim")
        row.addWidget(self.on, 1)
        row.addWidget(self.images, 2)
        row.addWidget(button("Series…", "export_images_choose", "Choose the folder of the study's DICOM series",
                             self.images_requested.emit))  # fmt: skip
        return row

    def show_images(self, folder: str, series: Sequence[tuple[str, str]]) -> None:
        """The folder of the DICOM series ("" for none), and (value, title) of the series to choose from (() for the mask's)."""
        self._dicom = bool(folder)
        self.images.show_text(folder)
        self.on.show_choices([(title, value, title) for value, title in series], series[0][0] if series else None)
        self.on.setVisible(bool(series))
        self._show()

    def asked(self) -> ExportAsked:
        """What is ticked."""
        ticked = tuple(name for name, box in self.boxes.items() if box.isChecked() and box.isEnabled())
        hidden = self.hidden.isChecked()
        return ExportAsked(ticked, self.on.currentData() or "", hidden, hidden and self.face.isChecked())

    def _show(self) -> None:
        for group, name, _, _ in FORMATS:
            able = group != DICOM or (self._dicom and (name != "images" or self.hidden.isChecked()))
            self.boxes[name].setEnabled(able)
        self.face.setEnabled(self.hidden.isChecked())
        self.note.setText("" if self._dicom else _NO_DICOM)
        self.note.setVisible(not self._dicom)
        self.go.setEnabled(bool(self.asked().formats))

    def _press(self) -> None:
        self.requested.emit(self.asked())


def _box(words: str, name: str, tip: str) -> QCheckBox:
    made = QCheckBox(words)
    made.setObjectName(name)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return made
