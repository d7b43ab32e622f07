"""The worklist: search, studies as they arrive, the series to fetch; and the buttons that open it and send results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QProgressBar,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_brainseg.qt.widgets import Combo, FeatureRow, Words, button, label, restyle

_STUDY_COLUMNS = ("Date", "Patient id", "Name", "Description", "Accession no.", "Kinds", "Series", "Images")
_SERIES_COLUMNS = ("No.", "Series to fetch", "Kind", "Images")
_FIELDS = (
    ("patient_id", "Patient id", "", "The id, exactly; * and ? are wildcards"),
    ("name", "Name", "", "The name or its beginning: Müller, or Müller^Jörg; * and ? are wildcards"),
    ("accession", "Accession no.", "", "The accession number"),
    ("since", "From", "2025-03-14", "The first study date"),
    ("until", "To", "2025-03-14", "The last study date"),
    ("modality", "Kind", "", "MR for images, SEG for results; empty for any"),
)


@dataclass(frozen=True)
class StudyLine:
    """One study: its UID, and the texts of its columns."""

    uid: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class SeriesLine:
    """One series; ``chosen``: it is to be fetched."""

    uid: str
    texts: tuple[str, ...]
    chosen: bool


@dataclass(frozen=True)
class Worklist:
    """What there is to show."""

    connections: tuple[tuple[str, str, str], ...] = ()
    pacs: str = ""
    studies: Sequence[StudyLine] = ()
    study: str = ""
    series: Sequence[SeriesLine] = ()
    words: str = ""
    wrong: bool = False
    busy: tuple[str, float | None] | None = None


class WorklistRow(FeatureRow):
    """The button that opens the worklist."""

    asked = Signal()

    def __init__(self) -> None:
        row = QHBoxLayout()
        super().__init__(row)
        row.addWidget(button("Worklist…", "worklist", "Find a study in the PACS, and open it", self.asked.emit))


class SendRow(FeatureRow):
    """The button that sends results, and what waits."""

    asked = Signal()
    again = Signal()
    give_up = Signal()

    def __init__(self) -> None:
        column = QVBoxLayout()
        super().__init__(column)
        column.setSpacing(4)
        self.send = button("Send to PACS…", "send_results", "Segmentation, measurements and report to the study they belong to; "
                           "asks before anything is sent", self.asked.emit)  # fmt: skip
        column.addWidget(self.send)
        row = QHBoxLayout()
        self.words = label(role="dim", name="waiting_words", wrap=True)
        self.resend = button("Send again", "send_again", "Try once more; nothing arrives twice", self.again.emit)
        self.drop = button("Give up", "give_up_sending", "Delete what waits", self.give_up.emit)
        row.addWidget(self.words, 1)
        row.addWidget(self.resend)
        row.addWidget(self.drop)
        column.addLayout(row)
        self.show_state(known=False, possible=False, waiting=0, busy=False)

    def show_state(self, *, known: bool, possible: bool, waiting: int, busy: bool) -> None:
        """Whether a PACS is ``known`` and there is something to send, and how many objects wait."""
        self.setVisible(known or waiting > 0)
        self.send.setVisible(known)
        self.send.setEnabled(possible and not busy)
        self.words.setText(f"{waiting} object{'s' * (waiting != 1)} could not be sent" if waiting else "")
        for widget in (self.words, self.resend, self.drop):
            widget.setVisible(waiting > 0)
            widget.setEnabled(not busy)


class WorklistDialog(QDialog):
    """Asks to search, to choose a study and series, to open them, to cancel, and to set connections up."""

    search_requested = Signal(str, dict)
    study_chosen = Signal(str)
    series_chosen = Signal(str, bool)
    open_requested = Signal()
    cancel_requested = Signal()
    connections_requested = Signal()
    delete_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("worklist_dialog")
        self.setWindowTitle("Worklist")
        self.resize(900, 620)
        column = QVBoxLayout(self)
        column.setSpacing(8)
        column.addLayout(self._head())
        column.addLayout(self._form())
        self.studies = _table("worklist_studies", _STUDY_COLUMNS, (2, 3))
        self.studies.itemSelectionChanged.connect(self._study_picked)
        column.addWidget(self.studies, 3)
        self.series = _table("worklist_series", _SERIES_COLUMNS, (1,))
        self.series.itemChanged.connect(self._series_ticked)
        column.addWidget(self.series, 2)
        self.words = Words("worklist_words", "dim")
        column.addWidget(self.words)
        column.addLayout(self._foot())
        self._shown: Worklist | None = None

    def _head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.pacs = Combo("worklist_pacs", "Which PACS is searched")
        row.addWidget(label("PACS"))
        row.addWidget(self.pacs, 1)
        row.addWidget(
            button(
                "Connections…",
                "connections",
                "Set up how a PACS is reached, and test it",
                self.connections_requested.emit,
            )
        )
        return row

    def _form(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        self.fields: dict[str, QLineEdit] = {}
        for i, (name, words, hint, tip) in enumerate(_FIELDS):
            edit = QLineEdit("MR" if name == "modality" else "")
            edit.setObjectName(f"worklist_{name}")
            edit.setPlaceholderText(hint)
            edit.setToolTip(tip)
            edit.returnPressed.connect(self._search)
            grid.addWidget(label(words), i // 3, 2 * (i % 3))
            grid.addWidget(edit, i // 3, 2 * (i % 3) + 1)
            self.fields[name] = edit
        self.search = button("Search", "worklist_search", "List the studies that fit", self._search)
        self.search.setAutoDefault(False)  # Enter in a field searches once, not twice
        grid.addWidget(self.search, 0, 6, 2, 1)
        return grid

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.bar = QProgressBar()
        self.bar.setObjectName("worklist_progress")
        self.cancel = button(
            "Cancel", "worklist_cancel", "Stop; what came is kept for the next time", self.cancel_requested.emit
        )
        self.open = button("Open", "worklist_open", "Fetch the ticked series into a private folder, and open them",
                           self.open_requested.emit)  # fmt: skip
        self.open.setProperty("role", "primary")
        for b in (self.cancel, self.open):
            b.setAutoDefault(False)
        delete = button("Delete fetched images", "delete_fetched", "Delete what was fetched here, but for the open study",
                        self.delete_requested.emit)  # fmt: skip
        delete.setProperty("role", "link")
        delete.setAutoDefault(False)
        row.addWidget(delete)
        row.addWidget(self.bar, 1)
        row.addStretch(0)
        row.addWidget(self.cancel)
        row.addWidget(self.open)
        return row

    def show_state(self, shown: Worklist) -> None:
        """Show studies, series and words as that says."""
        before, self._shown = self._shown, shown
        if before is None or before.connections != shown.connections:
            self.pacs.show_choices(
                shown.connections, self.pacs.currentData() or shown.pacs or _first(shown.connections)
            )
        if before is None or before.studies != shown.studies:
            self._show_studies(shown.studies, shown.study)
        if before is None or before.series != shown.series:
            self._show_series(shown.series)
        self.words.show_text(shown.words)
        restyle(self.words, role="warning" if shown.wrong else "dim")
        busy = shown.busy
        self.bar.setVisible(busy is not None)
        self.cancel.setVisible(busy is not None)
        if busy is not None:
            self.bar.setRange(0, 0 if busy[1] is None else 1000)
            self.bar.setValue(round(1000 * (busy[1] or 0)))
            self.bar.setFormat(busy[0])
        self.search.setEnabled(busy is None and bool(shown.connections))
        self.studies.setEnabled(busy is None)
        self.series.setEnabled(busy is None)
        self.open.setEnabled(busy is None and any(s.chosen for s in shown.series))

    def _show_studies(self, studies: Sequence[StudyLine], chosen: str) -> None:
        with QSignalBlocker(self.studies):
            have = self.studies.topLevelItemCount()
            if have > len(studies) or any(
                self.studies.topLevelItem(i).data(0, Qt.ItemDataRole.UserRole) != studies[i].uid for i in range(have)
            ):
                self.studies.clear()
                have = 0
            for line in studies[have:]:
                self.studies.addTopLevelItem(_item(line.uid, line.texts))
                if line.uid == chosen:
                    self.studies.setCurrentItem(self.studies.topLevelItem(self.studies.topLevelItemCount() - 1))

    def _show_series(self, series: Sequence[SeriesLine]) -> None:
        with QSignalBlocker(self.series):
            self.series.clear()
            for line in series:
                item = _item(line.uid, line.texts)
                item.setCheckState(0, Qt.CheckState.Checked if line.chosen else Qt.CheckState.Unchecked)
                self.series.addTopLevelItem(item)

    def _search(self) -> None:
        if self.search.isEnabled():
            texts = {name: edit.text() for name, edit in self.fields.items()}
            self.search_requested.emit(self.pacs.currentData() or "", texts)

    def _study_picked(self) -> None:
        item = self.studies.currentItem()
        if item is not None and item.isSelected():
            self.study_chosen.emit(item.data(0, Qt.ItemDataRole.UserRole))

    def _series_ticked(self, item: QTreeWidgetItem, column: int) -> None:
        if column == 0:
            on = item.checkState(0) == Qt.CheckState.Checked
            self.series_chosen.emit(item.data(0, Qt.ItemDataRole.UserRole), on)


def _table(name: str, columns: Sequence[str], wide: Sequence[int]) -> QTreeWidget:
    table = QTreeWidget()
    table.setObjectName(name)
    table.setRootIsDecorated(False)
    table.setUniformRowHeights(True)
    table.setHeaderLabels(list(columns))
    header = table.header()
    header.setStretchLastSection(False)
    for i in range(len(columns)):
        stretched = QHeaderView.ResizeMode.Stretch if i in wide else QHeaderView.ResizeMode.ResizeToContents
        header.setSectionResizeMode(i, stretched)
    return table


def _item(uid: str, texts: Sequence[str]) -> QTreeWidgetItem:
    item = QTreeWidgetItem(list(texts))
    item.setData(0, Qt.ItemDataRole.UserRole, uid)
    return item


def _first(choices: Sequence[tuple[str, str, str]]) -> str:
    return choices[0][1] if choices else ""
