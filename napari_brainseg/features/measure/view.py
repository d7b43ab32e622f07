"""The section of the lesions' diameters and of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QPushButton

from napari_brainseg.qt.widgets import Section, button, label, plain

TOOLS = (
    ("ruler", "Ruler", "Drag a line: its length in mm, in any plane"),
    (
        "diameters",
        "2 diameters",
        "Drag the longest diameter, then a line across it: the two diameters of RANO, by hand",
    ),
    ("roi", "ROI", "Drag a box: mean, standard deviation and volume of the ellipse in it, in every series"),
)


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
class DrawnShown:
    """One line of what was drawn: its ``name``, its numbers, and what else there is to say."""

    name: str
    numbers: str
    more: str


@dataclass(frozen=True)
class MeasureShown:
    """``possible``: there are labels; ``words``: what is to be said of the numbers. ``open``: there is a study; ``tool``: which
    is in hand ("" for none); ``moving``: what was drawn is being moved."""

    possible: bool = False
    editing: bool = False
    lesions: tuple[LesionShown, ...] = ()
    words: str = ""
    open: bool = False
    tool: str = ""
    moving: bool = False
    drawn: tuple[DrawnShown, ...] = ()


class MeasureView(Section):
    """Shows the lesions, and asks to measure, to move ends, to go to one, to report."""

    measure_requested = Signal()
    edit_requested = Signal(bool)
    drop_requested = Signal()
    lesion_requested = Signal(tuple)
    report_requested = Signal()
    tool_chosen = Signal(str)
    """"" for none."""
    move_requested = Signal(bool)
    drawn_requested = Signal(int)
    remove_requested = Signal(int)

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
        row = QHBoxLayout()
        row.setSpacing(6)
        self.tools: dict[str, QPushButton] = {}
        for name, text, tip in TOOLS:
            made = button(text, f"draw_{name}", tip)
            made.setCheckable(True)
            made.clicked.connect(lambda on, name=name: self.tool_chosen.emit(name if on else ""))
            self.tools[name] = made
            row.addWidget(made, 1)
        self.move_drawn = button("Move", "move_drawn", "Move what was drawn with the mouse; press again to go back to the labels",
                                 lambda: self.move_requested.emit(self.move_drawn.isChecked()))  # fmt: skip
        self.move_drawn.setCheckable(True)
        row.addWidget(self.move_drawn, 1)
        self.body.addLayout(row)
        self.words = label(role="dim", name="measure_words", wrap=True)
        self.body.addWidget(self.words)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(3, 1)
        self.table = plain(self._grid)
        self.body.addWidget(self.table)
        self._drawn = QGridLayout()
        self._drawn.setHorizontalSpacing(10)
        self._drawn.setVerticalSpacing(2)
        self._drawn.setColumnStretch(1, 1)
        self.drawn_table = plain(self._drawn)
        self.body.addWidget(self.drawn_table)
        self.lesions: list[QPushButton] = []
        self.show_state(MeasureShown())

    def show_state(self, shown: MeasureShown) -> None:
        """Show the measurements as that says."""
        for b in (self.measure, self.report):
            b.setEnabled(shown.possible)
        for b in (self.edit, self.drop):
            b.setEnabled(bool(shown.lesions))
        self.edit.setChecked(shown.editing)
        self.words.setText(shown.words)
        self.words.setVisible(bool(shown.words))
        for name, b in self.tools.items():
            b.setEnabled(shown.open)
            b.setChecked(name == shown.tool)
        self.move_drawn.setEnabled(bool(shown.drawn))
        self.move_drawn.setChecked(shown.moving)
        self._show_lesions(shown.lesions)
        self._show_drawn(shown.drawn)

    def _show_drawn(self, drawn: Sequence[DrawnShown]) -> None:
        _empty(self._drawn)
        for row, one in enumerate(drawn):
            go = button(
                one.name,
                f"drawn_{row}",
                "Show the slice in which it was drawn",
                partial(self.drawn_requested.emit, row),
            )
            tip = f"Take {one.name} away"
            gone = button("✕", f"remove_drawn_{row}", tip, partial(self.remove_requested.emit, row))
            gone.setAccessibleName(tip)
            more = label(one.more, role="dim", wrap=True, name=f"drawn_more_{row}")
            for column, widget in enumerate((go, label(one.numbers, name=f"drawn_numbers_{row}"), gone)):
                self._drawn.addWidget(widget, 2 * row, 2 * column if column == 2 else column)
            self._drawn.addWidget(more, 2 * row + 1, 0, 1, 5)
            more.setVisible(bool(one.more))
        self.drawn_table.setVisible(bool(drawn))

    def _show_lesions(self, lesions: Sequence[LesionShown]) -> None:
        _empty(self._grid)
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


def _empty(grid: QGridLayout) -> None:
    while (item := grid.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.setParent(None)
            widget.deleteLater()
