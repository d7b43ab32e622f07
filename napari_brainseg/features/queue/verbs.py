"""The queue: studies that nobody has corrected yet, the one that the model doubts most first."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from psygnal import Signal

from brainseg_engine.core.events import Failed, Progress
from napari_brainseg.features.context import Context
from napari_brainseg.features.queue.entries import QueueEntry, QueueShown, find
from napari_brainseg.jobs import ScoreRequest, StudyScore
from napari_brainseg.session import Accepted, Kind


class QueueVerbs:
    """What the buttons of the queue section mean. Scores are computed one after the other while nothing else runs."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self._request: ScoreRequest | None = None
        self._model = ""  # whose scores are listed
        self.paused = True
        """No scores are to be computed."""
        self.folder: Path | None = None
        self.entries: tuple[QueueEntry, ...] = ()
        self.fraction = 0.0
        context.follow(context.session.job_changed, self._step_aside)
        context.follow(context.session.models_changed, self._other_model)
        context.follow(context.session.accepted, self._accepted)

    # --- what there is

    @property
    def ranked(self) -> list[QueueEntry]:
        """Those not corrected yet: the most doubted first, then those not scored yet, then those that cannot be."""
        waiting = [e for e in self.entries if not e.corrected]
        return sorted(waiting, key=lambda e: (bool(e.problem), e.score is None, -(e.score or 0.0), e.id))

    @property
    def corrected(self) -> int:
        """How many have been corrected."""
        return sum(e.corrected for e in self.entries)

    @property
    def scoring(self) -> QueueEntry | None:
        """The one whose score is being computed."""
        request = self._request
        return next((e for e in self.entries if request is not None and e.folder == request.folder), None)

    @property
    def shown(self) -> QueueShown:
        """The whole queue as it is shown."""
        return QueueShown(
            self.folder, tuple(self.ranked), self.corrected, len(self.entries), self.paused, self.scoring, self.fraction,
            self._here,
        )  # fmt: skip

    @property
    def _here(self) -> Path | None:
        """The folder of the study that is open."""
        current = self._session.study
        return current.study.folder.resolve() if current is not None and current.study.folder else None

    # --- what the buttons mean

    def open(self, folder: Path) -> None:
        """Take the studies in that folder as the queue, and rank them."""
        model = self._session.model
        work = partial(find, folder, model.path if model is not None else None, self._session.store)

        def done(entries: tuple[QueueEntry, ...]) -> None:
            self.folder, self.entries = folder, entries
            self._model = model.name if model is not None else ""
            self.paused = False
            if not entries:
                self._session.say(f"There is no study in {folder}.", Kind.WARNING)
            self._next_score()
            self.changed.emit()

        self._context.read(f"Looking through {folder.name} …", work, done)

    def pause(self, paused: bool) -> None:
        """Compute no more scores, or go on."""
        self.paused = paused
        if paused and self._request is not None:
            self._context.runner.cancel(self._request.id)
        else:
            self._next_score()
        self.changed.emit()

    def open_study(self, folder: Path) -> None:
        """Open that one."""
        self._session.open_requested.emit(folder)

    def next(self) -> None:
        """Open the most doubted study that has not been corrected and is not the one that is open."""
        if self.folder is None:
            self._session.say("Choose the folder of studies to correct first.", Kind.WARNING)
            return
        entry = next((e for e in self.ranked if e.folder.resolve() != self._here and not e.problem), None)
        if entry is None:
            self._session.say("The queue is done: every study in it has been corrected.", Kind.GOOD)
        else:
            self.open_study(entry.folder)

    def _accepted(self, accepted: Accepted) -> None:
        """A correction was accepted: its study leaves the queue."""
        folder = accepted.folder  # another study may be open by now
        here = folder.resolve() if folder is not None else None
        self.entries = tuple(
            replace(e, corrected=True)
            if e.key == accepted.correction.study or (here is not None and e.folder.resolve() == here)
            else e
            for e in self.entries
        )
        self.changed.emit()

    # --- scores

    def _next_score(self) -> None:
        model = self._session.model
        if self.paused or self._request is not None or self._session.job is not None or model is None or not model.card:
            return
        entry = next((e for e in self.entries if e.score is None and not e.problem and not e.corrected), None)
        if entry is not None:
            self._request = ScoreRequest(entry.folder, entry.files, model.path, self._session.device)
            self.fraction = 0.0
            self._context.runner.submit(self._request, _Scoring(self, self._request))

    def progress(self, request: ScoreRequest, fraction: float) -> None:
        """A score is that far."""
        if self._request is request:
            self.fraction = fraction
            self.changed.emit()

    def scored(self, request: ScoreRequest, outcome: StudyScore) -> None:
        """A score has come."""
        if self._request is request:
            corrected = outcome.key in self._session.store.latest()
            self._end(request, key=outcome.key, score=float(outcome.score["score"]), corrected=corrected)

    def failed(self, request: ScoreRequest, event: Failed) -> None:
        """A score has not come. One that was cancelled is asked for again later."""
        if self._request is request:
            self._end(request, **({} if event.cancelled else {"problem": event.message}))

    def _end(self, request: ScoreRequest, **what: object) -> None:
        self._request = None
        self._change(request, **what)
        self._next_score()
        self.changed.emit()

    def _change(self, request: ScoreRequest, **what: object) -> None:
        self.entries = tuple(replace(e, **what) if e.folder == request.folder else e for e in self.entries)  # type: ignore[arg-type]

    def _step_aside(self) -> None:
        """A person's job goes first; the score is computed again afterwards."""
        if self._session.job is not None and self._request is not None:
            self._context.runner.cancel(self._request.id)
        elif self._session.job is None:
            self._next_score()

    def _other_model(self) -> None:
        """Another model doubts other studies."""
        model = self._session.model
        if self.folder is not None and model is not None and model.name != self._model:
            if self._request is not None:
                self._context.runner.cancel(self._request.id)
            self.open(self.folder)


class _Scoring:
    """The listener of one score."""

    def __init__(self, queue: QueueVerbs, request: ScoreRequest) -> None:
        self._queue, self._request = queue, request

    def progress(self, event: Progress) -> None:
        """See ``jobs.Listener``."""
        self._queue.progress(self._request, event.fraction)

    def finished(self, outcome: StudyScore) -> None:
        """See ``jobs.Listener``."""
        self._queue.scored(self._request, outcome)

    def failed(self, event: Failed) -> None:
        """See ``jobs.Listener``."""
        self._queue.failed(self._request, event)
