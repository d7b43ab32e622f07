"""The PACS from the window: connections, the worklist, what is fetched and opened, and results sent back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from psygnal import Signal

from brainseg_engine.core import paths
from brainseg_engine.core.errors import BrainsegError, Cancelled
from brainseg_engine.core.events import Progress
from napari_brainseg.features.context import Context
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from brainseg_engine.pacs import Connection, Query, SeriesRow, StudyRow
    from brainseg_engine.pacs.outbox import Job

T = TypeVar("T")
RESULTS = ("seg", "sr", "pdf")
"""What is sent back of a result."""
_TICK_S = 0.15
Writing = Callable[[tuple[str, ...], Path], Callable[[Path], object] | None]
"""(formats, folder of the DICOM series) → work that writes the result that is open into a folder; None: there is none."""


@dataclass
class _PacsWork:
    """What a thread of the background is at; read by the window now and then."""

    stage: str
    fraction: float | None = None
    stop: bool = False
    studies: list[StudyRow] = field(default_factory=list)
    series: list[SeriesRow] = field(default_factory=list)

    def follow(self, event: Progress) -> None:
        """A callback for progress."""
        counted = f" ({event.step} of {event.steps})" if event.steps else ""
        self.stage, self.fraction = event.stage + counted, event.fraction


@dataclass(frozen=True)
class Question:
    """What is to be sent where, for a person to say yes or no: each sending with the study that the PACS has of it."""

    pacs: str
    sendings: tuple[tuple[Job, StudyRow | None], ...]
    kept: bool
    """They waited already: a no keeps them."""


class PacsVerbs:
    """What the worklist, the connections and *Send* mean. One thing is done at a time."""

    changed = Signal()
    opened = Signal()
    """A study was fetched, and is being opened."""
    asked = Signal(Question)
    """Results are ready to be sent: a person is to be asked."""

    def __init__(self, context: Context, writing: Writing) -> None:
        self._context, self._session, self._writing = context, context.session, writing
        self.pacs = ""
        """The connection of the worklist."""
        self.studies: Sequence[StudyRow] = ()
        self.study: StudyRow | None = None
        self.series: Sequence[SeriesRow] = ()
        self.chosen: frozenset[str] = frozenset()
        """UIDs of the series to be fetched."""
        self.words, self.wrong = "", False
        self._work: _PacsWork | None = None
        self._tick = context.later(_TICK_S, self._look, True)
        self._known: Mapping[str, Connection] | None = None
        self._waiting: list[Job] | None = None

    # --- connections

    def connections(self) -> Mapping[str, Connection]:
        """Name → connection, as last read."""
        if self._known is None:
            self._known = {}
            if (paths.home() / "pacs.toml").exists():
                from brainseg_engine.pacs import connections

                try:
                    self._known = connections.read()
                except BrainsegError as e:
                    self.words, self.wrong = str(e), True
        return self._known

    def read_again(self) -> None:
        """Somebody may have changed the file of the connections, or the outbox."""
        self._known = self._waiting = None
        self.changed.emit()

    def keep(self, name: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> bool:
        """Keep a connection, and its secrets in the system's keyring: "login" and "key", "" for as it is. False, and what is
        wrong is said, where that does not go."""
        from brainseg_engine.pacs import connections
        from brainseg_engine.pacs import secrets as keyring

        try:
            connections.check_name(name)
            made = connections.check(name, settings, "Connection")
            connections.save({**connections.read(), name: made})
            self._known = None
            for what, secret in secrets.items():
                if secret:
                    keyring.keep(name, secret, "key" if what == "key" else "login")
        except BrainsegError as e:
            self._say(str(e), wrong=True)
            return False
        self._say(f"'{name}' is kept.")
        return True

    def forget(self, name: str) -> None:
        """Delete a connection, and its secrets."""
        from brainseg_engine.pacs import connections
        from brainseg_engine.pacs import secrets as keyring

        try:
            known = dict(connections.read())
            if known.pop(name, None) is not None:
                connections.save(known)
                self._known = None
                for what in ("login", "key"):
                    if keyring.find(name, "key" if what == "key" else "login"):
                        keyring.keep(name, "", "key" if what == "key" else "login")
        except BrainsegError as e:
            self._say(str(e), wrong=True)
        else:
            self._say(f"'{name}' is deleted.")

    def test(self, name: str) -> None:
        """Say whether a connection works, or what is wrong with it."""

        def work(_: _PacsWork) -> str:
            from brainseg_engine.pacs import connected

            with connected(name) as pacs:
                return pacs.test()

        self._do(f"testing '{name}'", work, self._say)

    # --- the worklist

    @property
    def busy(self) -> tuple[str, float | None] | None:
        """What is done just now, and how much of it; None for nothing."""
        return (self._work.stage, self._work.fraction) if self._work is not None else None

    def refuse(self, words: str) -> None:
        """Say what is wrong with what was asked for."""
        self._say(words, wrong=True)

    def search(self, name: str, query: Query) -> None:
        """List the studies that fit, as they arrive."""
        from brainseg_engine.pacs import connected
        from brainseg_engine.pacs.records import MOST_STUDIES
        from brainseg_engine.pacs.searching import search

        def work(now: _PacsWork) -> int:
            with connected(name) as pacs:
                for row in search(pacs, query):
                    now.studies.append(row)
                    if now.stop:
                        break
            return len(now.studies)

        def done(count: int) -> None:
            more = f" Only the first {MOST_STUDIES} are listed: narrow the search." if count == MOST_STUDIES else ""
            self._say(("No study fits." if not count else f"{count} {'study' if count == 1 else 'studies'}.") + more)

        if self._work is None:
            self.pacs, self.studies, self.study, self.series, self.chosen = name, (), None, (), frozenset()
            self._do("searching", work, done)

    def choose_study(self, row: StudyRow) -> None:
        """List its series; those that can be T1, T1ce, T2 or FLAIR are chosen, by their tags."""
        from brainseg_engine.pacs import choosing, connected
        from brainseg_engine.pacs.retrieving import place

        name = self.pacs

        def work(now: _PacsWork) -> list[SeriesRow]:
            with connected(name) as pacs:
                now.series = pacs.series(row.uid)
                now.stage = "reading tags"
                return choosing.by_tags(pacs, now.series, place(name, row.uid), cancelled=lambda: now.stop)

        def done(proposed: list[SeriesRow]) -> None:
            self.chosen = frozenset(s.uid for s in proposed)
            self._say("" if proposed else "None of these series looks like T1, T1ce, T2 or FLAIR of a head.")

        if self._work is None and row != self.study:
            self.study, self.series, self.chosen = row, (), frozenset()
            self._do("listing the series", work, done)

    def choose_series(self, uid: str, on: bool) -> None:
        """Fetch that series, too, or not."""
        self.chosen = self.chosen | {uid} if on else self.chosen - {uid}
        self.changed.emit()

    def open(self) -> None:
        """Fetch the chosen series into a private folder, and open them. Cancelled, what came is kept for the next time."""
        from brainseg_engine.pacs import connected
        from brainseg_engine.pacs.retrieving import Fetched, fetch, place

        study, name = self.study, self.pacs
        wanted = [s for s in self.series if s.uid in self.chosen]
        if study is None or not wanted:
            self._say("Choose a study, and at least one of its series.", wrong=True)
            return
        folder = place(name, study.uid)

        def work(now: _PacsWork) -> Fetched:
            for left in folder.iterdir() if folder.is_dir() else ():
                if left.is_dir() and left.name not in self.chosen:
                    shutil.rmtree(left, ignore_errors=True)  # fetched for its tags, or for an earlier choice
            with connected(name) as pacs:
                return fetch(pacs, wanted, folder, now.follow, lambda: now.stop)

        def done(made: Fetched) -> None:
            self._say(" ".join([f"{made.images} images fetched; they are being opened.", *made.notes]))
            self._session.open_requested.emit(folder)
            self.opened.emit()

        self._do("fetching", work, done)

    def delete_fetched(self) -> None:
        """Delete the images that were fetched, but for those of the study that is open."""
        home, kept = paths.home() / "pacs", self._images()

        def work(_: _PacsWork) -> int:
            gone = 0
            for folder in home.glob("*/*"):
                if folder.is_dir() and not folder.is_symlink() and (kept is None or not kept.is_relative_to(folder)):
                    shutil.rmtree(folder, ignore_errors=True)
                    gone += 1
            return gone

        def done(gone: int) -> None:
            self._say(
                f"The images of {gone} {'study' if gone == 1 else 'studies'} were deleted here; the PACS has them still."
            )

        self._do("deleting", work, done)

    def cancel(self) -> None:
        """Stop what is done just now, soon."""
        if self._work is not None:
            self._work.stop = True

    # --- sending

    @property
    def origin(self) -> str:
        """The connection that the open study came by; "" for none."""
        images = self._images()
        home = paths.home() / "pacs"
        return images.relative_to(home).parts[0] if images is not None and images.is_relative_to(home) else ""

    def _images(self) -> Path | None:
        """The folder of the open study's series."""
        current = self._session.study
        if current is None:
            return None
        return (current.acquired.folder if current.acquired is not None else None) or current.place

    def send(self, name: str) -> None:
        """Make SEG, SR and PDF of the result that is open, and ask whether to send them there."""
        images = self._images()
        write = self._writing(RESULTS, images) if images is not None else None
        if write is None:
            self._tell("There is nothing to send yet: open a study, and segment it.", Kind.WARNING)
            return

        def work(_: _PacsWork) -> Question:
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

        self._do("making the objects", work, self.asked.emit, tell=True)

    def send_waiting(self) -> None:
        """Ask whether to send what waits of earlier sendings."""

        waiting = self.waiting()

        def work(_: _PacsWork) -> list[Question]:
            names = list(dict.fromkeys(j.pacs for j in waiting))
            return [_question(n, [j for j in waiting if j.pacs == n], kept=True) for n in names]

        def done(questions: list[Question]) -> None:
            for question in questions:
                self.asked.emit(question)

        self._do("looking the studies up", work, done, tell=True)

    def waiting(self) -> list[Job]:
        """What waits to be sent, as last looked up."""
        if self._waiting is None:
            self._waiting = []
            if (paths.home() / "outbox").is_dir():
                from brainseg_engine.pacs import outbox

                self._waiting = outbox.jobs()
        return self._waiting

    def answer(self, question: Question, yes: bool) -> None:
        """Send what was asked about, or not."""
        from brainseg_engine.pacs import connected, outbox

        if not yes:
            for job, _ in question.sendings if not question.kept else ():
                outbox.drop(job)
            self.read_again()
            return

        def work(now: _PacsWork) -> list[Job]:
            with connected(question.pacs) as pacs:
                return [outbox.send(pacs, job, now.follow, lambda: now.stop) for job, _ in question.sendings]

        def done(jobs: list[Job]) -> None:
            refused = [i for job in jobs for i in job.waiting]
            count = sum(len(job.items) for job in jobs) - len(refused)
            if refused:
                self._tell(f"{refused[0].message}. {len(refused)} objects are kept, and can be sent again.", Kind.ERROR)
            else:
                self._tell(f"{count} objects are at {question.pacs}, with the study they belong to.", Kind.GOOD)

        self._do("sending", work, done, tell=True)

    def give_up(self) -> None:
        """Delete what waits to be sent."""
        from brainseg_engine.pacs import outbox

        for job in self.waiting():
            outbox.drop(job)
        self.read_again()

    # --- one thing at a time

    def _do(
        self, stage: str, work: Callable[[_PacsWork], T], done: Callable[[T], object], *, tell: bool = False
    ) -> None:
        """Do ``work`` in the background. ``tell``: what goes wrong is said in the panel, too."""
        if self._work is not None:
            self._say("Wait until what is being done has ended, or cancel it.", wrong=True)
            return
        now = self._work = _PacsWork(stage)
        self.words, self.wrong = "", False
        self._tick.start()
        self.changed.emit()

        def finish(result: T) -> None:
            self._end()
            done(result)

        def fail(error: Exception) -> None:
            self._end()
            stopped = isinstance(error, Cancelled)
            sentence = self._context.sentence(error)
            if tell:
                self._tell(sentence, Kind.INFO if stopped else Kind.ERROR)
            else:
                self._say(sentence, wrong=not stopped)

        self._context.run(lambda: work(now), finish, fail)

    def _end(self) -> None:
        self._tick.stop()
        self._look()
        self._work = self._waiting = None
        self.changed.emit()

    def _look(self) -> None:
        """Show what has arrived since."""
        now = self._work
        if now is not None:
            self.studies = tuple(now.studies) or self.studies
            self.series = tuple(now.series) or self.series
            self.changed.emit()

    def _say(self, words: str, *, wrong: bool = False) -> None:
        self.words, self.wrong = words, wrong
        self.changed.emit()

    def _tell(self, words: str, kind: Kind) -> None:
        self._session.say(words, kind)
        self._say(words, wrong=kind is Kind.ERROR)


def _question(name: str, jobs: Sequence[Job], *, kept: bool) -> Question:
    """Look up where the sendings go. Raises InputError where the PACS has no such study, or it is another patient's."""
    from brainseg_engine.pacs import connected, outbox

    with connected(name) as pacs:
        return Question(name, tuple((job, outbox.study_at(pacs, job)) for job in jobs), kept)
