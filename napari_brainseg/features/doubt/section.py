"""Connects the doubt row and its verbs."""

from __future__ import annotations

from napari_brainseg.features.context import Context
from napari_brainseg.features.doubt.verbs import DoubtVerbs
from napari_brainseg.features.doubt.view import DoubtRow


class DoubtSection:
    """Between the doubt row and its verbs."""

    def __init__(self, view: DoubtRow, verbs: DoubtVerbs, context: Context) -> None:
        self._view, self._verbs, self._context = view, verbs, context
        view.doubt_requested.connect(verbs.toggle_doubt)
        view.changes_requested.connect(verbs.toggle_changes)
        view.changed_requested.connect(verbs.next_changed)
        view.slice_requested.connect(verbs.next_slice)
        context.follow(verbs.changed, self._show)
        context.follow(context.labels_changed, self._show)
        context.follow(context.session.job_changed, self._show)
        self._show()

    def _show(self) -> None:
        labels = self._context.labels is not None
        self._view.show_state(labels, self._verbs.doubt_shown, self._verbs.changes_shown)
