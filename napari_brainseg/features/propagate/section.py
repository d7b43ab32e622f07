"""Connects the propagate row and its verbs."""

from __future__ import annotations

from napari_brainseg.features.context import Context
from napari_brainseg.features.propagate.verbs import PropagateVerbs
from napari_brainseg.features.propagate.view import PropagateRow, PropagateShown


class PropagateSection:
    """Between the propagate row and its verbs."""

    def __init__(self, view: PropagateRow, verbs: PropagateVerbs, context: Context) -> None:
        self._view, self._verbs, self._context = view, verbs, context
        view.propose_requested.connect(verbs.propose)
        view.cancel_requested.connect(verbs.cancel)
        view.accept_requested.connect(verbs.accept)
        view.drop_requested.connect(verbs.drop)
        context.follow(verbs.changed, self._show)
        context.follow(context.labels_changed, self._show)
        self._show()

    def _show(self) -> None:
        shown = state_of(self._verbs, self._context.labels is not None)
        if shown != self._view.shown:
            self._view.show_state(shown)


def state_of(verbs: PropagateVerbs, possible: bool) -> PropagateShown:
    """What there is to show."""
    made = verbs.proposal
    words = ""
    if verbs.running:
        words = verbs.stage or "looking at the corrections …"
    elif made is not None:
        words = f"Proposed: {made.words}. Outlined: white, added; pink, removed; green, another class."
    else:
        words = verbs.expected
    return PropagateShown(possible, verbs.running, made is not None, words)
