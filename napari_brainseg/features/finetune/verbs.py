"""Fine-tuning: what to learn from, starting a process of its own, following it, and using what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from brainseg_engine import models
from brainseg_engine.core.errors import BrainsegError, CheckpointError
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import check_writable
from brainseg_engine.finetune import FinetuneOptions, ask_to_stop, command, runs, runs_home, status_of
from brainseg_engine.finetune.status import STOP
from brainseg_engine.finetune.usable import share_of
from brainseg_engine.finetune.verdict import LEAST_STEPS, MARKED
from napari_brainseg.features.context import Context
from napari_brainseg.features.finetune import candidates, table
from napari_brainseg.features.finetune.candidates import Candidate
from napari_brainseg.features.finetune.listing import CandidateList
from napari_brainseg.features.finetune.run import Run, new_folder
from napari_brainseg.features.finetune.settings import RunSettings
from napari_brainseg.jobs.detached import launch
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from brainseg_engine.models.checkpoint import Card

POLL_S = 0.5
"""How often a run is looked at."""
ROOM = 6
"""Free space wanted for a run, in sizes of its base model: weights, states to resume from, the new model twice."""
Launcher = Callable[[Sequence[str], Path], object]


class FinetuneVerbs:
    """What the buttons of the fine-tune section mean. ``changed``: there is something else to show.

    ``default`` is the model that is used where none is named, ``previous`` what a roll back would return to; "" for none.
    """

    changed = Signal()
    found = Signal()
    """A run of an earlier window is there, which runs or has ended since."""

    def __init__(self, context: Context, launcher: Launcher = launch) -> None:
        self._context, self._session = context, context.session
        self._launch = launcher
        self._starting = False
        self._stop_wanted = False
        self._clock = context.later(POLL_S, self.poll, again=True)
        self.candidates = CandidateList(context)
        self.settings = RunSettings()
        self.default = self.previous = ""
        self.run: Run | None = None
        self.lineage = ""
        context.follow(self.candidates.changed, self.changed.emit)
        context.follow(self.changed, self._keep_time)

    def close(self) -> None:
        """Follow nothing more. A run goes on: the next start finds it."""
        self.candidates.close()

    # --- what to learn from, and how

    @property
    def rows(self) -> tuple[Candidate, ...]:
        """The corrections, as the chosen model could learn from them."""
        return self.candidates.rows(self._card())

    @property
    def base(self) -> str:
        """The name of the model to start from."""
        return self.settings.model or self.default

    @property
    def blocker(self) -> str:
        """Why no run can be started, in words; "" when one can."""
        if self.candidates.store is None:
            return "The corrections are being listed …"
        if self._card() is None:
            return f"The model {self.base} cannot be used; choose another." if self.base else "No model is installed."
        return candidates.blocker(self.rows, self.candidates.store)

    def choose(self, **what: Any) -> None:
        """Change settings by name."""
        self.settings = replace(self.settings, **what)
        self.changed.emit()

    def _card(self) -> Card | None:
        named = [m for m in self._session.models if m.name == self.base]
        return named[-1].card if named else None

    # --- a run

    @property
    def running(self) -> bool:
        """True while a run is followed that works, or one is being started."""
        return self._starting or (self.run is not None and self.run.running)

    @property
    def stopping(self) -> bool:
        """True once the run was asked to stop."""
        return self.run is not None and self.run.running and (self._stop_wanted or self.run.stopping)

    def start(self) -> None:
        """Start a run in a process of its own."""
        if self.running:
            return
        if self.blocker:
            self._session.say(self.blocker, Kind.WARNING)
            return
        chosen, store = self.settings, self._session.store
        path = next(m.path for m in reversed(self._session.models) if m.name == self.base)

        def options() -> FinetuneOptions:
            check_writable(runs_home(), ROOM * _size(path))
            return FinetuneOptions(
                new_folder(), str(path), store.path, chosen.anchors, parts=chosen.parts, device=chosen.device,
                minutes=chosen.amount if chosen.unit == "minutes" else None,
                epochs=max(1, round(chosen.amount)) if chosen.unit == "epochs" else None,
            )  # fmt: skip

        self._begin(options)

    def resume(self) -> None:
        """Go on with a run that ended before its end."""
        if self.run is not None and self.run.resumable and not self.running:
            options = FinetuneOptions(self.run.folder, resume=True, device=self.settings.device)
            self._begin(lambda: options)

    def stop(self) -> None:
        """The run ends by itself after its present step, and can be resumed."""
        if self.run is not None and self.run.running:
            self._stop_wanted = True
            self._ask_to_stop(self.run)
            self.changed.emit()

    def find(self) -> None:
        """Look for a run of an earlier window, and which model is the default."""

        def work() -> tuple[Run | None, str, str]:
            runs_there = (Run.of(folder) for folder in runs())
            return next((run for run in runs_there if run is not None), None), *_defaults()

        def done(found: tuple[Run | None, str, str]) -> None:
            run, self.default, self.previous = found
            if self.run is None and run is not None:
                self._attach(run)
            self.changed.emit()

        self._context.run(work, done)

    def _keep_time(self) -> None:
        if self.running and not self._clock.active:
            self._clock.start()
        elif not self.running:
            self._clock.stop()

    def poll(self) -> bool:
        """Take in what the run reports; returns whether anything is new. Quick: a few small files."""
        run = self.run
        if run is None or not run.running:
            return False
        planned = run.plan is not None
        new = run.read()
        if not planned and run.plan is not None:
            self.candidates.refresh()  # what it held out stands in the store
        if run.status.state != "running":
            self._ended(run)
        elif self._stop_wanted and not run.stopping:
            self._ask_to_stop(run)  # a process that was only starting has cleared it away
        if new:
            self.changed.emit()
        return new

    def _begin(self, made: Callable[[], FinetuneOptions]) -> None:
        """Start a process for the options that ``made`` gives (not in the GUI thread), unless one runs already."""
        self._starting, self._stop_wanted = True, False
        begin = self._launch

        def work() -> tuple[bool, Run | None]:
            check_writable(runs_home())
            with held(runs_home() / ".lock"):  # of two windows the second finds what the first one started
                other = next((f for f in runs() if (s := status_of(f)) is not None and s.state == "running"), None)
                if other is not None:
                    return False, Run.of(other)
                options = made()
                (options.out / STOP).unlink(missing_ok=True)
                begin(command(options), options.out)
                return True, Run.of(options.out)

        def done(answer: tuple[bool, Run | None]) -> None:
            begun, run = answer
            self._starting, self.run = False, run
            if begun:
                self._session.say("")
            else:
                self._session.say("A fine-tuning runs already: here it is.", Kind.WARNING)
            self.changed.emit()

        def failed(error: Exception) -> None:
            self._starting = False
            self._context.fail(error)
            self.changed.emit()

        self._context.run(work, done, failed)
        self.changed.emit()

    def _ask_to_stop(self, run: Run) -> None:
        try:
            ask_to_stop(run.folder)
        except BrainsegError as e:
            self._session.say(str(e), Kind.ERROR)

    def _attach(self, run: Run) -> None:
        """Follow the newest run of an earlier window."""
        self.run = run
        anchors = run.plan.settings.get("anchors") if run.plan is not None else None
        if anchors:
            self._propose_anchors(Path(anchors))
        if run.running or not run.seen:
            self.found.emit()
        if run.running:
            self._session.say(f"The fine-tuning of {run.began:%H:%M} is still running: see Fine-tune, below.")
        elif not run.seen:
            self._report(run)

    def _propose_anchors(self, folder: Path) -> None:
        """Those of the last run are those of the next, where they are still there; a network folder may be long in answering."""

        def done(there: bool) -> None:
            if there and self.settings.anchors is None:
                self.choose(anchors=folder)

        self._context.run(folder.is_dir, done)

    def _ended(self, run: Run) -> None:
        self._stop_wanted = False
        self._session.models_stale.emit()
        self.candidates.refresh()
        self._report(run)

    def _report(self, run: Run) -> None:
        """Say how it ended, once."""
        when = f"The fine-tuning of {run.began:%H:%M}"
        state, report = run.status.state, run.report
        if report is not None:
            kind = Kind.WARNING if report["verdict"] in MARKED else Kind.GOOD
            self._session.say(f"{when} is done. {report['words']}", kind)
        elif state == "done":
            self._session.say(f"{when} is done, but its report in {run.folder} cannot be read.", Kind.ERROR)
        else:
            kind = Kind.INFO if state == "stopped" else Kind.ERROR
            self._session.say(f"{when} has not come to its end. {run.why_it_ended()}", kind)
        try:
            run.mark_seen()
        except BrainsegError as e:
            self._session.say(str(e), Kind.WARNING)

    # --- what came of it

    @property
    def made(self) -> str:
        """The name of the run's new model, "" while there is none."""
        return str(self.run.report["model"]["name"]) if self.run is not None and self.run.report is not None else ""

    @property
    def marked(self) -> str:
        """The verdict when the new model is worse on some cases than the one it was made from, else ""; asked before ``use``."""
        verdict = str(self.run.report["verdict"]) if self.run is not None and self.run.report is not None else ""
        return verdict if verdict in MARKED else ""

    @property
    def few_steps(self) -> int:
        """How many steps the new model was trained for, where that is too few to learn from; else 0."""
        report = self.run.report if self.run is not None else None
        training = report.get("training") if report is not None else None
        steps = training.get("steps") if isinstance(training, dict) else None
        return steps if isinstance(steps, int) and 0 < steps < LEAST_STEPS else 0

    @property
    def expected(self) -> str:
        """How long a run will take, before it is started."""
        usable = [r for r in self.rows if r.usable]
        held = sum(r.held_out for r in usable) or share_of(len({r.patient for r in usable}))
        chosen, answer = self.settings, self._session.answer
        spent = answer.notes.get("seconds") if answer is not None else None
        network = spent.get("network") if isinstance(spent, Mapping) else None
        minutes = chosen.amount if chosen.unit == "minutes" else None
        return table.expected_in_words(
            len(usable) - held,
            held + table.ANCHORS,
            minutes,
            float(network) if isinstance(network, int | float) else None,
        )

    @property
    def cost(self) -> str:
        """What a marked model loses, in sentences; "" for one that is not marked."""
        return table.cost_in_words(self.run.report) if self.marked and self.run is not None and self.run.report else ""

    @property
    def in_use(self) -> bool:
        """True when the new model is the default, and chosen in this window."""
        chosen = self._session.model
        return bool(self.made) and self.default == self.made and chosen is not None and chosen.name == self.made

    def use(self) -> None:
        """Use the new model where none is named, and in this window."""
        name = self.made
        if name:
            self._switch(lambda: models.choose_default(name), f"{name} is used from now on.")

    def roll_back(self) -> None:
        """Use the model again that was the default before."""
        self._switch(models.roll_back, f"Back to {self.previous}.")

    def _switch(self, change: Callable[[], object], words: str) -> None:
        def work() -> tuple[tuple[models.ModelInfo, ...], str, str]:
            change()
            return tuple(models.installed()), *_defaults()

        def done(answer: tuple[tuple[models.ModelInfo, ...], str, str]) -> None:
            installed, self.default, self.previous = answer
            self.lineage = ""
            self._session.set_models(installed)
            self._session.choose(model=self.default)
            self._session.say(words, Kind.GOOD)
            self.changed.emit()

        self._context.run(work, done)

    def show_lineage(self, shown: bool = True) -> None:
        """Look up where the new model (else the default one) comes from."""

        def done(line: list[models.Ancestor]) -> None:
            self.lineage = table.lineage_in_words(line)
            self.changed.emit()

        if not shown:
            self.lineage = ""
            self.changed.emit()
        elif name := self.made or self.default:
            self._context.run(lambda: models.lineage(name), done)


def _size(model: Path) -> int:
    """Of the file, in bytes. Raises CheckpointError where it is gone."""
    try:
        return model.stat().st_size
    except OSError as e:
        raise CheckpointError(
            f"The model file {model} cannot be read: {e.strerror or e}. Choose another, or put it back."
        ) from e


def _defaults() -> tuple[str, str]:
    """(the default model, what a roll back would return to), "" for none."""
    try:
        return models.default(), models.before_default()
    except BrainsegError:
        return "", ""
