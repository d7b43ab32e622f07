"""The worklist: the studies a PACS has, their series, and those that are fetched and opened."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from psygnal import Signal

from brainseg_engine.core import paths
from napari_brainseg.features.pacs.work import OneAtATime, PacsTask
from napari_brainseg.session import Session

if TYPE_CHECKING:
    from brainseg_engine.pacs import Query, SeriesRow, StudyRow


class WorklistVerbs:
    """What the worklist asks for."""

    opened = Signal()
    """A study was fetched, and is being opened."""

    def __init__(self, session: Session, work: OneAtATime) -> None:
        self._session, self._work = session, work
        self.pacs = ""
        """The connection that is searched."""
        self.studies: Sequence[StudyRow] = ()
        self.study: StudyRow | None = None
        self.series: Sequence[SeriesRow] = ()
        self.chosen: frozenset[str] = frozenset()
        """UIDs of the series to be fetched."""

    def search(self, name: str, query: Query) -> None:
        """List the studies that fit, as they arrive."""
        from brainseg_engine.pacs import connected
        from brainseg_engine.pacs.records import MOST_STUDIES
        from brainseg_engine.pacs.searching import search

        rows: list[StudyRow] = []

        def work(task: PacsTask) -> int:
            with connected(name) as pacs:
                for row in search(pacs, query):
                    rows.append(row)
                    if task.stop:
                        break
            return len(rows)

        def arrived() -> None:
            self.studies = tuple(rows)

        def done(count: int) -> None:
            more = f" Only the first {MOST_STUDIES} are listed: narrow the search." if count == MOST_STUDIES else ""
            self._work.say(
                ("No study fits." if not count else f"{count} {'study' if count == 1 else 'studies'}.") + more
            )

        if self._work.busy is None:
            self.pacs, self.studies, self.study, self.series, self.chosen = name, (), None, (), frozenset()
            self._work.do("searching", work, done, arrived=arrived)

    def choose_study(self, row: StudyRow) -> None:
        """List its series; those that can be T1, T1ce, T2 or FLAIR are chosen, by their tags."""
        from brainseg_engine.pacs import choosing, connected
        from brainseg_engine.pacs.retrieving import place

        name = self.pacs
        rows: list[SeriesRow] = []

        def work(task: PacsTask) -> list[SeriesRow]:
            with connected(name) as pacs:
                rows.extend(pacs.series(row.uid))
                task.stage = "reading tags"
                return choosing.by_tags(pacs, rows, place(name, row.uid), cancelled=task.cancelled)

        def arrived() -> None:
            self.series = tuple(rows)

        def done(proposed: list[SeriesRow]) -> None:
            self.chosen = frozenset(s.uid for s in proposed)
            self._work.say("" if proposed else "None of these series looks like T1, T1ce, T2 or FLAIR of a head.")

        if self._work.busy is None and row != self.study:
            self.study, self.series, self.chosen = row, (), frozenset()
            self._work.do("listing the series", work, done, arrived=arrived)

    def choose_series(self, uid: str, on: bool) -> None:
        """Fetch that series, too, or not."""
        self.chosen = self.chosen | {uid} if on else self.chosen - {uid}
        self._work.changed.emit()

    def open(self) -> None:
        """Fetch the chosen series into a private folder, and open them. Cancelled, what came is kept for the next time."""
        from brainseg_engine.pacs import connected
        from brainseg_engine.pacs.retrieving import Fetched, fetch, place

        study, name = self.study, self.pacs
        wanted = [s for s in self.series if s.uid in self.chosen]
        if study is None or not wanted:
            self._work.say("Choose a study, and at least one of its series.", wrong=True)
            return
        folder = place(name, study.uid)

        def work(task: PacsTask) -> Fetched:
            for left in folder.iterdir() if folder.is_dir() else ():
                if left.is_dir() and left.name not in self.chosen:
                    shutil.rmtree(left, ignore_errors=True)  # fetched for its tags, or for an earlier choice
            with connected(name) as pacs:
                return fetch(pacs, wanted, folder, task.follow, task.cancelled)

        def done(made: Fetched) -> None:
            self._work.say(" ".join([f"{made.images} images fetched; they are being opened.", *made.notes]))
            self._session.open_requested.emit(folder)
            self.opened.emit()

        self._work.do("fetching", work, done)

    def delete_fetched(self) -> None:
        """Delete the images that were fetched, but for those of the study that is open."""
        home, current = paths.home() / "pacs", self._session.study
        kept = current.images if current is not None else None

        def work(_: PacsTask) -> int:
            gone = 0
            for folder in home.glob("*/*"):
                if folder.is_dir() and not folder.is_symlink() and (kept is None or not kept.is_relative_to(folder)):
                    shutil.rmtree(folder, ignore_errors=True)
                    gone += 1
            return gone

        def done(gone: int) -> None:
            self._work.say(
                f"The images of {gone} {'study' if gone == 1 else 'studies'} were deleted here; the PACS has them still."
            )

        self._work.do("deleting", work, done)
