"""Several canvases in the place of one: beside each other in a grid, or one of them alone.

The grid takes the place of the one canvas in the layout it lies in. No canvas changes its parent: that would cost it its
OpenGL context, and floating one aborts the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtWidgets import QGridLayout, QWidget

Cell = tuple[int, int, int, int]
"""Row, column, rows, columns."""

CELLS: dict[str, tuple[tuple[Cell, ...], tuple[int, ...], tuple[int, ...]]] = {
    "four": (((0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 1, 1)), (1, 1), (1, 1)),
    "large": (((0, 0, 3, 1), (0, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1)), (1, 1, 1), (7, 3)),
}
"""Arrangement → cell of each canvas, then how rows and columns share the room."""

_GAP = 2


class Tiles:
    """The canvases ``widgets`` (siblings; the first lies in a layout) in one grid; ``close`` puts the first one back alone."""

    def __init__(self, widgets: Sequence[Any]) -> None:
        self._widgets: list[QWidget] = list(widgets)
        own = self._widgets[0]
        self._outer: Any = own.parentWidget().layout()
        self._at = self._outer.indexOf(own)
        self._outer.removeWidget(own)
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(_GAP)
        self._outer.insertLayout(self._at, self._grid, 1)
        self.show(None)

    def add(self, widget: Any) -> None:
        """One more canvas."""
        widget.hide()
        self._widgets.append(widget)

    def show(self, arrangement: str | None) -> None:
        """That one of :data:`CELLS`; None: the first canvas alone."""
        grid = self._grid
        for widget in self._widgets:
            grid.removeWidget(widget)
        cells, rows, columns = CELLS[arrangement] if arrangement else (((0, 0, 3, 2),), (1, 1, 1), (1, 1))
        for i in range(3):
            grid.setRowStretch(i, rows[i] if i < len(rows) else 0)
        for i in range(2):
            grid.setColumnStretch(i, columns[i])
        for i, widget in enumerate(self._widgets):
            if i < len(cells):
                grid.addWidget(widget, *cells[i])
            widget.setVisible(i < len(cells))
        grid.activate()

    def picture(self) -> Any:
        """What is seen, as a QImage: napari draws one canvas, here are several."""
        return self._widgets[0].parentWidget().grab(self._grid.geometry()).toImage()

    def close(self) -> None:
        """As it was before."""
        own = self._widgets[0]
        for widget in self._widgets:
            self._grid.removeWidget(widget)
        self._outer.removeItem(self._grid)
        self._grid.deleteLater()
        self._outer.insertWidget(self._at, own, 1)
        own.show()
        self._widgets = [own]
