"""The last section: the mask, into a file."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout

from napari_brainseg.qt.widgets import Combo, Section, button, label, plain


class SaveView(Section):
    """Shows whether there is something to save, and asks to."""

    save_requested = Signal(object)

    def __init__(self, codings: Sequence[tuple[str, str]]) -> None:
        """``codings``: (name, description) each."""
        super().__init__("", "save")
        self.state = label(role="dim", name="save_state")
        self.head.addWidget(self.state)
        self.coding = Combo("save_coding", "The label values in the file")
        self.coding.show_choices([(name, name, what) for name, what in codings], "brats2023")
        self.save = button("Save…", "save", "Write the labels as NIfTI, on the study's own grid",
                           lambda: self.save_requested.emit(self.coding.currentData()))  # fmt: skip
        self.head.addWidget(self.coding)
        self.head.addWidget(self.save)
        row = QHBoxLayout()
        row.setSpacing(8)
        self._grids = plain(row)
        self.grid = Combo("save_grid", "The grid that the mask is written on")
        row.addWidget(label("Grid"))
        row.addWidget(self.grid, 1)
        self.body.addWidget(self._grids)
        self.show_grids(())
        self.show_state(possible=False, dirty=False)

    def show_coding(self, name: str) -> None:
        """Show that coding as the one chosen."""
        self.coding.setCurrentIndex(self.coding.findData(name))

    def show_grids(self, grids: Sequence[tuple[str, str, str]]) -> None:
        """(text, name, tooltip) of the grids to choose from, the first chosen; () where there is but one."""
        self.grid.show_choices(grids, grids[0][1] if grids else None)
        self._grids.setVisible(bool(grids))

    def show_state(self, *, possible: bool, dirty: bool) -> None:
        """Whether there is a segmentation, and whether it differs from what is in a file."""
        self.save.setEnabled(possible)
        self.state.setText("" if not possible else "not saved yet" if dirty else "saved")
