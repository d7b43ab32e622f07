"""The button *Models…* and the dialog behind it: the cards side by side, and what can be done with models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_brainseg.qt.widgets import Combo, FeatureRow, Words, button, label

ROWS = (
    "what", "needs", "gives", "network", "scores", "licence", "limits", "trained on", "came from", "cite", "known failures",
)  # fmt: skip
_WIDTH = 230


@dataclass(frozen=True)
class ModelShown:
    """One model as the dialog shows it: ``rows`` as in :data:`ROWS`; ``own``: it can be removed; ``problem``: why it cannot be
    used, "" where it can."""

    name: str
    rows: Sequence[str] = field(default=("",) * len(ROWS))
    default: bool = False
    own: bool = False
    problem: str = ""


class ModelsRow(FeatureRow):
    """The button that opens the dialog."""

    asked = Signal()

    def __init__(self) -> None:
        row = QHBoxLayout()
        super().__init__(row)
        row.addWidget(button("Models…", "models", "Compare, bring in, fetch and remove models; segment with several",
                             self.asked.emit))  # fmt: skip


class ModelsDialog(QDialog):
    """Shows cards and asks; it closes by itself for nothing but *Segment with these*."""

    segment_requested = Signal(list)
    folder_requested = Signal(str, str)
    file_requested = Signal(str, str)
    install_requested = Signal(str)
    cancel_requested = Signal()
    remove_requested = Signal(str)
    default_requested = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("models_dialog")
        self.setWindowTitle("Models")
        self.resize(980, 720)
        column = QVBoxLayout(self)
        self.table = QTableWidget(len(ROWS) + 1, 0)
        self.table.setObjectName("model_cards")
        self.table.setVerticalHeaderLabels(["segment with", *ROWS])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectColumns)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setWordWrap(True)
        self.table.verticalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.table.itemChanged.connect(self._enable)
        self.table.itemSelectionChanged.connect(self._enable)
        column.addWidget(self.table, 1)
        column.addLayout(self._chosen_row())
        column.addLayout(self._import_row())
        column.addLayout(self._install_row())
        self.words = Words("models_words", "dim")
        column.addWidget(self.words)
        self._models: Sequence[ModelShown] = ()
        self._enable()

    def _chosen_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.segment = button("Segment with these", "segment_with", "Each ticked model answers; of several, their mean too",
                              self._segment)  # fmt: skip
        self.segment.setProperty("role", "primary")
        row.addWidget(self.segment)
        row.addStretch(1)
        self.default = button("Use by default", "model_default", "Use the selected model where none is named",
                              lambda: self.default_requested.emit(self.selected))  # fmt: skip
        self.remove = button("Remove…", "model_remove", "Take the selected model away, for good",
                             lambda: self.remove_requested.emit(self.selected))  # fmt: skip
        row.addWidget(self.default)
        row.addWidget(self.remove)
        return row

    def _import_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(label("Bring in as"))
        self.name = QLineEdit()
        self.name.setObjectName("model_name")
        self.name.setPlaceholderText("name here")
        self.series = QLineEdit()
        self.series.setObjectName("model_series")
        self.series.setPlaceholderText("channels, like t1ce,t1,t2,flair (if its files do not tell)")
        row.addWidget(self.name, 1)
        row.addWidget(self.series, 2)
        self.folder = button("Folder…", "model_folder", "A MONAI bundle, or a trained folder of nnU-Net v2",
                             lambda: self.folder_requested.emit(*self._told))  # fmt: skip
        self.file = button("File…", "model_file", "A .zip of one, ONNX, or a checkpoint of Swin UNETR or Auto3DSeg",
                           lambda: self.file_requested.emit(*self._told))  # fmt: skip
        row.addWidget(self.folder)
        row.addWidget(self.file)
        return row

    def _install_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(label("Known"))
        self.known = Combo("known_models", "Models of others that can be fetched")
        row.addWidget(self.known, 1)
        self.install = button("Install…", "model_install", "Show its licence, then fetch it",
                              lambda: self.install_requested.emit(self.known.currentData() or ""))  # fmt: skip
        row.addWidget(self.install)
        self.bar = QProgressBar()
        self.bar.setObjectName("model_progress")
        self.cancel = button("Cancel", "model_cancel", "Stop; what arrived is kept, and Install goes on there",
                             self.cancel_requested.emit)  # fmt: skip
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        self.show_fetch("", None)
        return row

    def show_fetch(self, words: str, fraction: float | None, *, stoppable: bool = True) -> None:
        """How much of a model has arrived (None: not known), in place of the choice; ``words`` "" for none on its way."""
        busy = bool(words)
        self.known.setVisible(not busy)
        self.install.setVisible(not busy)
        self.bar.setVisible(busy)
        self.cancel.setVisible(busy)
        self.cancel.setEnabled(stoppable)
        self.bar.setRange(0, 0 if fraction is None else 1000)
        self.bar.setValue(round(1000 * (fraction or 0.0)))
        self.bar.setFormat(words if fraction is None else f"{words}  %p %")

    @property
    def _told(self) -> tuple[str, str]:
        """The name and the order of channels that were typed in."""
        return self.name.text().strip(), self.series.text().strip()

    @property
    def selected(self) -> str:
        """The model whose card is selected; "" for none."""
        at = {i.column() for i in self.table.selectedItems()}
        return self._models[at.pop()].name if len(at) == 1 else ""

    @property
    def ticked(self) -> list[str]:
        """The models to segment with."""
        boxes = (self.table.item(0, n) for n in range(len(self._models)))
        return [m.name for m, box in zip(self._models, boxes, strict=True) if box.checkState() == Qt.CheckState.Checked]

    def show_models(self, models: Sequence[ModelShown]) -> None:
        """The cards, side by side; what was ticked stays ticked."""
        ticked = self.ticked if self._models else []
        self._models = ()
        self.table.setColumnCount(len(models))
        self.table.setHorizontalHeaderLabels([m.name + (" (default)" if m.default else "") for m in models])
        for n, model in enumerate(models):
            box = QTableWidgetItem(model.problem)
            box.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            if not model.problem:
                box.setFlags(box.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                box.setCheckState(Qt.CheckState.Checked if model.name in ticked else Qt.CheckState.Unchecked)
            self.table.setItem(0, n, box)
            for row, text in enumerate(model.rows, start=1):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
                item.setToolTip(text)
                self.table.setItem(row, n, item)
            self.table.setColumnWidth(n, _WIDTH)
        self._models = models
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self._enable()

    def show_known(self, known: Sequence[tuple[str, str, str]]) -> None:
        """(words, name, tooltip) of the models that can be fetched."""
        self.known.show_choices(known, known[0][1] if known else "")
        self._enable()

    def show_words(self, text: str) -> None:
        """What came of the last thing that was asked."""
        self.words.show_text(text)

    def _segment(self) -> None:
        self.segment_requested.emit(self.ticked)
        self.accept()

    def _enable(self) -> None:
        chosen = next((m for m in self._models if m.name == self.selected), None)
        self.segment.setEnabled(bool(self._models) and bool(self.ticked))
        self.default.setEnabled(chosen is not None and not chosen.problem and not chosen.default)
        self.remove.setEnabled(chosen is not None and chosen.own)
        self.install.setEnabled(bool(self.known.currentData()))
