"""The table before/after: Dice and HD95 of each case and region, side by side, with the differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_brainseg.features.finetune.table import Group, Line

COLUMNS = ("", "Dice", "after", "Δ", "HD95", "after", "Δ")
_TIPS = (
    "",
    "Dice of the base model",
    "Dice of the new model",
    "Difference of the Dice: positive is better",
    "HD95 of the base model, in mm",
    "HD95 of the new model, in mm",
    "Difference of the HD95 in mm: negative is better",
)
MOST_ROWS = 18
GAIN, LOSS = "#2f9e6b", "#e0565f"
"""Of the Dice's difference, on light and dark; its sign says the same."""


class BeforeAfterTable(QTreeWidget):
    """Group → case → region. As tall as its rows, up to some; read by the arrow keys."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("finetune_table")
        self.setAccessibleName("Scores before and after, by case and region")
        self.setHeaderLabels(list(COLUMNS))
        head = self.headerItem()
        for i, tip in enumerate(_TIPS):
            head.setToolTip(i, tip)
            if i:
                head.setTextAlignment(i, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        header = self.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setIndentation(9)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for signal in (self.itemExpanded, self.itemCollapsed):
            signal.connect(lambda _: self._fit())
        self._groups: Sequence[Group] = ()

    def show_groups(self, groups: Sequence[Group]) -> None:
        """Show those; the mean of each is open, the cases are folded where there is one."""
        if groups == self._groups:
            return
        self._groups = groups
        self.clear()
        for group in groups:
            heading = f"{group.title}: {group.verdict}"
            top = self._heading(None, heading, bold=True, colour=LOSS if group.worse else "")
            for i, block in enumerate(group.blocks):
                item = self._heading(top, block.title)
                for line in block.lines:
                    _region(item, line)
                for interval in block.intervals:
                    self._heading(item, interval)
                item.setExpanded(i == 0)
            top.setExpanded(True)
        self._fit()

    def changeEvent(self, event: Any) -> None:
        """A style sheet may bring other rows."""
        super().changeEvent(event)
        self._fit()

    def wheelEvent(self, event: Any) -> None:
        """Scroll here as long as there is something to scroll, else leave the wheel to the panel."""
        bar = self.verticalScrollBar()
        if bar.maximum() > bar.minimum():
            super().wheelEvent(event)
        else:
            event.ignore()

    def _heading(self, parent: Any, text: str, bold: bool = False, colour: str = "") -> QTreeWidgetItem:
        item = QTreeWidgetItem(parent if parent is not None else self, [text])
        item.setFirstColumnSpanned(True)
        item.setToolTip(0, text)
        if bold:
            font = item.font(0)
            font.setBold(True)
            item.setFont(0, font)
        if colour:
            item.setForeground(0, QBrush(QColor(colour)))
        return item

    def _fit(self) -> None:
        rows, item = 0, self.topLevelItem(0)
        while item is not None:
            rows, item = rows + 1, self.itemBelow(item)
        row = max(self.sizeHintForRow(0), 12)
        self.setFixedHeight(row * min(rows, MOST_ROWS) + max(self.header().sizeHint().height(), 20) + 6)


def _region(parent: QTreeWidgetItem, line: Line) -> None:
    item = QTreeWidgetItem(parent, [line.region, *line.cells])
    for i in range(1, len(COLUMNS)):
        item.setTextAlignment(i, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    if line.sign:
        item.setForeground(3, QBrush(QColor(GAIN if line.sign > 0 else LOSS)))
