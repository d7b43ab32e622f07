"""The table of series: what each is, what it is taken for, and the button that prepares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QProgressBar, QScrollArea, QVBoxLayout, QWidget

from brainseg_engine.core.study import Modality
from napari_brainseg.qt.widgets import Combo, Elided, Section, Words, button, label, plain, restyle

_ROWS_HIGH = 330
"""Pixels that the table takes at most; more is scrolled to."""


@dataclass(frozen=True)
class SeriesShown:
    """One series: ``use`` is what it is taken for, ``reason`` why; ``warning`` what to look at; ``usable``: it can be chosen;
    ``picture``: a small grey one (rows, columns), where there is one already."""

    id: str
    title: str
    extent: str
    use: Modality | None
    reason: str
    warning: str = ""
    usable: bool = True
    mark: str = ""
    picture: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Table:
    """What there is to show. ``visits``: labels to choose from, ``visit`` the chosen one (None: none yet).

    ``done``: they are prepared.
    """

    visits: Sequence[str]
    visit: int | None
    rows: Sequence[SeriesShown]
    words: str = ""
    done: bool = False


class SeriesView(Section):
    """Shows the series; asks to take one for another use, to prepare, to cancel, and to put the table away."""

    visit_chosen = Signal(int)
    use_chosen = Signal(str, object)
    prepare_requested = Signal(str)
    cancel_requested = Signal()
    close_requested = Signal()
    arrived = Signal()
    """There are series to look over."""

    def __init__(self, methods: Sequence[tuple[str, str, str]]) -> None:
        """``methods`` that find the brain: (text, name, tooltip), the default first."""
        super().__init__("Series as acquired", "series")
        self.head.addWidget(
            button("Close", "close_series", "Put this table away; what is open stays open", self.close_requested.emit)
        )
        self.visits = Combo("visit", "Which patient, which study: they are never mixed")
        self.visits.activated.connect(lambda i: i > 0 and self.visit_chosen.emit(i - 1))
        self.body.addWidget(self.visits)
        self.words = Words("series_words", "warning")
        self.body.addWidget(self.words)
        self._make_buttons(methods)  # above the rows: the list is long, and the press that comes next stays in sight
        self.area = QScrollArea()
        self.area.setObjectName("series_rows")
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.body.addWidget(self.area)
        self.others = button("", "more_series", "Show the series that are not used, too", self._toggle)
        self.others.setProperty("role", "link")
        self.body.addWidget(self.others)
        self.uses: dict[str, Combo] = {}
        self._all, self._folded = False, False
        self._table: Table | None = None
        self.show_progress(None)
        self.show_table(None)

    def _make_buttons(self, methods: Sequence[tuple[str, str, str]]) -> None:
        row = QHBoxLayout()
        row.setSpacing(8)
        self._ready = plain(row)
        self.prepare = button("Prepare", "prepare", "", lambda: self.prepare_requested.emit(self.method.currentData()))
        self.prepare.setProperty("role", "primary")
        self.method = Combo("brain_method", "How the brain is found in the images")
        self.method.show_choices(methods, methods[0][1])
        row.addWidget(self.prepare, 2)
        row.addWidget(label("Brain"))
        row.addWidget(self.method, 1)
        self.body.addWidget(self._ready)
        row = QHBoxLayout()
        self._running = plain(row)
        self.bar = QProgressBar()
        self.bar.setObjectName("prepare_progress")
        self.bar.setRange(0, 1000)
        cancel = button("Cancel", "cancel_prepare", "Stop now; nothing stays behind", self.cancel_requested.emit)
        cancel.setMinimumHeight(36)
        row.addWidget(self.bar, 1)
        row.addWidget(cancel)
        self.body.addWidget(self._running)

    def show_table(self, table: Table | None) -> None:
        """Show that table; None puts the section away."""
        if table is not None and self._table is None:
            self.arrived.emit()
        done = table is not None and table.done
        if done != (self._table is not None and self._table.done):
            # what has been prepared makes room for what comes next, but for what is to be looked at
            self._folded = done and table is not None and not any(r.warning for r in table.rows if r.use is not None)
        self._table = table
        self.setVisible(table is not None or not self._running.isHidden())
        if table is None:
            for widget in (self.visits, self.words, self.area, self.others):
                widget.setVisible(False)
            return
        choices: list[tuple[str, int | None, str]] = [("Choose a study …", None, "")]
        choices += [(text, i, text) for i, text in enumerate(table.visits)]
        self.visits.show_choices(choices, table.visit)
        self.visits.setVisible(len(table.visits) > 1)
        self.words.show_text(table.words)
        self.words.setVisible(bool(table.words))
        self._show_rows(table.rows)
        self._ready.setVisible(self._running.isHidden() and not self._folded)
        used = sum(r.use is not None for r in table.rows)
        self.prepare.setEnabled(used > 0)
        self.prepare.setToolTip(
            "Align these series, find the brain, and bring all onto one grid of 1 mm"
            if used
            else "Choose a series for T1, T1ce, T2 and FLAIR first"
        )

    def _show_rows(self, rows: Sequence[SeriesShown]) -> None:
        order = list(Modality)
        first = sorted((r for r in rows if r.use is not None), key=lambda r: order.index(r.use or order[0]))
        others = [r for r in rows if r.use is None]
        shown = [*first, *(others if self._all or not first else ())]
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 4, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(7)
        grid.setColumnStretch(2, 1)
        self.uses = {}
        for n, row in enumerate(shown):
            grid.addWidget(self._use(row, n), n, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(_picture_of(row), n, 1, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(_words_of(row), n, 2)
        grid.setRowStretch(len(shown), 1)
        inside = QWidget()
        inside.setProperty("role", "plain")
        inside.setLayout(grid)
        self.area.setWidget(inside)
        self.area.setVisible(bool(shown) and not self._folded)
        done = self._table is not None and self._table.done
        self.prepare.setText("Prepare again" if done else "Prepare")
        restyle(self.prepare, role="" if done else "primary")
        self.area.setFixedHeight(min(inside.sizeHint().height() + 4, _ROWS_HIGH))
        self.others.setVisible(bool(first and others) or self._folded)
        self.others.setText(
            "Show the series"
            if self._folded
            else "Show these only"
            if self._all
            else f"Show {len(others)} other series"
        )

    def _use(self, row: SeriesShown, n: int) -> Combo:
        combo = Combo(f"use_{n}", f"What {row.title} is taken for. {row.reason}".strip())
        combo.show_choices([("–", None, "Not used"), *((m.title, m, "") for m in Modality)], row.use)
        combo.setFixedWidth(76)
        combo.setProperty("usable", row.usable)
        combo.setEnabled(row.usable)
        combo.activated.connect(lambda _, id=row.id, combo=combo: self.use_chosen.emit(id, combo.currentData()))
        self.uses[row.id] = combo
        return combo

    def _toggle(self) -> None:
        if self._folded:
            self._folded = False
        else:
            self._all = not self._all
        self.show_table(self._table)
        self._ready.setVisible(not self._folded)

    def show_progress(self, progress: tuple[str, float] | None) -> None:
        """(stage in words, fraction); None when nothing runs."""
        self.setVisible(self._table is not None or progress is not None)
        self._running.setVisible(progress is not None)
        self._ready.setVisible(progress is None and not self._folded and self._table is not None)
        for combo in self.uses.values():
            combo.setEnabled(progress is None and combo.property("usable") is True)
        self.visits.setEnabled(progress is None)
        if progress is not None:
            stage, fraction = progress
            self.bar.setValue(round(1000 * fraction))
            self.bar.setFormat(f"{stage} — %p %")
            self.bar.setAccessibleDescription(stage)

    def show_blocker(self, why: str) -> None:
        """Why nothing can be prepared just now; "" when it can."""
        possible = self._table is not None and any(r.use is not None for r in self._table.rows)
        self.prepare.setEnabled(possible and not why)
        if why:
            self.prepare.setToolTip(why)


def _picture_of(row: SeriesShown) -> QLabel:
    made = label(name="series_picture")
    made.setFixedWidth(46)
    if row.picture is not None:
        rows, columns = row.picture.shape
        grey = np.ascontiguousarray(row.picture)
        made.setPixmap(
            QPixmap.fromImage(QImage(grey.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8))
        )
        made.setToolTip(f"The middle slice of {row.title}")
    return made


def _words_of(row: SeriesShown) -> QWidget:
    column = QVBoxLayout()
    column.setSpacing(1)
    made = plain(column)
    title = Elided("series_title", "strong" if row.use is not None else "")
    extent = label(row.extent.replace(" mm", "\N{NO-BREAK SPACE}mm"), role="dim", name="series_extent", wrap=True)
    title.show_text(row.title)
    heading = QHBoxLayout()
    heading.setSpacing(6)
    heading.addWidget(title, 1)
    heading.addWidget(label(row.mark, role="head", name="series_mark"))
    column.addLayout(heading)
    column.addWidget(extent)
    reason = Elided("series_reason", "dim")
    reason.show_text(row.reason)
    column.addWidget(reason)
    if row.warning:
        words = Words("series_warning", "warning")
        words.show_text(row.warning)
        column.addWidget(words)
    return made
