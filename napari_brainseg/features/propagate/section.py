"""Wires the propagate row of the correct section."""

from __future__ import annotations

from qtpy.QtCore import QObject

from napari_brainseg.features.actions import Actions
from napari_brainseg.features.paint.view import CorrectView
from napari_brainseg.features.propagate.verbs import Proposing
from napari_brainseg.features.propagate.view import ProposeShown


class ProposeSection(QObject):
    """Between the propagate row and its actions."""

    def __init__(self, view: CorrectView, actions: Actions, proposing: Proposing) -> None:
        super().__init__()
        self._view, self._actions, self._proposing = view, actions, proposing
        row = view.propose
        row.propose_requested.connect(proposing.propose)
        row.cancel_requested.connect(proposing.cancel)
        row.accept_requested.connect(proposing.accept)
        row.drop_requested.connect(proposing.drop)
        proposing.changed.connect(self._show)
        actions.session.job_changed.connect(self._show)
        actions.brush.changed.connect(self._show)
        self._show()

    def close(self) -> None:
        """Follow nothing more."""
        self._proposing.changed.disconnect(self._show)
        self._actions.session.job_changed.disconnect(self._show)
        self._actions.brush.changed.disconnect(self._show)
        self._proposing.close()

    def _show(self) -> None:
        shown = state_of(self._proposing, self._actions)
        if shown != self._view.propose.shown:
            self._view.show_propose(shown)


def state_of(proposing: Proposing, actions: Actions) -> ProposeShown:
    """What there is to show."""
    made, job = proposing.proposal, actions.session.job
    words = ""
    if proposing.running:
        words = f"{proposing.stage or 'looking at the corrections'} …"
        if job is not None and job.fraction:
            words = f"{proposing.stage} … {job.fraction:.0%}"
    elif made is not None:
        words = f"Proposed: {made.words}. Outlined: white, added; pink, removed; green, another class."
    return ProposeShown(actions.labels is not None, proposing.running, made is not None, words)
