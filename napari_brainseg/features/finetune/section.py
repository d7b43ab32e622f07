"""Connects the fine-tune view and its verbs; asks before a model that is worse is used."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_brainseg.features.context import Context
from napari_brainseg.features.finetune import table
from napari_brainseg.features.finetune.candidates import in_words
from napari_brainseg.features.finetune.curves import CurvesShown
from napari_brainseg.features.finetune.form import FormShown
from napari_brainseg.features.finetune.run import Run
from napari_brainseg.features.finetune.verbs import FinetuneVerbs
from napari_brainseg.features.finetune.view import FinetuneView, ModelsShown, RunShown
from napari_brainseg.qt.cards import card_in_words

PHANTOMS = "What must not be forgotten is measured on phantoms: nothing is claimed about patients' cases."
CASES = "What must not be forgotten is measured on cases of {}."


class FinetuneSection:
    """Between the fine-tune view and its verbs."""

    def __init__(self, view: FinetuneView, verbs: FinetuneVerbs, context: Context) -> None:
        self._view, self._verbs, self._session = view, verbs, context.session
        form = view.form
        form.start_requested.connect(verbs.start)
        form.check_requested.connect(verbs.candidates.check)
        form.held_out_changed.connect(verbs.candidates.hold_out)
        form.setting_changed.connect(lambda name, value: verbs.choose(**{name: value}))
        form.anchors_requested.connect(self._ask_anchors)
        view.cancel_requested.connect(verbs.stop)
        view.resume_requested.connect(verbs.resume)
        view.use_requested.connect(self._use)
        view.roll_back_requested.connect(verbs.roll_back)
        view.lineage_requested.connect(verbs.show_lineage)
        view.fold.toggled.connect(self._unfolded)
        context.follow(verbs.found, view.unfold)
        context.follow(verbs.changed, self._show)
        context.follow(context.session.models_changed, self._show)
        self._show()

    def _unfolded(self, open_: bool) -> None:
        if open_:
            self._verbs.candidates.refresh()

    def _show(self) -> None:
        verbs = self._verbs
        self._view.form.show_form(self._form())
        self._view.show_run(run_shown(verbs))
        self._view.show_models(ModelsShown(verbs.default, verbs.previous, verbs.lineage))

    def _form(self) -> FormShown:
        verbs, session = self._verbs, self._session
        rows, chosen = verbs.rows, verbs.settings
        return FormShown(
            corrections=rows,
            counts=in_words(rows),
            checking=verbs.candidates.checking,
            models=tuple((m.name, m.name, card_in_words(m)) for m in session.models if m.card is not None),
            model=verbs.base,
            amount=chosen.amount,
            unit=chosen.unit,
            parts=chosen.parts,
            device=chosen.device,
            anchors=str(chosen.anchors or ""),
            claim=CASES.format(chosen.anchors.name) if chosen.anchors is not None else PHANTOMS,
            blocker=verbs.blocker,
            expected="" if verbs.blocker else verbs.expected,
            starting=verbs.running,
        )

    def _ask_anchors(self) -> None:
        start = str(self._verbs.settings.anchors or "")
        name = QFileDialog.getExistingDirectory(self._view, "Cases that must not be forgotten", start)
        if name:
            self._verbs.choose(anchors=Path(name))

    def _use(self) -> None:
        if not self._verbs.marked or self._sure():
            self._verbs.use()

    def _sure(self) -> bool:
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        made, verdict = self._verbs.made, self._verbs.marked
        why = " ".join(
            t for t in (f"Compared with the model it was made from, {made} is {verdict}.", self._verbs.cost) if t
        )
        question = f"{why} Use it all the same?"
        return bool(QMessageBox.question(self._view, "Use this model?", question, yes | no, no) == yes)


def run_shown(verbs: FinetuneVerbs) -> RunShown:
    """The run that is followed, or the last one."""
    run = verbs.run
    if run is None:
        return RunShown()
    curves = CurvesShown(tuple(run.loss), {r: tuple(p) for r, p in run.dice.items()}, run.steps, run.held_out)
    status, report = run.status, run.report
    if run.running:
        done = f"step {run.step:,} of {run.steps:,}" if run.steps and run.step else ""
        left = " · ".join(t for t in (done, left_in_words(status.seconds_left)) if t)
        names = {r.id: r.name for r in verbs.rows}
        notes = table.named(table.plan_in_words(run.plan), names) if run.plan is not None else ""
        return RunShown(True, verbs.stopping, status.stage, status.fraction, left, curves, notes=notes)
    shown = curves if run.loss else None
    if report is None:
        end = "stopped" if status.state == "stopped" else "failed"
        return RunShown(curves=shown, ended=ended_in_words(run), end=end, resumable=run.resumable)
    names = {r.id: r.name for r in verbs.rows}
    return RunShown(
        curves=shown,
        result=table.named(f"{verbs.made}: {report['words']}", names) + _few(verbs.few_steps),
        worse=bool(verbs.marked),
        groups=table.table(report, names),
        guard=table.guard_in_words(report),
        notes=table.named(table.notes_in_words(report), names),
        unproven=bool(verbs.few_steps),
        made=verbs.made,
        in_use=verbs.in_use,
    )


def _few(steps: int) -> str:
    if not steps:
        return ""
    return f" Only {steps} step{'s were' if steps > 1 else ' was'} done, which is too few to learn from: fine-tune for longer."


def ended_in_words(run: Run) -> str:
    """Why the last run has no result."""
    more = " Resume goes on from its last saved state." if run.resumable else " Fine-tune starts a new one."
    return f"The fine-tuning of {run.began:%H:%M} has no result. {run.why_it_ended()}{more}"


def left_in_words(seconds: float | None) -> str:
    """Of the training; "" while it is not known."""
    if seconds is None:
        return ""
    left = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    return f"about {left} of training left"
