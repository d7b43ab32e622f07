"""A fine-tuning as its run folder records it, read little by little: whoever started it, and whether or not it still runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import BrainsegError, OutputError
from brainseg_engine.core.events import EpochDone, Event, Progress, from_json
from brainseg_engine.core.records import read_object
from brainseg_engine.finetune import Status, runs_home, status_of
from brainseg_engine.finetune import plan as plans
from brainseg_engine.finetune.status import EVENTS, STOP
from napari_brainseg.jobs.detached import last_line

_AT_ONCE = 1 << 20  # bytes of events read in one go
_SEEN = "seen"
_NAME = "%Y%m%d-%H%M%S"
Point = tuple[int, float]


def new_name() -> str:
    """What to call the folder of a run that starts now; sorts by time, and says nothing else."""
    return datetime.now(UTC).strftime(_NAME)


def new_folder() -> Path:
    """A folder for a run that starts now, which is not there yet: a second later where one was started in this second."""
    while (folder := runs_home() / new_name()).exists():
        time.sleep(0.1)
    return folder


@dataclass
class Run:
    """``loss`` and ``dice`` (region → points) over steps, of ``steps`` planned (0: not known yet).

    ``plan`` is there once the run has decided, ``report`` (see ``finetune.report_files``) once it is done.
    """

    folder: Path
    status: Status
    loss: list[Point] = field(default_factory=list)
    dice: dict[str, list[Point]] = field(default_factory=dict)
    steps: int = 0
    step: int = 0
    """Done so far."""
    report: Mapping[str, Any] | None = None
    plan: plans.FinetunePlan | None = None
    _at: int = 0

    @classmethod
    def of(cls, folder: Path) -> Run | None:
        """The run in that folder as it is now; None where there is none."""
        status = status_of(folder)
        if status is None:
            return None
        run = cls(folder, status)
        run.read()
        return run

    @property
    def running(self) -> bool:
        """True while its process works."""
        return self.status.state == "running"

    @property
    def stopping(self) -> bool:
        """True once it was asked to stop, while it has not done so."""
        return self.running and (self.folder / STOP).exists()

    @property
    def planned(self) -> bool:
        """True when it has decided what to do, so that it can be resumed."""
        return (self.folder / plans.FILE).exists()

    @property
    def resumable(self) -> bool:
        """True when it ended before its end, and can go on."""
        return self.status.state in ("stopped", "failed", "killed") and self.planned

    @property
    def began(self) -> datetime:
        """When, in local time: as its folder is named, else when its process began."""
        try:
            return datetime.strptime(self.folder.name, _NAME).replace(tzinfo=UTC).astimezone()
        except ValueError:
            return datetime.fromtimestamp(self.status.began, UTC).astimezone()

    @property
    def held_out(self) -> bool:
        """False once it is known that nothing is held out."""
        return self.plan is None or bool(self.plan.held_out)

    @property
    def seen(self) -> bool:
        """True when a window has shown how it ended."""
        return (self.folder / _SEEN).exists()

    def mark_seen(self) -> None:
        """A window has shown how it ended. Raises OutputError."""
        try:
            (self.folder / _SEEN).touch()
        except OSError as e:
            raise OutputError(f"Cannot write into {self.folder}: {e.strerror or e}.") from e

    def read(self) -> bool:
        """Take in what is new; returns whether anything is."""
        before = (self.status, self._at)
        self.status = status_of(self.folder) or self.status
        self._read_events()
        if self.plan is None and self.planned:
            with contextlib.suppress(BrainsegError):  # the process tells of it itself
                self.plan = plans.load(self.folder)
        if self.status.state == "done" and self.report is None:
            self.report = _report(self.folder)
        return before != (self.status, self._at)

    def why_it_ended(self) -> str:
        """In a sentence, for a run that did not come to its end."""
        state, where = self.status.state, f"at {100 * self.status.fraction:.0f}\N{NO-BREAK SPACE}%"
        if state == "stopped":
            return f"It was stopped {where}."
        if state == "failed":
            return self.status.message
        words = last_line(self.folder)
        return f"Its process ended {where} without a report." + (f" Its last line: {words}" if words else "")

    def _read_events(self) -> None:
        """The lines that were added; a line of which only half is there is left for the next time."""
        file = self.folder / EVENTS
        try:
            if file.stat().st_size < self._at:
                self._at = 0
            with file.open("rb") as f:
                f.seek(self._at)
                while part := f.read(_AT_ONCE):
                    whole, end, _ = part.rpartition(b"\n")
                    if not end:
                        return
                    self._at += len(whole) + 1
                    f.seek(self._at)
                    self._take(whole.decode("utf-8", "replace").split("\n"))
        except OSError:  # none yet, or a network folder that is away for a moment: the next reading tries again
            return

    def _take(self, lines: Sequence[str]) -> None:
        for line in lines:
            try:
                event = from_json(line)
            except ValueError:  # of a newer version, or damaged by a full disk
                continue
            self._take_event(event)

    def _take_event(self, event: Event) -> None:
        if isinstance(event, Progress) and event.steps is not None:
            self.steps, self.step = event.steps, event.step or 0
        elif isinstance(event, EpochDone):
            for region in {*self.dice, *event.dice}:
                new = [event.dice[region]] if region in event.dice else []
                self.dice[region] = _continued(self.dice.get(region, []), event.step, new)
            self.loss = _continued(self.loss, event.step, [event.loss])


def _continued(points: list[Point], step: int, values: Sequence[float]) -> list[Point]:
    """With the values of ``step``. After a crash steps come again: the later values count."""
    kept = points if not points or points[-1][0] < step else [p for p in points if p[0] < step]
    return [*kept, *((step, v) for v in values)]


def _report(folder: Path) -> Mapping[str, Any] | None:
    try:
        return read_object(folder / "report.json")
    except (OSError, ValueError):
        return None
