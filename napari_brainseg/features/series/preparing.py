"""The one step that makes series as acquired ready to be segmented: from the press to the open study, and what it leaves."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.events import Failed
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io.found import UnpackedFolder
from napari_brainseg.display import layers
from napari_brainseg.features.context import Context, Newest
from napari_brainseg.features.series import listing
from napari_brainseg.jobs import PrepareRequest
from napari_brainseg.session import Answer, JobState, Kind, OpenStudy, Placing

if TYPE_CHECKING:
    from brainseg_engine.prepare import Prepared
    from brainseg_engine.studies.incoming import Incoming

T = TypeVar("T")
Made = Callable[["Prepared"], None]
"""Hears of a preparation just before its study is opened."""
WHERE = "series"
"""The section that shows how far the preparation is."""
_READING = "reading the series"
_LEAVE_S = 2.0
"""By then a worker that was told to stop writes no more."""


class Preparations:
    """Prepares one study after the other, each in a working place of its own that goes when it has ended."""

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self.working: UnpackedFolder | None = None
        """Where the preparation that runs writes."""
        self._left: list[UnpackedFolder] = []
        self._tidying = context.later(_LEAVE_S, self._tidy)
        self._reading = Newest()

    @property
    def busy(self) -> bool:
        """True while series are prepared."""
        job = self._session.job
        return job is not None and job.where == WHERE

    def prepare(
        self, listed: listing.FoundVisits, incoming: Incoming, brain: str, made: Made, *, anew: bool = False
    ) -> None:
        """Align the chosen series, find the brain by that method, and open the result. Where just that was done before, what
        was made then is opened, unless it is wanted ``anew``. Asked for while no other job runs."""
        opened = partial(self._open, made)

        def go(working: UnpackedFolder, raw: listing.Raw, request_id: str) -> None:
            if raw.kept is None or anew:
                study = listing.nameless(raw.study)
                self._submit(working, PrepareRequest(study, "", working.folder, brain, id=request_id), raw, opened)
            else:
                self._reopen(working, raw, raw.kept, request_id, opened)

        self._start(lambda _: listing.raw(listed, incoming, brain, self._context.aside), go)

    def place(self, current: OpenStudy, placing: Placing, made: Made) -> None:
        """Prepare that study, which is open, anew, its series placed so, its brain mask as it is; labels are carried over."""
        if self._session.job is not None:
            return

        def go(working: UnpackedFolder, read: tuple[listing.Raw, Path], request_id: str) -> None:
            raw, brain = read
            request = PrepareRequest(
                listing.nameless(raw.study), "", working.folder, brain, placing.placed, placing.starts, request_id
            )
            self._submit(working, request, raw, partial(self._replace, current, made))

        self._start(lambda working: listing.placed_anew(current, placing, working.folder), go)

    def _start(self, read: Callable[[UnpackedFolder], T], go: Callable[[UnpackedFolder, T, str], None]) -> None:
        """Begin a preparation: ``read`` in the background, then ``go(working place, what was read, id of the job)``."""
        try:
            working = listing.workspace()
        except BrainsegError as e:
            self._context.fail(e)
            return
        self.working = working
        self._session.say("")
        request_id = uuid.uuid4().hex
        self._session.job = JobState(request_id, "", listing.NAME, _READING, where=WHERE)

        def failed(error: Exception) -> None:
            self._end(working, request_id)
            self._context.fail(error)

        self._context.run(
            lambda: read(working), lambda made: go(working, made, request_id), failed, current=self._reading.next()
        )

    def _reopen(
        self,
        working: UnpackedFolder,
        raw: listing.Raw,
        folder: Path,
        request_id: str,
        opened: Callable[[OpenStudy], None],
    ) -> None:
        def done(study: OpenStudy) -> None:
            self._end(working, request_id)
            opened(study)
            if not self._session.message or self._session.message.kind is not Kind.WARNING:
                self._session.say(
                    f"{study.study.id} was prepared before and is open as it was. 'Prepare again' makes it anew.",
                    Kind.GOOD,
                )

        def failed(error: Exception) -> None:
            self._end(working, request_id)
            self._context.fail(error)

        self._context.run(
            partial(listing.prepared_study, folder, raw), done, failed, current=lambda: self.working is working
        )

    def _submit(
        self,
        working: UnpackedFolder,
        request: PrepareRequest,
        raw: listing.Raw,
        opened: Callable[[OpenStudy], None],
    ) -> None:
        def load(folder: Path) -> Callable[[], OpenStudy]:
            return partial(listing.kept_study, folder, raw)

        def done(study: OpenStudy) -> None:
            self._end(working)
            opened(study)

        self._context.submit(
            request, done, prepare=load, failed=partial(self._failed, working), stage="checking", where=WHERE
        )

    def _open(self, made: Made, study: OpenStudy) -> None:
        if study.acquired is None:
            return
        made(study.acquired.prepared)
        self._session.prepared.emit(study)
        doubtful = study.acquired.prepared.doubtful
        if doubtful:
            names = " and ".join(m.title for m in doubtful)
            self._session.say(
                f"Look whether {names} lies on the others: its alignment is doubtful. 'Check alignment' shows it.",
                Kind.WARNING,
            )

    def _replace(self, before: OpenStudy, made: Made, study: OpenStudy) -> None:
        """In place of the former preparation; its labels, which may be somebody's work, come along."""
        layer = self._context.labels if self._session.study is before else None
        labels, made_by = (layers.snapshot(layer), self._session.answer) if layer is not None else (None, None)
        self._open(made, study)
        if labels is None or study.token == before.token:
            return

        def done(carried: Segmentation) -> None:
            if self._session.study is study and self._session.answer is None:
                answer = made_by or Answer.of(carried)
                with self._context.own_changes():
                    self._session.deliver(
                        replace(
                            answer,
                            segmentation=carried,
                            edited=True,
                            base=None,
                            saved=None,
                            probabilities=None,
                            writers=None,
                        )
                    )
                self._session.say(
                    "The series were placed anew and the labels carried over. Press Segment for the model's answer to them.",
                    Kind.GOOD,
                )

        self._context.run(partial(listing.carried_over, labels, study), done)

    def _failed(self, working: UnpackedFolder, event: Failed) -> None:
        self._end(working)
        self._session.say(event.message, Kind.INFO if event.cancelled else Kind.ERROR)

    def cancel(self) -> None:
        """Stop preparing; nothing stays behind."""
        job, working = self._session.job, self.working
        if job is None or job.where != WHERE:
            return
        self._reading.next()  # what is being read is no longer wanted
        self._context.cancel()
        if working is not None and job.token == "" and job.stage == _READING:
            self._end(working, job.id)
            self._session.say("Cancelled; nothing was changed.", Kind.INFO)

    def _end(self, working: UnpackedFolder, request_id: str = "") -> None:
        self.working = None
        self._left.append(working)
        self._tidying.start()
        if request_id:
            self._context.end(request_id)

    def _tidy(self) -> None:
        """Remove the files of preparations that have ended."""
        left, self._left = self._left, []
        for working in left:
            working.close()

    def leave(self) -> None:
        """The window closes: nothing that is half done stays on the disk."""
        if self.working is not None:
            self._left.append(self.working)
        self._tidy()
