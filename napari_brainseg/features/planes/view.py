"""The arrangement of the canvases: beside the planes, and what several of them share, in a row that is there with them."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_brainseg.qt.widgets import Segmented, button, label


class PlanesView(QWidget):
    """Shows how the canvases are arranged and asks for another arrangement. The widget itself is the row of what they share;
    ``arrangement`` stands beside the planes."""

    arrangement_chosen = Signal(object)
    crosshair_chosen = Signal(bool)
    link_chosen = Signal(bool)

    def __init__(self, arrangements: Sequence[tuple[str, str, str]]) -> None:
        """``arrangements``: (text, value, tooltip) each."""
        super().__init__()
        self.arrangement = Segmented(
            [(text, value, f"canvases_{value}", tooltip) for text, value, tooltip in arrangements]
        )
        self.arrangement.chosen.connect(self.arrangement_chosen)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(label("All canvases", role="dim"))
        row.addStretch(1)
        self.crosshair = button(
            "Crosshair", "crosshair", "Lines where the planes cut each other; a click moves all, and Shift + mouse too"
        )
        self.linked = button("One zoom", "link_canvases", "All planes share zoom and centre")
        for b, signal in ((self.crosshair, self.crosshair_chosen), (self.linked, self.link_chosen)):
            b.setCheckable(True)
            b.setProperty("role", "link")
            b.clicked.connect(lambda on, signal=signal: signal.emit(bool(on)))
            row.addWidget(b)

    def show_arrangement(self, value: str, several: bool, crosshair: bool, linked: bool) -> None:
        """How it is."""
        self.arrangement.show_value(value)
        self.crosshair.setChecked(crosshair)
        self.linked.setChecked(linked)
        self.setVisible(several)
