"""What a fine-tuning is to learn from and how: the corrections with what is held out, base model, how much, one button."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_brainseg.features.finetune.candidates import Candidate
from napari_brainseg.qt.widgets import Combo, Elided, Number, Words, button, label, plain

UNITS = (("minutes", "minutes", "Of training itself; reading the cases and the proof come on top"),
         ("epochs", "epochs", "Visits of every correction"))  # fmt: skip
PARTS = (("Everything", "everything", "All weights"),
         ("Decoder", "decoder", "What makes regions of what was seen; the encoder stays"),
         ("Head and norms", "head", "The last layer and the normalisation layers: least, and hardest to spoil"))  # fmt: skip
_ROWS = 6
_OFF, _MARKED = "#8b9199", "#c08a14"  # on light and dark


@dataclass(frozen=True)
class FormShown:
    """``models``: (text, name, tooltip) each; ``blocker``: why it cannot be started, "" when it can."""

    corrections: Sequence[Candidate] = ()
    counts: str = ""
    checking: bool = False
    models: Sequence[tuple[str, str, str]] = ()
    model: str = ""
    amount: float = 15.0
    unit: str = "minutes"
    parts: str = "everything"
    device: str = "auto"
    anchors: str = ""
    claim: str = ""
    blocker: str = ""
    starting: bool = False
    expected: str = ""


class FinetuneForm(QWidget):
    """Asks to start, to hold a correction out, to check them, and shows what settings are chosen."""

    start_requested = Signal()
    check_requested = Signal()
    held_out_changed = Signal(str, bool)
    setting_changed = Signal(str, object)
    anchors_requested = Signal()

    def __init__(self, devices: Mapping[str, str]) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(6)
        self._shown: FormShown | None = None
        self._make_list()
        self._make_settings(devices)
        self._make_more()
        self.start = button("Fine-tune", "finetune_start", "Make a new model of these corrections, in a process of its own",
                            self.start_requested.emit)  # fmt: skip
        self.start.setProperty("role", "primary")
        self.why = Words("finetune_why", "dim")
        self.expected = Words("finetune_expected", "dim")
        self.column.addWidget(self.expected)
        self.column.addWidget(self.start)
        self.column.addWidget(self.why)

    # --- making it

    def _make_list(self) -> None:
        row = QHBoxLayout()
        row.addWidget(label("Corrections (ticked: held out)", role="dim"), 1)
        self.check = button("Check", "finetune_check", "Read the studies and compare them with what was corrected (seconds each)",
                            self.check_requested.emit)  # fmt: skip
        self.check.setProperty("role", "link")
        row.addWidget(self.check)
        self.column.addLayout(row)
        self.list = QListWidget()
        self.list.setObjectName("finetune_corrections")
        self.list.setAccessibleName("Accepted corrections; ticked ones are held out for testing")
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.itemChanged.connect(self._ticked)
        self.column.addWidget(self.list)
        self.counts = Words("finetune_counts", "dim")
        self.column.addWidget(self.counts)

    def _make_settings(self, devices: Mapping[str, str]) -> None:
        row = QHBoxLayout()
        row.setSpacing(6)
        self.model = self._combo("model", "The model to start from; it stays as it is")
        row.addWidget(label("From"))
        row.addWidget(self.model, 1)
        self.column.addLayout(row)
        row = QHBoxLayout()
        row.setSpacing(6)
        self.amount = Amount()
        self.amount.valueChanged.connect(lambda v: self.setting_changed.emit("amount", v))
        self.unit = self._combo("unit", "The unit of the length of the training")
        self.unit.show_choices(UNITS, "minutes")
        self.device = self._combo("device", "Where to compute")
        self.device.show_choices([(text, value, "") for value, text in devices.items()], "auto")
        for combo in (self.unit, self.device):
            combo.setMinimumContentsLength(2)  # they share what room there is
        row.addWidget(label("For"))
        row.addWidget(self.amount)
        row.addWidget(self.unit, 1)
        row.addWidget(label("on"))
        row.addWidget(self.device, 1)
        self.column.addLayout(row)

    def _make_more(self) -> None:
        self.more = button("What else ▸", "finetune_more", "What is trained, and which cases must not be forgotten")
        self.more.setProperty("role", "link")
        self.more.setCheckable(True)
        self.claim = Words("finetune_claim", "dim")
        head = QHBoxLayout()
        head.addWidget(self.claim, 1)
        head.addWidget(self.more, 0, Qt.AlignmentFlag.AlignTop)
        self.column.addLayout(head)
        grid = QGridLayout()
        grid.setSpacing(6)
        self.parts = self._combo("parts", "What is trained")
        self.parts.show_choices(PARTS, "everything")
        self.anchors = Elided("finetune_anchors", "dim")
        tip = "Cases with masks that must not be forgotten: at best those that the model was trained on"
        folder = button("Folder…", "finetune_anchors_folder", tip, self.anchors_requested.emit)
        clear = button(
            "✕", "finetune_anchors_clear", "Phantoms instead", lambda: self.setting_changed.emit("anchors", None)
        )
        clear.setAccessibleName("Phantoms instead of the folder")
        grid.addWidget(label("Train"), 0, 0)
        grid.addWidget(self.parts, 0, 1, 1, 3)
        grid.addWidget(label("Anchors"), 1, 0)
        for i, widget in enumerate((self.anchors, folder, clear), start=1):
            grid.addWidget(widget, 1, i)
        grid.setColumnStretch(1, 1)
        choices = plain(grid)
        choices.hide()
        self.more.toggled.connect(choices.setVisible)
        self.more.toggled.connect(lambda on: self.more.setText("What else ▾" if on else "What else ▸"))
        self.column.addWidget(choices)

    def _combo(self, name: str, tip: str) -> Combo:
        made = Combo(f"finetune_{name}", tip)
        made.activated.connect(lambda i: self.setting_changed.emit(name, made.itemData(i)))
        return made

    # --- showing

    def show_form(self, shown: FormShown) -> None:
        """Show the form as that says."""
        if shown == self._shown:
            return
        if self._shown is None or shown.corrections != self._shown.corrections:
            self._show_list(shown.corrections)
        self._shown = shown
        for words, text in (
            (self.counts, shown.counts),
            (self.claim, shown.claim),
            (self.why, shown.blocker),
            (self.expected, shown.expected),
        ):
            words.show_text(text)
        self.counts.setVisible(bool(shown.counts))
        self.why.setVisible(bool(shown.blocker))
        self.expected.setVisible(bool(shown.expected))
        self.check.setEnabled(bool(shown.corrections) and not shown.checking)
        self.check.setText("Reading …" if shown.checking else "Check")
        self.model.show_choices(shown.models, shown.model)
        for combo, value in ((self.unit, shown.unit), (self.parts, shown.parts), (self.device, shown.device)):
            combo.setCurrentIndex(combo.findData(value))
        self.amount.show_value(shown.amount, whole=shown.unit == "epochs")
        self.anchors.show_text(shown.anchors or "phantoms")
        self.start.setEnabled(not shown.blocker and not shown.starting)
        self.start.setText("Starting …" if shown.starting else "Fine-tune")

    def _show_list(self, corrections: Sequence[Candidate]) -> None:
        blocker = QSignalBlocker(self.list)
        at, current = self.list.verticalScrollBar().value(), self.list.currentRow()
        self.list.clear()
        for c in corrections:
            item = QListWidgetItem(c.title)
            item.setData(Qt.ItemDataRole.UserRole, c.id)
            item.setToolTip(c.tip)
            flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
            if c.usable:
                flags |= Qt.ItemFlag.ItemIsUserCheckable
                item.setCheckState(Qt.CheckState.Checked if c.held_out else Qt.CheckState.Unchecked)
            item.setFlags(flags)
            marked = bool(c.problem) and not c.excluded
            if marked or not c.usable:
                item.setForeground(QBrush(QColor(_MARKED if marked else _OFF)))
            self.list.addItem(item)
        self.list.setCurrentRow(min(current, len(corrections) - 1))
        self.list.verticalScrollBar().setValue(at)
        height = max(self.list.sizeHintForRow(0), 20) * min(max(len(corrections), 1), _ROWS) + 6
        self.list.setFixedHeight(height)
        self.list.setVisible(bool(corrections))
        blocker.unblock()

    def _ticked(self, item: QListWidgetItem) -> None:
        self._shown = None  # until the store has answered, the list shows what was asked, not what is
        self.held_out_changed.emit(item.data(Qt.ItemDataRole.UserRole), item.checkState() == Qt.CheckState.Checked)


class Amount(Number):
    """Minutes or epochs, without needless decimals."""

    def __init__(self) -> None:
        super().__init__("finetune_amount", 15.0, 0.1, 9999.0, 0.1, "")
        self.setSuffix("")
        self.setSingleStep(5)
        self.setKeyboardTracking(False)

    def textFromValue(self, value: float) -> str:
        """15 rather than 15.0."""
        return f"{value:g}"

    def show_value(self, value: float, whole: bool) -> None:
        """Show that, unless somebody is typing. Says nothing."""
        blocker = QSignalBlocker(self)
        self.setDecimals(0 if whole else 1)
        self.setMinimum(1.0 if whole else 0.1)
        if not self.hasFocus() or self.value() != value:
            self.setValue(value)
        blocker.unblock()
