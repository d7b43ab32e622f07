"""Connects the queue's view and its verbs; asks for a folder."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog

from napari_brainseg.features.context import Context
from napari_brainseg.features.queue.verbs import QueueVerbs
from napari_brainseg.features.queue.view import QueueView


class QueueSection:
    """Between the queue's view and its verbs."""

    def __init__(self, view: QueueView, verbs: QueueVerbs, context: Context) -> None:
        self._view, self._verbs = view, verbs
        view.folder_requested.connect(self._ask_folder)
        view.next_requested.connect(verbs.next)
        view.study_requested.connect(verbs.open_study)
        view.pause_requested.connect(verbs.pause)
        context.follow(verbs.changed, self._show)
        context.follow(context.session.study_changed, self._show)
        self._show()

    def _show(self) -> None:
        self._view.show_queue(self._verbs.shown)

    def _ask_folder(self) -> None:
        start = str(self._verbs.folder or "")
        name = QFileDialog.getExistingDirectory(self._view, "A folder of studies to correct", start)
        if name:
            self._verbs.open(Path(name))
