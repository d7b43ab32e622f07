"""The row that shows where to look next: the model's doubt, doubtful slices, what was changed."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout

from napari_brainseg.qt.widgets import FeatureRow, button


class DoubtRow(FeatureRow):
    """Shows what lies over the images, and asks for it."""

    doubt_requested = Signal()
    slice_requested = Signal(int)
    changes_requested = Signal()
    changed_requested = Signal(int)

    def __init__(self) -> None:
        row = QHBoxLayout()
        super().__init__(row)
        row.setSpacing(6)
        self.doubt = button("Doubt", "doubt", "Where the model doubts its answer, over the images (Shift-H)",
                            self.doubt_requested.emit)  # fmt: skip
        self.changes = button("Changes", "changes", "What differs from the model's answer, as outlines (Shift-U): white added, "
                              "pink removed, green another class", self.changes_requested.emit)  # fmt: skip
        for b in (self.doubt, self.changes):
            b.setCheckable(True)
        row.addWidget(self.doubt, 2)
        row.addWidget(button("◂", "previous_doubt", "The doubtful slice before (Shift-J)",
                             lambda: self.slice_requested.emit(-1)))  # fmt: skip
        row.addWidget(button("Next doubtful ▸", "next_doubt", "The next slice that the model doubts most (J)",
                             lambda: self.slice_requested.emit(1)), 4)  # fmt: skip
        row.addWidget(self.changes, 2)
        row.addWidget(button("▸", "next_changed", "The next slice in which something is proposed or was changed (Ctrl+.)",
                             lambda: self.changed_requested.emit(1)))  # fmt: skip

    def show_state(self, possible: bool, doubt: bool, changes: bool) -> None:
        """``possible``: there are labels; ``doubt``, ``changes``: that is shown on the canvas."""
        self.setEnabled(possible)
        self.doubt.setChecked(doubt)
        self.changes.setChecked(changes)
