"""The section that fine-tunes: what is learnt from, how a run goes, what came of it, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_brainseg.features.finetune.before_after import BeforeAfterTable
from napari_brainseg.features.finetune.curves import CurvesShown, CurvesView
from napari_brainseg.features.finetune.form import FinetuneForm
from napari_brainseg.features.finetune.table import Group
from napari_brainseg.qt.widgets import Elided, Section, Words, button, label, plain, restyle


@dataclass(frozen=True)
class RunShown:
    """A run, and what came of it, in words; "" and () for nothing.

    ``stage`` and ``fraction`` of one that is running; ``ended`` why one did not come to its end, ``end`` that in a word;
    ``result`` the verdict.
    """

    running: bool = False
    stopping: bool = False
    stage: str = ""
    fraction: float = 0.0
    left: str = ""
    curves: CurvesShown | None = None
    ended: str = ""
    end: str = ""
    resumable: bool = False
    result: str = ""
    worse: bool = False
    groups: Sequence[Group] = ()
    guard: str = ""
    notes: str = ""
    made: str = ""
    in_use: bool = False
    unproven: bool = False
    """The training was too short to learn from: the new model is there, and not recommended."""


@dataclass(frozen=True)
class ModelsShown:
    """The default model, what a roll back returns to, and the lineage where it was asked for."""

    default: str = ""
    previous: str = ""
    lineage: str = ""


class FinetuneView(Section):
    """Shows form, run and result, and asks for what is pressed. Folded at first."""

    cancel_requested = Signal()
    resume_requested = Signal()
    use_requested = Signal()
    roll_back_requested = Signal()
    lineage_requested = Signal(bool)
    arrived = Signal()
    """The run that was shown has come to its result, and that is open to view."""

    def __init__(self, devices: Mapping[str, str]) -> None:
        super().__init__("Fine-tune", "finetune")
        self.state = label(role="dim", name="finetune_state")
        self.fold = button("Show ▸", "finetune_fold", "Show or hide what makes a new model of the corrections")
        self.fold.setProperty("role", "link")
        self.fold.setCheckable(True)
        self.fold.toggled.connect(self._folded)
        self.head.addWidget(self.state)
        self.head.addWidget(self.fold)
        column = QVBoxLayout()
        column.setSpacing(6)
        self.content = plain(column)
        self.form = FinetuneForm(devices)
        column.addWidget(self.form)
        self.notes = Words("finetune_notes", "dim")
        parts = (self._make_running(), self._make_ended(), self._make_result(), self.notes, self._make_models())
        for part in parts:
            column.addWidget(part)
        self.body.addWidget(self.content)
        self.content.hide()
        self._was_running = False
        self.show_run(RunShown())
        self.show_models(ModelsShown())

    # --- making it

    def _make_running(self) -> QWidget:
        row = QHBoxLayout()
        row.setSpacing(6)
        self.bar = QProgressBar()
        self.bar.setObjectName("finetune_progress")
        self.bar.setRange(0, 1000)
        self.cancel = button("Stop", "finetune_cancel", "The run ends after its present step; it can be resumed",
                             self.cancel_requested.emit)  # fmt: skip
        self.cancel.setMinimumHeight(36)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addLayout(row)
        self.left = Words("finetune_left", "dim")
        column.addWidget(self.left)
        self.running = plain(column)
        self.curves = CurvesView()
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addWidget(self.running)
        column.addWidget(self.curves)
        return plain(column)

    def _make_ended(self) -> QWidget:
        row = QHBoxLayout()
        row.setSpacing(6)
        self.ended_text = Words("finetune_ended", "warning")
        self.resume = button(
            "Resume", "finetune_resume", "Go on from the last state that was saved", self.resume_requested.emit
        )
        row.addWidget(self.ended_text, 1)
        row.addWidget(self.resume)
        self.ended = plain(row)
        return self.ended

    def _make_result(self) -> QWidget:
        column = QVBoxLayout()
        column.setSpacing(6)
        self.verdict = Words("finetune_result")
        self.table = BeforeAfterTable()
        self.guard = Words("finetune_guard", "dim")
        self.use = button("Use the new model", "finetune_use", "Use it where no model is named, and in this window",
                          self.use_requested.emit)  # fmt: skip
        self.use.setProperty("role", "primary")
        for widget in (self.verdict, self.table, self.guard, self.use):
            column.addWidget(widget)
        self.result = plain(column)
        return self.result

    def _make_models(self) -> QWidget:
        row = QHBoxLayout()
        row.setSpacing(6)
        self.default = Elided("finetune_default", "dim")
        self.roll_back = button("Roll back", "finetune_rollback", "", self.roll_back_requested.emit)
        self.lineage = button("Lineage ▸", "finetune_lineage", "From which model and corrections the model was made")
        self.lineage.setProperty("role", "link")
        self.lineage.setCheckable(True)
        self.lineage.clicked.connect(lambda on: self.lineage_requested.emit(bool(on)))
        row.addWidget(self.default, 1)
        row.addWidget(self.roll_back)
        row.addWidget(self.lineage)
        self.lineage_text = Words("finetune_lineage_text", "dim")
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.lineage_text)
        return plain(column)

    # --- showing

    def unfold(self) -> None:
        """Show what is in it."""
        self.fold.setChecked(True)

    def show_run(self, shown: RunShown) -> None:
        """Show how a run goes, or what came of the last one."""
        self.form.setVisible(not shown.running)
        self.running.setVisible(shown.running)
        self.state.setText(_short(shown))
        if shown.running:
            self.bar.setValue(round(1000 * shown.fraction))
            self.bar.setFormat(_short(shown))
            self.cancel.setEnabled(not shown.stopping)
            self.left.show_text(" · ".join(t for t in (shown.stage or "starting", shown.left) if t))
        self.curves.setVisible(shown.curves is not None)
        if shown.curves is not None:
            self.curves.show_curves(shown.curves)
        self.ended_text.show_text(shown.ended)
        self.ended.setVisible(bool(shown.ended))
        self.resume.setVisible(shown.resumable)
        if shown.notes != self.notes.text():
            self.notes.show_text(shown.notes)
        self.notes.setVisible(bool(shown.notes))
        self._show_result(shown)
        came, self._was_running = self._was_running and bool(shown.result), shown.running
        if came and self.fold.isChecked():
            self.arrived.emit()

    def show_models(self, shown: ModelsShown) -> None:
        """Show which model is the default, and what a roll back would do."""
        self.default.show_text(f"Default: {shown.default}" if shown.default else "")
        self.roll_back.setEnabled(bool(shown.previous))
        self.roll_back.setToolTip(
            f"Use {shown.previous} again" if shown.previous else "No other model was the default before"
        )
        self.lineage.setChecked(bool(shown.lineage))
        self.lineage.setText("Lineage ▾" if shown.lineage else "Lineage ▸")
        self.lineage_text.show_text(shown.lineage)
        self.lineage_text.setVisible(bool(shown.lineage))

    def _show_result(self, shown: RunShown) -> None:
        self.result.setVisible(bool(shown.result))
        if not shown.result:
            return
        self.verdict.show_text(shown.result)
        restyle(self.verdict, role="warning" if shown.worse else "words")
        self.table.show_groups(shown.groups)
        self.guard.show_text(shown.guard)
        words = "Use it all the same …" if shown.worse else f"Use {shown.made}"
        self.use.setText(f"{shown.made} is in use" if shown.in_use else words)
        self.use.setEnabled(not shown.in_use)
        restyle(self.use, role="plain" if shown.unproven else "primary")
        restyle(self.use, caution="true" if shown.worse else "false")

    def _folded(self, open_: bool) -> None:
        self.fold.setText("Hide ▾" if open_ else "Show ▸")
        self.content.setVisible(open_)


def _short(shown: RunShown) -> str:
    """For the head, where it is read while the section is folded."""
    if shown.running:
        return "stopping …" if shown.stopping else f"{100 * shown.fraction:.0f} %"
    if shown.ended:
        return shown.end
    return "done" if shown.result and not shown.in_use else ""
