"""How a run goes, in files: ``status.json`` (who runs it, and how far it is), ``events.jsonl`` (all events), and
``stop``, which anyone may make to end it. A window can so find a run that another started, follow it and stop it."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import BrainsegError, Cancelled, OutputError
from brainseg_engine.core.events import Event, Failed, Finished, Progress
from brainseg_engine.core.locks import is_held
from brainseg_engine.core.paths import home, private_folder
from brainseg_engine.core.processes import alive
from brainseg_engine.core.records import count_of, number_of, text_of

_log = logging.getLogger(__name__)
FILE, EVENTS, STOP, LOCK = "status.json", "events.jsonl", "stop", "lock"
EVERY_S = 0.5
"""Progress is written at most this often."""
State = Literal["running", "done", "stopped", "failed", "killed"]


@dataclass(frozen=True)
class Status:
    """``state`` "killed" is never written: it is what a run is whose process has gone. ``began``: when the process did
    (seconds since 1970), which tells it from a later one of the same number. ``seconds_left`` of the stage of training."""

    pid: int
    began: float
    state: State = "running"
    stage: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None
    message: str = ""
    when: str = ""


def runs_home() -> Path:
    """Where the window keeps its runs, a folder each."""
    return home() / "finetune"


def runs() -> list[Path]:
    """The runs in there, newest first."""
    return sorted((p.parent for p in runs_home().glob(f"*/{FILE}")), key=lambda p: p.name, reverse=True)


def status_of(out: Path) -> Status | None:
    """How the run in that folder goes; None where there is none."""
    try:
        status = _checked(Status(**records.parse_json(_read(out / FILE))))
    except (OSError, ValueError, TypeError):
        return None
    # the lock shows a process in another container too, and of one that the clock was set back under
    if status.state == "running" and not is_held(out / LOCK) and not alive(status.pid, status.began):
        return replace(status, state="killed")
    return status


def _checked(status: Status) -> Status:
    """The record, whose fields somebody else may have written. Raises ValueError."""
    count_of(status.pid, 1, 2**31)
    number_of(status.began)
    number_of(status.fraction, 0, 1)
    if status.seconds_left is not None:
        number_of(status.seconds_left)
    if status.state not in get_args(State):
        raise ValueError(f"there is no state {status.state!r}")
    for text in (status.stage, status.message, status.when):
        text_of(text)
    return status


def _read(file: Path) -> bytes:
    """Its content; on Windows a file that is being replaced refuses its readers for a moment."""
    for _ in range(5):
        with contextlib.suppress(PermissionError):
            return plain.read(file, 2**20)
        time.sleep(0.02)
    return plain.read(file, 2**20)


def announce(out: Path, pid: int) -> None:
    """Note the process that was started for that folder, so that it is found before it reports itself. Raises OutputError."""
    import psutil

    if out.parent == runs_home():
        private_folder(out.parent)
    try:
        began = psutil.Process(pid).create_time()
    except psutil.Error:  # it has died already
        began = time.time()
    _save(out, Status(pid, began, stage="starting"))


def ask_to_stop(out: Path) -> None:
    """The run ends after its present step, and can be resumed. Raises OutputError."""
    try:
        os.close(plain.appending(out / STOP))
    except OSError as e:
        raise OutputError(f"Cannot write {out / STOP}: {e.strerror or e}.") from e


class Recorder:
    """Writes both files and passes events on. Progress that cannot be written ends no training: only ``end`` must succeed."""

    def __init__(self, out: Path, report: Any) -> None:
        import psutil

        self.out, self.report = out, report
        self.status = Status(os.getpid(), psutil.Process().create_time())
        self._written = 0.0
        self._training: tuple[float, float] | None = None  # when its first step was reported, and how far it was
        (out / STOP).unlink(missing_ok=True)
        self._write()

    def asked_to_stop(self) -> bool:
        """Whether somebody made the file ``stop``."""
        return (self.out / STOP).exists()

    def __call__(self, event: Event) -> None:
        """Write it down, and pass it on."""
        try:
            self._take(event)
        except OutputError as e:
            _log.warning("the state of the run could not be recorded: %s", e)
        self.report(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Progress):
            now = time.monotonic()
            new = event.stage != self.status.stage if event.steps is None else self._training is None
            left = self._left(event, now)
            event = replace(event, seconds_left=left)
            self.status = replace(self.status, stage=event.stage, fraction=event.fraction, seconds_left=left)
            if new or now - self._written > EVERY_S:
                self._written = now
                self._write()
                self._append(event)
        else:
            self._append(event)

    def _left(self, event: Progress, now: float) -> float | None:
        step, total = event.step, event.steps
        if step is None or total is None:
            return None
        if self._training is None:
            self._training = (now, step)
        began, first = self._training
        return round((now - began) / (step - first) * (total - step), 1) if step > first else None

    def end(self, state: State, event: Finished | Failed) -> None:
        """The last word. Raises OutputError."""
        message = event.message if isinstance(event, Failed) else ""
        self.status = replace(self.status, state=state, message=message, seconds_left=None)
        if isinstance(event, Finished):
            self.status = replace(self.status, stage="done", fraction=1.0)
        self._write()
        self._append(event)
        self.report(event)

    def _write(self) -> None:
        _save(self.out, self.status)

    def _append(self, event: Event) -> None:
        file = self.out / EVENTS
        try:
            with os.fdopen(plain.appending(file), "a", encoding="utf-8") as f:
                f.write(event.to_json() + "\n")
        except OSError as e:
            raise OutputError(
                f"Cannot write {file}: {e.strerror or e}. Free some space; --resume then continues."
            ) from e


def _save(out: Path, status: Status) -> None:
    when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    records.write_json(out / FILE, asdict(replace(status, when=when)), indent=None)


@contextmanager
def recording(
    out: Path, report: Callable[[Event], None], interrupted: str = "Fine-tuning was interrupted."
) -> Iterator[Recorder]:
    """How a run ends is recorded in its files, whatever ends it; ``interrupted`` is said of Ctrl-C."""
    recorder = Recorder(out, report)
    try:
        yield recorder
    except BrainsegError as e:
        stopped = isinstance(e, Cancelled)
        recorder.end("stopped" if stopped else "failed", Failed("finetune", str(e), cancelled=stopped))
        raise
    except KeyboardInterrupt:
        recorder.end("stopped", Failed("finetune", interrupted, cancelled=True))
        raise
    except Exception as e:
        _log.exception("fine-tuning failed")
        message = f"Something unexpected ended the run ({type(e).__name__}); train.log in its folder tells more."
        recorder.end("failed", Failed("finetune", message, repr(e)))
        raise
