"""Connects the follow-up view and its verbs; asks for the folder of the earlier study."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog

from napari_brainseg.features.context import Context
from napari_brainseg.features.follow_up.verbs import FollowUpVerbs
from napari_brainseg.features.follow_up.view import FollowUpView


class FollowUpSection:
    """Between the follow-up view and its verbs."""

    def __init__(self, view: FollowUpView, verbs: FollowUpVerbs, context: Context) -> None:
        self._view, self._verbs, self._context = view, verbs, context
        view.prior_requested.connect(self._ask)
        view.measure_requested.connect(verbs.measure)
        view.drop_requested.connect(verbs.drop)
        context.follow(verbs.changed, self._show)
        context.follow(context.session.study_changed, self._show)
        self._show()

    def _show(self) -> None:
        verbs = self._verbs
        self._view.show_state(verbs.possible, verbs.busy, verbs.prior, verbs.lines, verbs.charts)

    def _ask(self) -> None:
        current = self._context.session.study
        start = current.place.parent if current is not None and current.place is not None else Path.cwd()
        folder = QFileDialog.getExistingDirectory(self._view, "Folder of the earlier study, with its mask", str(start))
        if folder:
            self._verbs.open(Path(folder))
