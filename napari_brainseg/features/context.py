"""What every feature is given: the state, the viewer, and how work is done, followed and reported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from psygnal import Signal

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.events import Failed, Progress
from napari_brainseg.display import history, layers
from napari_brainseg.display.brush import Brush
from napari_brainseg.display.replacement import Replacement
from napari_brainseg.jobs import Aside, Runner, StudyRequest, here
from napari_brainseg.session import JobState, Kind, Session

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from brainseg_engine.core.labels import Mask
    from brainseg_engine.core.study import Modality, Study

_log = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")


class Background(Protocol):
    """Runs ``work`` elsewhere, then ``done(result)`` or ``failed(error)`` on the GUI thread."""

    def __call__(  # noqa: D102
        self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None], /
    ) -> None: ...


class Timer(Protocol):
    """A call some time after ``start``."""

    @property
    def active(self) -> bool:
        """True from ``start`` to the call; of a repeated one until ``stop``."""

    def start(self, seconds: float | None = None) -> None:
        """Wait anew: that long, else as long as it was made for."""

    def stop(self) -> None:
        """Call no more."""


MakeTimer = Callable[[float, Callable[[], object], bool], Timer]
"""(seconds, what to call, whether again and again) → a timer that does not run yet."""


@dataclass(frozen=True, eq=False)
class Easel:
    """Another labels layer to paint on than that of the open study: over the series of ``study``, on their grid. ``brain``: where
    the brain is, ``reach``: where it may be painted at all, both in the layer's axis order."""

    layer: Labels
    study: Study
    brain: Mask
    reach: Mask


class Newest:
    """Of several that were asked for one after the other only the newest counts."""

    def __init__(self) -> None:
        self._generation = 0

    def next(self) -> Callable[[], bool]:
        """One more is asked for. The function returned tells whether it is the newest still, in any thread."""
        self._generation += 1
        mine = self._generation
        return lambda: mine == self._generation


class Context:
    """One per panel. What is followed by ``follow`` and ``later`` ends with ``close``."""

    labels_changed = Signal()
    """Another labels layer than before is that of the open study, or none."""
    aligned_wanted = Signal()
    """What is to be shown lies on the grid of the open study: a series that is read as acquired is left for it."""
    easel_changed = Signal()
    """Painting is done on another layer than before: see ``easel``."""
    labels_edited = Signal()
    """The labels layer of the open study was edited, in any way: by hand, by code, by undo."""

    def __init__(
        self,
        session: Session,
        viewer: ViewerModel,
        runner: Runner,
        background: Background,
        timer: MakeTimer,
        saving: Background | None = None,
        aside: Aside = here,
    ) -> None:
        self.session, self.viewer, self.runner = session, viewer, runner
        self.brush = Brush(viewer)
        self.background = background
        self.save = saving or background
        """As ``run``, where nothing else may hold it up; what waits there is still done when the window closes."""
        self.aside = aside
        """Python work of seconds, called in the background: where it does not hold the window up."""
        self._make_timer = timer
        self._timers: list[Timer] = []
        self._followed: dict[object, Callable[[], None]] = {}
        self._own = 0
        self.prepared: Replacement | None = None
        self._reading = Newest()
        self._easel: Easel | None = None
        self.read_as_acquired: tuple[Modality, Image] | None = None
        """The series that is read as acquired, in place of the images of the study."""
        self._edits = history.Follower(self._on_edit)
        self.follow(self.brush.edited, session.edited.emit)
        self.follow(session.study_changed, self._find_labels)
        self.follow(viewer.layers.events.inserted, self._find_labels)
        self.follow(viewer.layers.events.removed, self._find_labels)

    # --- the labels layer

    @property
    def labels(self) -> Labels | None:
        """The labels layer of the open study."""
        current = self.session.study
        found = layers.labels_layers(self.viewer, current.study.id) if current is not None else []
        return found[0] if found else None

    @property
    def easel(self) -> Easel | None:
        """Where painting is done, when that is not the labels layer of the open study."""
        return self._easel

    @easel.setter
    def easel(self, value: Easel | None) -> None:
        if value is not self._easel:
            self._easel = value
            self.easel_changed.emit()

    @property
    def seen_labels(self) -> Labels | None:
        """The labels that are looked at: those over a series as acquired, else those of the open study."""
        return self.labels if self._easel is None else self._easel.layer

    def show_aligned(self) -> None:
        """Leave a series that is read as acquired: what comes lies in the world of the open study."""
        if self.read_as_acquired is not None:
            self.aligned_wanted.emit()

    def _find_labels(self, event: object = None) -> None:
        labels = self.labels
        if labels is not self._edits.layer:
            self._edits.follow(labels)
            self.labels_changed.emit()

    def _on_edit(self, event: object = None) -> None:
        self.labels_edited.emit()

    @property
    def changing_layers(self) -> bool:
        """True while layers come and go, or are written, by our own doing."""
        return self._own > 0

    @contextmanager
    def own_changes(self) -> Iterator[None]:
        """What happens to layers in here is our own doing, not a person's."""
        self._own += 1
        try:
            yield
        finally:
            self._own -= 1

    @contextmanager
    def showing(self, prepared: Replacement) -> Iterator[None]:
        """What is delivered to the session in here need not be compared with its layer once more."""
        self.prepared = prepared
        try:
            with self.own_changes():
                yield
        finally:
            self.prepared = None

    # --- work in the background

    def run(
        self,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
        *,
        current: Callable[[], bool] = lambda: True,
    ) -> None:
        """Do ``work`` in the background, then ``done``, or ``failed`` (by default the error is shown).

        Nothing comes of it when it is not ``current`` by then: see :class:`Newest`.
        """

        def finish(result: T) -> None:
            if current():
                done(result)

        def fail(error: Exception) -> None:
            if current():
                (failed or self.fail)(error)

        self.background(work, finish, fail)

    def read(
        self,
        words: str,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """As ``run``, with words for the message area meanwhile. Of several only the last one asked for counts."""
        session = self.session
        session.reading = words

        def finish(result: T) -> None:
            session.reading = ""
            done(result)

        def fail(error: Exception) -> None:
            session.reading = ""
            (failed or self.fail)(error)

        self.run(work, finish, fail, current=self._reading.next())

    def fail(self, error: Exception) -> None:
        """Say what went wrong; everything stays as it was."""
        self.session.say(self.sentence(error), Kind.ERROR)

    @staticmethod
    def sentence(error: Exception) -> str:
        """What went wrong, in words; what nobody expected goes into the log."""
        if isinstance(error, BrainsegError):
            return str(error)
        _log.error("unexpected", exc_info=error)
        what = f"{type(error).__name__}: {error}"
        return f"This did not work ({what}). Nothing was changed; the log has the details."

    # --- the one job that a person waits for

    def submit(
        self,
        request: StudyRequest,
        finished: Callable[[U], None],
        *,
        prepare: Callable[[Any], Callable[[], U]] | None = None,
        failed: Callable[[Failed], None] | None = None,
        stage: str = "starting",
        where: str = "segment",
        stages: Mapping[str, str] | None = None,
    ) -> None:
        """Have the worker answer, and show how far it is. To be asked while no other job runs.

        ``prepare(outcome)`` gives work for the background that makes what ``finished`` gets; without it that gets the outcome.
        When ``finished`` or ``failed`` is called, the job has ended. ``stages``: other words for some of the worker's.
        """
        session = self.session
        session.job = JobState(request.id, request.token, request.study.id, stage, where=where)
        self.runner.submit(
            request, _Slot(self, request.id, prepare, finished, failed or self._say_failed, stages or {})
        )

    def cancel(self) -> None:
        """Stop the job that runs."""
        if self.session.job is not None:
            self.runner.cancel(self.session.job.id)

    def end(self, request_id: str) -> None:
        """That job has ended."""
        if self.session.job is not None and self.session.job.id == request_id:
            self.session.job = None

    def _say_failed(self, event: Failed) -> None:
        self.session.say(event.message, Kind.INFO if event.cancelled else Kind.ERROR)

    # --- following

    def follow(self, signal: Any, slot: Callable[..., object], **how: Any) -> Callable[[], None]:
        """Call ``slot`` whenever the signal (psygnal's, or napari's) is emitted, until the panel goes, or until the
        function returned is called.
        """
        signal.connect(slot, **how)
        mine = object()

        def drop() -> None:
            if self._followed.pop(mine, None) is not None:
                signal.disconnect(slot)

        self._followed[mine] = drop
        return drop

    def later(self, seconds: float, call: Callable[[], object], again: bool = False) -> Timer:
        """A timer: ``call`` that long after its start, ``again`` and again if asked for."""
        timer = self._make_timer(seconds, call, again)
        self._timers.append(timer)
        return timer

    def close(self) -> None:
        """Follow nothing more, whatever of it is gone already."""
        with ExitStack() as rest:
            rest.callback(self._edits.follow, None)
            for drop in list(self._followed.values()):
                rest.callback(drop)
            for timer in self._timers:
                rest.callback(timer.stop)


class _Slot:
    """Follows one job from its claim to its end."""

    def __init__(
        self,
        context: Context,
        id: str,
        prepare: Callable[[Any], Callable[[], Any]] | None,
        finished: Callable[[Any], None],
        failed: Callable[[Failed], None],
        stages: Mapping[str, str],
    ) -> None:
        self._context, self._id = context, id
        self._prepare, self._finished, self._failed, self._stages = prepare, finished, failed, stages

    def progress(self, event: Progress) -> None:
        """See ``jobs.Listener``."""
        session = self._context.session
        if session.job is not None and session.job.id == self._id:
            stage = self._stages.get(event.stage, event.stage)
            session.job = replace(session.job, stage=stage, fraction=event.fraction, seconds_left=event.seconds_left)

    def finished(self, outcome: Any) -> None:
        """See ``jobs.Listener``."""

        def done(prepared: Any) -> None:
            self._context.end(self._id)
            self._finished(prepared)

        def lost(error: Exception) -> None:
            self._context.end(self._id)
            self._failed(Failed(self._id, self._context.sentence(error)))

        if self._prepare is None:
            done(outcome)
        else:
            self._context.run(self._prepare(outcome), done, lost)

    def failed(self, event: Failed) -> None:
        """See ``jobs.Listener``."""
        self._context.end(self._id)
        self._failed(event)
