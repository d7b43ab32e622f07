"""Results sent to a PACS: made, asked about, sent, and kept for the next time where that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from brainseg_engine.core import paths
from napari_brainseg.features.context import Context
from napari_brainseg.features.pacs.work import OneAtATime, PacsTask
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from brainseg_engine.pacs import StudyRow
    from brainseg_engine.pacs.outbox import Job

RESULTS = ("seg", "sr", "pdf")
"""What is sent back of a result."""
Writing = Callable[[tuple[str, ...], Path], Callable[[Path], object] | None]
"""(formats, folder of the DICOM series) → work that writes the result that is open into a folder; None: there is none."""


@dataclass(frozen=True)
class Question:
    """What is to be sent where, for a person to say yes or no: each sending with the study that the PACS has of it."""

    pacs: str
    sendings: tuple[tuple[Job, StudyRow | None], ...]
    kept: bool
    """They waited already: a no keeps them."""


class SendVerbs:
    """What *Send* means. Nothing is sent that a person was not asked about."""

    asked = Signal(Question)
    """Results are ready to be sent: a person is to be asked."""

    def __init__(self, context: Context, work: OneAtATime, writing: Writing) -> None:
        self._session, self._work, self._writing = context.session, work, writing
        self._waiting: list[Job] | None = None
        context.follow(work.ended, self._forget_waiting)

    def _forget_waiting(self) -> None:
        self._waiting = None

    @property
    def _images(self) -> Path | None:
        current = self._session.study
        return current.images if current is not None else None

    @property
    def origin(self) -> str:
        """The connection that the open study came by; "" for none."""
        images = self._images
        home = paths.home() / "pacs"
        return images.relative_to(home).parts[0] if images is not None and images.is_relative_to(home) else ""

    def send(self, name: str) -> None:
        """Make SEG, SR and PDF of the result that is open, and ask whether to send them there."""
        images = self._images
        write = self._writing(RESULTS, images) if images is not None else None
        if write is None:
            self._work.say_in_panel("There is nothing to send yet: open a study, and segment it.", Kind.WARNING)
            return

        def work(_: PacsTask) -> Question:
            from brainseg_engine.pacs import outbox

            with paths.part_folder(paths.private_folder(paths.home() / "sending")) as folder:
                write(folder)
                before = {j.id for j in outbox.jobs()}
                jobs = outbox.put(name, [folder])
            try:
                return _question(name, jobs, kept=False)
            except BaseException:
                for job in jobs:
                    if job.id not in before:
                        outbox.drop(job)
                raise

        self._work.do("making the objects", work, self.asked.emit, in_panel=True)

    def send_waiting(self) -> None:
        """Ask whether to send what waits of earlier sendings."""

        waiting = self.waiting()

        def work(_: PacsTask) -> list[Question]:
            names = list(dict.fromkeys(j.pacs for j in waiting))
            return [_question(n, [j for j in waiting if j.pacs == n], kept=True) for n in names]

        def done(questions: list[Question]) -> None:
            for question in questions:
                self.asked.emit(question)

        self._work.do("looking the studies up", work, done, in_panel=True)

    def waiting(self) -> list[Job]:
        """What waits to be sent, as last looked up."""
        if self._waiting is None:
            self._waiting = []
            if (paths.home() / "outbox").is_dir():
                from brainseg_engine.pacs import outbox

                self._waiting = outbox.jobs()
        return self._waiting

    def look_again(self) -> None:
        """The outbox may be another."""
        self._waiting = None
        self._work.changed.emit()

    def answer(self, question: Question, yes: bool) -> None:
        """Send what was asked about, or not."""
        from brainseg_engine.pacs import connected, outbox

        if not yes:
            for job, _ in question.sendings if not question.kept else ():
                outbox.drop(job)
            self.look_again()
            return

        def work(task: PacsTask) -> list[Job]:
            with connected(question.pacs) as pacs:
                return [outbox.send(pacs, job, task.follow, task.cancelled) for job, _ in question.sendings]

        def done(jobs: list[Job]) -> None:
            refused = [i for job in jobs for i in job.waiting]
            count = sum(len(job.items) for job in jobs) - len(refused)
            if refused:
                self._work.say_in_panel(
                    f"{refused[0].message}. {len(refused)} objects are kept, and can be sent again.", Kind.ERROR
                )
            else:
                self._work.say_in_panel(
                    f"{count} objects are at {question.pacs}, with the study they belong to.", Kind.GOOD
                )

        self._work.do("sending", work, done, in_panel=True)

    def give_up(self) -> None:
        """Delete what waits to be sent."""
        from brainseg_engine.pacs import outbox

        for job in self.waiting():
            outbox.drop(job)
        self.look_again()


def _question(name: str, jobs: Sequence[Job], *, kept: bool) -> Question:
    """Look up where the sendings go. Raises InputError where the PACS has no such study, or it is another patient's."""
    from brainseg_engine.pacs import connected, outbox

    with connected(name) as pacs:
        return Question(name, tuple((job, outbox.study_at(pacs, job)) for job in jobs), kept)
