"""The queue: studies that nobody has corrected yet, the one that the model doubts most first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.core.study import Modality
from napari_brainseg.features.corrections.verbs import Keeping
from napari_brainseg.features.segment.verbs import Segmenting
from napari_brainseg.jobs import ScoreJob, StudyScore
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from brainseg_engine.corrections import Correction


@dataclass(frozen=True)
class Entry:
    """One study of the queue. ``score``: how much the model doubts it, None while it is not known; ``key`` likewise "".

    ``problem`` says why it cannot be scored; ``corrected``: an accepted correction is in the store.
    """

    folder: Path
    id: str
    files: Mapping[Modality, Path]
    key: str = ""
    score: float | None = None
    problem: str = ""
    corrected: bool = False


class Queue:
    """The verbs of the queue section. Scores are computed one after the other while nothing else runs."""

    changed = Signal()

    def __init__(self, actions: Segmenting, keeping: Keeping) -> None:
        self._actions = actions
        self._keeping = keeping
        self._session = actions.session
        self._job: ScoreJob | None = None
        self._paused = True
        self._model = ""  # whose scores are listed
        self.folder: Path | None = None
        self.entries: tuple[Entry, ...] = ()
        self.fraction = 0.0
        self._session.job_changed.connect(self._step_aside)
        self._session.models_changed.connect(self._other_model)

    def close(self) -> None:
        """Follow nothing more."""
        self._session.job_changed.disconnect(self._step_aside)
        self._session.models_changed.disconnect(self._other_model)

    # --- what there is

    @property
    def ranked(self) -> list[Entry]:
        """Those not corrected yet: the most doubted first, then those not scored yet, then those that cannot be."""
        waiting = [e for e in self.entries if not e.corrected]
        return sorted(waiting, key=lambda e: (bool(e.problem), e.score is None, -(e.score or 0.0), e.id))

    @property
    def corrected(self) -> int:
        """How many have been corrected."""
        return sum(e.corrected for e in self.entries)

    @property
    def scoring(self) -> Entry | None:
        """The one whose score is being computed."""
        job = self._job
        return next((e for e in self.entries if job is not None and e.folder == job.folder), None)

    # --- what the buttons mean

    def open(self, folder: Path) -> None:
        """Take the studies in that folder as the queue, and rank them."""
        model = self._session.model
        work = partial(find, folder, model.path if model is not None else None, self._keeping.store)

        def done(entries: tuple[Entry, ...]) -> None:
            self.folder, self.entries = folder, entries
            self._model = model.name if model is not None else ""
            self._paused = False
            if not entries:
                self._session.say(f"There is no study in {folder}.", Kind.WARNING)
            self._next_score()
            self.changed.emit()

        self._actions._read(f"Looking through {folder.name} …", work, done)

    def pause(self, paused: bool) -> None:
        """Compute no more scores, or go on."""
        self._paused = paused
        if paused and self._job is not None:
            self._actions._runner.cancel(self._job.id)
        else:
            self._next_score()
        self.changed.emit()

    @property
    def paused(self) -> bool:
        """True when no scores are to be computed."""
        return self._paused

    def open_study(self, folder: Path) -> None:
        """Open that one."""
        self._actions.open(folder)

    def next(self) -> None:
        """Open the most doubted study that has not been corrected and is not the one that is open."""
        if self.folder is None:
            self._session.say("Choose the folder of studies to correct first.", Kind.WARNING)
            return
        current = self._session.study
        here = current.study.folder.resolve() if current is not None and current.study.folder else None
        entry = next((e for e in self.ranked if e.folder.resolve() != here and not e.problem), None)
        if entry is None:
            self._session.say("The queue is done: every study in it has been corrected.", Kind.GOOD)
        else:
            self.open_study(entry.folder)

    def accepted(self, made: Correction) -> None:
        """A correction was accepted: its study leaves the queue."""
        folder = self._keeping.folder_of(made)  # another study may be open by now
        here = folder.resolve() if folder is not None else None
        self.entries = tuple(
            replace(e, corrected=True)
            if e.key == made.study or (here is not None and e.folder.resolve() == here)
            else e
            for e in self.entries
        )
        self.changed.emit()

    # --- scores (jobs.Asker)

    def _next_score(self) -> None:
        model = self._session.model
        if self._paused or self._job is not None or self._session.job is not None or model is None or not model.card:
            return
        entry = next((e for e in self.entries if e.score is None and not e.problem and not e.corrected), None)
        if entry is not None:
            self._job = ScoreJob(entry.folder, entry.files, model.path, self._session.device)
            self.fraction = 0.0
            self._actions._runner.score(self._job, self)

    def progress(self, job: ScoreJob, event: Progress) -> None:
        """See ``jobs.Asker``."""
        if self._job is job:
            self.fraction = event.fraction
            self.changed.emit()

    def finished(self, job: ScoreJob, outcome: StudyScore) -> None:
        """See ``jobs.Asker``."""
        if self._job is job:
            self._job = None
            done = self._keeping.store.latest()
            self._change(job, key=outcome.key, score=float(outcome.score["score"]), corrected=outcome.key in done)
            self._next_score()
            self.changed.emit()

    def failed(self, job: ScoreJob, event: Failed) -> None:
        """See ``jobs.Asker``. A cancelled one is asked for again later."""
        if self._job is job:
            self._job = None
            if not event.cancelled:
                self._change(job, problem=event.message)
            self._next_score()
            self.changed.emit()

    def _change(self, job: ScoreJob, **what: object) -> None:
        self.entries = tuple(replace(e, **what) if e.folder == job.folder else e for e in self.entries)  # type: ignore[arg-type]

    def _step_aside(self) -> None:
        """A person's job goes first; the score is computed again afterwards."""
        if self._session.job is not None and self._job is not None:
            self._actions._runner.cancel(self._job.id)
        elif self._session.job is None:
            self._next_score()

    def _other_model(self) -> None:
        """Another model doubts other studies."""
        model = self._session.model
        if self.folder is not None and model is not None and model.name != self._model:
            if self._job is not None:
                self._actions._runner.cancel(self._job.id)
            self.open(self.folder)


def find(folder: Path, model: Path | None, store: object) -> tuple[Entry, ...]:
    """The studies at or below the folder, with what is known of them. No image is read."""
    from brainseg_engine.corrections import Store
    from brainseg_engine.inference import uncertainty
    from brainseg_engine.io import find_series, find_studies

    scores = uncertainty.Scores(uncertainty.model_hash(model), "one") if model is not None else None
    done = store.latest() if isinstance(store, Store) else {}
    found = []
    for study in find_studies(folder):
        try:
            series = find_series(study)
        except BrainsegError as e:
            found.append(Entry(study, study.name, {}, problem=str(e)))
            continue
        key = uncertainty.known_key(list(series.files.values()))
        known = scores.get(key) if scores is not None and key else None
        problem = " ".join(series.problems)
        found.append(
            Entry(study, series.id, series.files, key, known.score if known else None, problem, corrected=key in done)
        )
    return tuple(found)
