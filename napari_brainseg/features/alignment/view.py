"""The section that asks whether series lie on each other, and on whose voxels the answer is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QSlider, QVBoxLayout, QWidget

from brainseg_engine.core.study import Modality
from napari_brainseg.qt.widgets import Combo, Number, Section, Segmented, Words, button, label, plain

ALIGNED = "aligned"
_SHIFTS = (("R–L", "to the patient's left"), ("A–P", "to the back"), ("I–S", "towards the head"))
_TURNS = (("nod", "about the axis from right to left"), ("tilt", "about the axis from front to back"),
          ("turn", "about the axis from feet to head"))  # fmt: skip
_MIXES = (
    ("Swipe", "swipe", "The reference left of the line, the series right of it"),
    ("Checker", "checker", "Both in turn, in squares of 24 mm"),
    ("Edges", "edges", "The edges of the series, in orange, over the reference"),
    ("Alternate", "alternate", "First the one, then the other"),
)


@dataclass(frozen=True)
class AlignmentShown:
    """``series``: as acquired there are these, ``shown`` is the one on the canvas (None: the grid of 1 mm). ``others``: (text,
    series, tooltip) that can be compared, ``compared`` the one that is, in the way ``mix`` ("" for none). ``numbers``: shift in
    mm, then turn in degrees; ``figures``: how well it lies, ``doubtful`` where that is not good; ``busy``: a job runs."""

    series: Sequence[Modality] = ()
    shown: Modality | None = None
    others: Sequence[tuple[str, Modality, str]] = ()
    compared: Modality | None = None
    mix: str = ""
    where: float = 0.5
    numbers: tuple[float, ...] = (0.0,) * 6
    can_undo: bool = False
    moved: bool = False
    figures: str = ""
    doubtful: bool = False
    busy: bool = False


class AlignmentView(Section):
    """Shows how the series are compared, moved or read, and asks for another way."""

    shown_chosen = Signal(object)
    mix_chosen = Signal(object)
    series_chosen = Signal(object)
    swiped = Signal(float)
    moved = Signal(int, float)
    """(which of the six numbers, its value)."""
    undo_requested = Signal()
    register_requested = Signal()
    use_requested = Signal()

    def __init__(self) -> None:
        super().__init__("Alignment", "alignment")
        row = QHBoxLayout()
        row.setSpacing(6)
        self.planes = Segmented(
            [("1 mm", ALIGNED, "read_aligned", "All series aligned, on one grid of 1 mm: what the model saw")]
            + [
                (
                    m.title,
                    m,
                    f"read_{m.value}",
                    f"{m.title} as it was acquired, on its own voxels, the answer carried over",
                )
                for m in Modality
            ]
        )
        self.planes.chosen.connect(lambda value: self.shown_chosen.emit(None if value == ALIGNED else value))
        row.addWidget(label("Read on"))
        row.addWidget(self.planes, 1)
        self.body.addLayout(row)
        self.fold = button(
            "Check alignment ▸", "check_alignment", "Compare a series with the reference, and put it right"
        )
        self.fold.setCheckable(True)
        self.fold.setProperty("role", "link")
        self.fold.toggled.connect(self._folded)
        self.head.addWidget(self.fold)
        column = QVBoxLayout()
        column.setSpacing(5)
        self._tools = plain(column)
        self._make_comparing(column)
        self._make_numbers(column)
        self.body.addWidget(self._tools)
        self._tools.setVisible(False)
        self._shown = AlignmentShown()
        self.show_state(self._shown)

    def _make_comparing(self, column: QVBoxLayout) -> None:
        self.compared = Combo("compared_series", "The series that is compared with the reference")
        self.compared.activated.connect(lambda _: self.series_chosen.emit(self.compared.currentData()))
        self.mixes = Segmented([(text, value, f"mix_{value}", tip) for text, value, tip in _MIXES])
        self.mixes.chosen.connect(self.mix_chosen)
        self.swipe = QSlider(Qt.Orientation.Horizontal)
        self.swipe.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.swipe.setObjectName("swipe")
        self.swipe.setRange(0, 1000)
        self.swipe.setToolTip("Where the line lies between the reference and the series")
        self.swipe.setAccessibleName("Swipe")
        self.swipe.valueChanged.connect(lambda value: self.swiped.emit(value / 1000))
        self.figures = Words("alignment_figures", "dim")
        for widget in (self.compared, self.mixes, self.swipe, self.figures):
            column.addWidget(widget)

    def _make_numbers(self, column: QVBoxLayout) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(5)
        grid.setVerticalSpacing(3)
        self.numbers: list[Number] = []
        for row, (names, unit, step, most, what) in enumerate(
            ((_SHIFTS, "mm", 0.5, 60.0, "Move the series"), (_TURNS, "°", 0.5, 45.0, "Turn the series"))
        ):
            for n, (text, where) in enumerate(names):
                number = Number(f"nudge_{'mm' if unit == 'mm' else 'deg'}_{n}", 0.0, -most, most, step, unit)
                number.setToolTip(f"{what} {where} (negative: the other way); the arrow keys step by {step} {unit}")
                number.setKeyboardTracking(False)
                i = 3 * row + n
                number.valueChanged.connect(lambda value, i=i: self.moved.emit(i, value))
                grid.addWidget(label(text, role="dim"), row, 2 * n)
                grid.addWidget(number, row, 2 * n + 1)
                self.numbers.append(number)
        column.addWidget(plain(grid))
        buttons = QHBoxLayout()
        buttons.setSpacing(5)
        self.undo = button("↶ Undo", "nudge_undo", "Take the last movement back", self.undo_requested.emit)
        self.register = button("Register from here", "register_here", "Register the series anew, beginning where it lies now",
                               self.register_requested.emit)  # fmt: skip
        self.use = button("Use", "use_placed", "Prepare the study anew with the series where you moved them",
                          self.use_requested.emit)  # fmt: skip
        for widget, stretch in ((self.undo, 2), (self.register, 4), (self.use, 2)):
            buttons.addWidget(widget, stretch)
        column.addLayout(buttons)

    def _folded(self, on: bool) -> None:
        self.fold.setText("Check alignment ▾" if on else "Check alignment ▸")
        self._tools.setVisible(on)
        self.mix_chosen.emit("swipe" if on else None)

    def show_state(self, shown: AlignmentShown) -> None:
        """Show that; without series as acquired there is no section."""
        self._shown = shown
        self.setVisible(bool(shown.series))
        for value, b in self.planes.buttons.items():
            b.setEnabled(value == ALIGNED or value in shown.series)
        self.planes.show_value(shown.shown or ALIGNED)
        if self.fold.isChecked() != bool(shown.mix):
            self.fold.blockSignals(True)
            self.fold.setChecked(bool(shown.mix))
            self.fold.blockSignals(False)
            self.fold.setText("Check alignment ▾" if shown.mix else "Check alignment ▸")
            self._tools.setVisible(bool(shown.mix))
        self.fold.setEnabled(bool(shown.others))
        self.compared.show_choices(shown.others, shown.compared)
        self.mixes.show_value(shown.mix)
        self.swipe.setVisible(shown.mix == "swipe")
        _quietly(self.swipe, round(1000 * shown.where))
        for number, value in zip(self.numbers, shown.numbers, strict=True):
            _quietly(number, value)
        self.figures.setProperty("role", "warning" if shown.doubtful else "dim")
        self.figures.show_text(shown.figures)
        self.figures.setVisible(bool(shown.figures))
        self.undo.setEnabled(shown.can_undo)
        self.register.setEnabled(bool(shown.mix) and not shown.busy)
        self.use.setEnabled(shown.moved and not shown.busy)


def _quietly(widget: QWidget, value: float) -> None:
    """Set the value without saying so."""
    widget.blockSignals(True)
    widget.setValue(value)
    widget.blockSignals(False)
