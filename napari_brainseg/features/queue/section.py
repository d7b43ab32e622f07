"""Wires the section of the queue."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog

from napari_brainseg.features.actions import Actions
from napari_brainseg.features.queue.verbs import Entry, Queue
from napari_brainseg.features.queue.view import EntryShown, QueueView


class QueueSection(QObject):
    """Between the queue's view and the actions."""

    def __init__(self, view: QueueView, actions: Actions, queue: Queue) -> None:
        super().__init__()
        self._view, self._actions, self._queue = view, actions, queue
        view.folder_requested.connect(self._ask_folder)
        view.next_requested.connect(queue.next)
        view.study_requested.connect(queue.open_study)
        view.pause_requested.connect(queue.pause)
        queue.changed.connect(self._show)
        actions.session.study_changed.connect(self._show)
        self._show()

    def close(self) -> None:
        """Follow nothing more."""
        self._queue.changed.disconnect(self._show)
        self._actions.session.study_changed.disconnect(self._show)
        self._queue.close()

    def _show(self) -> None:
        queue, current = self._queue, self._actions.session.study
        here = current.study.folder.resolve() if current is not None and current.study.folder else None
        scoring = queue.scoring
        entries = [
            EntryShown(
                e.folder, e.id, told(e, queue.fraction if e is scoring else None), e.problem, e.folder.resolve() == here
            )
            for e in queue.ranked
        ]
        total = len(queue.entries)
        progress = f"{queue.corrected} of {total} corrected" if total else ""
        self._view.show_queue(queue.folder, entries, progress, paused=queue.paused and queue.folder is not None)

    def _ask_folder(self) -> None:
        start = str(self._queue.folder or "")
        name = QFileDialog.getExistingDirectory(self._view, "A folder of studies to correct", start)
        if name:
            self._queue.open(Path(name))


def told(entry: Entry, fraction: float | None) -> str:
    """What is said of a study: its doubt, or why there is none."""
    if entry.problem:
        return "cannot be segmented"
    if fraction is not None:
        return f"… {100 * fraction:.0f} %"
    return f"doubt {entry.score:.2f}" if entry.score is not None else "waiting"
