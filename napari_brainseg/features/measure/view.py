"""The section of the lesions' diameters and of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QPushButton

from napari_brainseg.qt.widgets import Section, button, label, plain


@dataclass(frozen=True)
class LesionShown:
    """One line: ``key`` names it, ``name`` is written on its button; the lengths in mm; ``note`` in words."""

    key: tuple[str, int]
    name: str
    longest: float
    perpendicular: float
    product: float
    note: str


@dataclass(frozen=True)
class MeasureShown:
    """``possible``: there are labels; ``words``: what is to be said of the numbers."""

    possible: bool = False
    editing: bool = False
    lesions: tuple[LesionShown, ...] = ()
    words: str = ""


class MeasureView(Section):
    """Shows the lesions, and asks to measure, to move ends, to go to one, to report."""

    measure_requested = Signal()
    edit_requested = Signal(bool)
    drop_requested = Signal()
    lesion_requested = Signal(tuple)
    report_requested = Signal()

    def __init__(self) -> None:
        super().__init__("Measure", "measure")
        row = QHBoxLayout()
        row.setSpacing(6)
        self.measure = button("Diameters", "measure", "The lesions' longest diameters and perpendiculars (RANO), drawn over the "
                              "image", self.measure_requested.emit)  # fmt: skip
        self.edit = button("Move ends", "move_ends", "Move the ends of the lines with the mouse; press again to go back to the "
                           "labels", lambda: self.edit_requested.emit(self.edit.isChecked()))  # fmt: skip
        self.edit.setCheckable(True)
        self.drop = button("Hide", "hide_diameters", "Take the lines and the numbers away", self.drop_requested.emit)
        self.report = button("Report…", "report", "Write a page with key images, volumes and diameters, and open it",
                             self.report_requested.emit)  # fmt: skip
        for b in (self.measure, self.edit, self.drop, self.report):
            row.addWidget(b, 1)
        self.body.addLayout(row)
        self.words = label(role="dim", name="measure_words", wrap=True)
        self.body.addWidget(self.words)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(3, 1)
        self.table = plain(self._grid)
        self.body.addWidget(self.table)
        self.lesions: list[QPushButton] = []
        self.show_state(MeasureShown())

    def show_state(self, shown: MeasureShown) -> None:
        """Show that."""
        for b in (self.measure, self.report):
            b.setEnabled(shown.possible)
        for b in (self.edit, self.drop):
            b.setEnabled(bool(shown.lesions))
        self.edit.setChecked(shown.editing)
        self.words.setText(shown.words)
        self.words.setVisible(bool(shown.words))
        self._show_lesions(shown.lesions)

    def _show_lesions(self, lesions: Sequence[LesionShown]) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.setParent(None)
                widget.deleteLater()
        self.lesions = []
        for row, lesion in enumerate(lesions):

            def go(key: tuple[str, int] = lesion.key) -> None:
                self.lesion_requested.emit(key)

            name = button(lesion.name, f"lesion_{lesion.name.replace(' ', '_')}", "Show the slice in which it was measured",
                          go)  # fmt: skip
            self.lesions.append(name)
            lengths = label(f"{lesion.longest:.1f} × {lesion.perpendicular:.1f} mm")
            product = label(f"{lesion.product:,.0f} mm²".replace(",", "\u202f"))
            product.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, widget in enumerate((name, lengths, product, label(lesion.note, role="dim"))):
                self._grid.addWidget(widget, row, column)
        self.table.setVisible(bool(lesions))
