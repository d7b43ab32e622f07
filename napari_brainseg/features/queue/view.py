"""The section of the queue: studies that nobody has corrected yet, the most doubted first."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem

from napari_brainseg.features.queue.entries import QueueShown
from napari_brainseg.qt.widgets import Elided, Section, button, label

_ROWS = 6


class QueueView(Section):
    """Shows the queue, and asks to open a study of it."""

    folder_requested = Signal()
    next_requested = Signal()
    study_requested = Signal(object)
    pause_requested = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Queue", "queue")
        self.progress = label(role="dim", name="queue_progress")
        self.head.addWidget(self.progress)
        row = QHBoxLayout()
        row.setSpacing(6)
        self.folder = Elided("queue_folder", "dim")
        row.addWidget(self.folder, 1)
        row.addWidget(button("Folder…", "queue_open", "Choose a folder of studies to correct, one after the other",
                             self.folder_requested.emit))  # fmt: skip
        self.body.addLayout(row)
        self.list = QListWidget()
        self.list.setObjectName("queue_list")
        self.list.setAccessibleName("Studies to correct, the most doubted first")
        self.list.itemActivated.connect(self._chosen)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.body.addWidget(self.list)
        row = QHBoxLayout()
        row.setSpacing(6)
        self.pause = button("Pause", "queue_pause", "Compute no more scores for now",
                            lambda: self.pause_requested.emit(self.pause.isChecked()))  # fmt: skip
        self.pause.setCheckable(True)
        self.next = button("Next study ▸", "queue_next", "Open the most doubted study that has not been corrected (Ctrl-J)",
                           self.next_requested.emit)  # fmt: skip
        row.addWidget(self.pause, 1)
        row.addWidget(self.next, 3)
        self.body.addLayout(row)
        self.show_queue(QueueShown())

    def show_queue(self, shown: QueueShown) -> None:
        """Show those, in that order."""
        folder = shown.folder
        self.folder.show_text(str(folder) if folder is not None else "Choose a folder of studies to correct.")
        self.progress.setText(f"{shown.corrected} of {shown.total} corrected" if shown.total else "")
        at = self.list.verticalScrollBar().value()
        self.list.clear()
        for e in shown.entries:
            fraction = shown.fraction if e is shown.scoring else None
            item = QListWidgetItem(f"{'▸ ' if e.folder.resolve() == shown.open else ''}{e.id}   {e.in_words(fraction)}")
            item.setData(Qt.ItemDataRole.UserRole, e.folder)
            item.setToolTip(e.problem or str(e.folder))
            self.list.addItem(item)
        self.list.verticalScrollBar().setValue(at)
        height = max(self.list.sizeHintForRow(0), 18) * min(max(len(shown.entries), 1), _ROWS) + 6
        self.list.setFixedHeight(height)
        self.list.setVisible(bool(shown.entries))
        for widget in (self.next, self.pause):
            widget.setVisible(folder is not None)
        self.pause.setChecked(shown.paused and folder is not None)

    def _chosen(self, item: QListWidgetItem) -> None:
        self.study_requested.emit(item.data(Qt.ItemDataRole.UserRole))
