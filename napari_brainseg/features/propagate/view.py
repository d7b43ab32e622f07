"""The row below the tools: have the corrections of a few slices carried over to the others, and judge what comes of it."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout

from napari_brainseg.qt.widgets import FeatureRow, Words, button


@dataclass(frozen=True)
class PropagateShown:
    """``possible``: there are labels; ``running``: the model is being adapted; ``proposed``: something waits to be judged.

    ``words`` say how far it is, or what is proposed; "" for nothing.
    """

    possible: bool = False
    running: bool = False
    proposed: bool = False
    words: str = ""


class PropagateRow(FeatureRow):
    """Shows whether there is a proposal, and asks for one, to accept it, or to drop it."""

    propose_requested = Signal()
    cancel_requested = Signal()
    accept_requested = Signal()
    drop_requested = Signal()
    wanted_changed = Signal()
    """Whether it is to be seen though the section is folded has changed."""

    def __init__(self) -> None:
        column = QVBoxLayout()
        super().__init__(column)
        column.setSpacing(4)
        self.propose = button(
            "Propagate", "propagate", "Adapt the model to the slices you painted in, and predict the other slices again: a "
            "proposal, outlined on the image. What you corrected stays as it is.", self._pressed,
        )  # fmt: skip
        self.words = Words("propagate_state", "dim")
        self.accept = button(
            "Accept proposal", "propagate_accept", "Take the proposal over into the labels, as one step (Ctrl+Z takes it back)",
            self.accept_requested.emit,
        )  # fmt: skip
        self.accept.setProperty("role", "primary")
        self.drop = button("Drop", "propagate_drop", "Leave the labels as they are", self.drop_requested.emit)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self.propose, 2)
        row.addWidget(self.accept, 2)
        row.addWidget(self.drop, 1)
        column.addLayout(row)
        column.addWidget(self.words)
        self._shown = PropagateShown()
        self.show_state(self._shown)

    def show_state(self, s: PropagateShown) -> None:
        """Bring the row in line. Says nothing."""
        wanted, self._shown = self.wanted, s
        self.propose.setText("Cancel" if s.running else "Propagate")
        self.propose.setEnabled(s.possible)
        self.propose.setVisible(not s.proposed)
        self.accept.setVisible(s.proposed)
        self.drop.setVisible(s.proposed)
        self.words.show_text(s.words)
        self.words.setVisible(bool(s.words))
        if wanted != self.wanted:
            self.wanted_changed.emit()

    @property
    def shown(self) -> PropagateShown:
        """What it shows."""
        return self._shown

    @property
    def wanted(self) -> bool:
        """True while it is to be seen though the tools are folded away."""
        return self._shown.running or self._shown.proposed

    def _pressed(self) -> None:
        (self.cancel_requested if self._shown.running else self.propose_requested).emit()
