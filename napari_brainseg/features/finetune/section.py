"""Wires the fine-tune section."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QMessageBox

from brainseg_engine.finetune.verdict import WORSE
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.corrections.verbs import Keeping
from napari_brainseg.features.finetune import table
from napari_brainseg.features.finetune.before_after import CaseRows, RegionRow, SetRows
from napari_brainseg.features.finetune.candidates import Row, in_words
from napari_brainseg.features.finetune.curves import CurvesShown
from napari_brainseg.features.finetune.form import CorrectionShown, FormShown
from napari_brainseg.features.finetune.run import Run
from napari_brainseg.features.finetune.verbs import FineTuning
from napari_brainseg.features.finetune.view import FinetuneView, ModelsShown, RunShown
from napari_brainseg.features.segment.section import card_in_words
from napari_brainseg.qt.threads import Timer

POLL_MS = 500
PHANTOMS = "What must not be forgotten is measured on phantoms: nothing is claimed about patients' cases."
CASES = "What must not be forgotten is measured on cases of {}."


class FinetuneSection(QObject):
    """Between the fine-tune view and the actions."""

    def __init__(self, view: FinetuneView, actions: Actions, finetuning: FineTuning, keeping: Keeping) -> None:
        super().__init__()
        self._view, self._actions, self._finetuning, self._keeping = view, actions, finetuning, keeping
        self._clock = Timer(self, POLL_MS, finetuning.poll, again=True)
        form = view.form
        form.start_requested.connect(finetuning.start)
        form.check_requested.connect(finetuning.check)
        form.held_out_changed.connect(finetuning.hold_out)
        form.setting_changed.connect(lambda name, value: finetuning.choose(**{name: value}))
        form.anchors_requested.connect(self._ask_anchors)
        view.cancel_requested.connect(finetuning.stop)
        view.resume_requested.connect(finetuning.resume)
        view.use_requested.connect(self._use)
        view.roll_back_requested.connect(finetuning.roll_back)
        view.lineage_requested.connect(finetuning.show_lineage)
        view.fold.toggled.connect(self._unfolded)
        finetuning.found.connect(view.unfold)
        finetuning.changed.connect(self._show)
        keeping.changed.connect(finetuning.follow_store)
        actions.session.models_changed.connect(self._show)
        self._show()
        finetuning.find()

    def close(self) -> None:
        """Follow nothing more; a run goes on."""
        self._clock.stop()
        self._finetuning.found.disconnect(self._view.unfold)
        self._finetuning.changed.disconnect(self._show)
        self._keeping.changed.disconnect(self._finetuning.follow_store)
        self._actions.session.models_changed.disconnect(self._show)
        self._finetuning.close()

    def _unfolded(self, open_: bool) -> None:
        if open_:
            self._finetuning.refresh()

    def _show(self) -> None:
        finetuning = self._finetuning
        if finetuning.running and not self._clock.isActive():
            self._clock.start()
        elif not finetuning.running:
            self._clock.stop()
        self._view.form.show_form(self._form())
        self._view.show_run(run_shown(finetuning))
        self._view.show_models(ModelsShown(finetuning.default, finetuning.previous, finetuning.lineage))

    def _form(self) -> FormShown:
        finetuning, session = self._finetuning, self._actions.session
        rows, told = finetuning.rows, finetuning.settings
        return FormShown(
            corrections=tuple(correction_shown(r) for r in rows),
            counts=in_words(rows),
            checking=finetuning.checking,
            models=tuple((m.name, m.name, card_in_words(m)) for m in session.models if m.card is not None),
            model=finetuning.base,
            amount=told.amount,
            unit=told.unit,
            parts=told.parts,
            device=told.device,
            anchors=str(told.anchors or ""),
            claim=CASES.format(told.anchors.name) if told.anchors is not None else PHANTOMS,
            blocker=finetuning.blocker,
            starting=finetuning.running,
        )

    def _ask_anchors(self) -> None:
        start = str(self._finetuning.settings.anchors or "")
        name = QFileDialog.getExistingDirectory(self._view, "Cases that must not be forgotten", start)
        if name:
            self._finetuning.choose(anchors=Path(name))

    def _use(self) -> None:
        if not self._finetuning.marked or self._sure():
            self._finetuning.use()

    def _sure(self) -> bool:
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        made, verdict = self._finetuning.made, self._finetuning.marked
        told = " ".join(
            t for t in (f"Compared with the model it was made from, {made} is {verdict}.", self._finetuning.cost) if t
        )
        question = f"{told} Use it all the same?"
        return bool(QMessageBox.question(self._view, "Use this model?", question, yes | no, no) == yes)


def correction_shown(row: Row) -> CorrectionShown:
    """A line of the list."""
    if row.excluded:
        return CorrectionShown(row.id, f"{row.name}   excluded", None, f"{row.id} was excluded: it is not used")
    mark, held = "⚠ " if row.problem else "", " (held out)" if row.held_out else ""
    tip = row.problem or f"{row.id}: {row.told}"
    return CorrectionShown(
        row.id, f"{mark}{row.name}{held}   {row.told}", None if row.barred else row.held_out, tip, bool(row.problem)
    )


def run_shown(finetuning: FineTuning) -> RunShown:
    """The run that is followed, or the last one."""
    run = finetuning.run
    if run is None:
        return RunShown()
    curves = CurvesShown(tuple(run.loss), {r: tuple(p) for r, p in run.dice.items()}, run.steps, run.held_out)
    status, report = run.status, run.report
    if run.running:
        left = left_in_words(status.seconds_left)
        notes = table.plan_in_words(run.plan) if run.plan is not None else ""
        return RunShown(True, finetuning.stopping, status.stage, status.fraction, left, curves, notes=notes)
    shown = curves if run.loss else None
    if report is None:
        end = "stopped" if status.state == "stopped" else "failed"
        return RunShown(curves=shown, ended=ended_in_words(run), end=end, resumable=run.resumable)
    names = {r.id: r.name for r in finetuning.rows}
    return RunShown(
        curves=shown,
        result=f"{finetuning.made}: {report['words']}",
        worse=bool(finetuning.marked),
        sets=tuple(_set(g) for g in table.table(report, names)),
        guard=table.guard_in_words(report),
        notes=table.notes_in_words(report),
        made=finetuning.made,
        in_use=finetuning.in_use,
    )


def _set(group: table.Group) -> SetRows:
    cases = (
        CaseRows(b.title, tuple(RegionRow(line.region, line.cells, line.sign) for line in b.lines), b.intervals)
        for b in group.blocks
    )
    return SetRows(group.title, group.verdict, group.verdict == WORSE, tuple(cases))


def ended_in_words(run: Run) -> str:
    """Why the last run has no result."""
    more = " Resume goes on from its last saved state." if run.resumable else " Fine-tune starts a new one."
    return f"The fine-tuning of {run.began:%H:%M} has no result. {run.why_it_ended()}{more}"


def left_in_words(seconds: float | None) -> str:
    """Of the training; "" while it is not known."""
    if seconds is None:
        return ""
    told = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    return f"about {told} of training left"
