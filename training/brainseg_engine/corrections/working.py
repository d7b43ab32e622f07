"""Working copies: what a person is painting, written every few seconds into the user's own folder.

One file holds all of it (see :mod:`brainseg_engine.corrections.copies`). It is replaced whole, so that a kill at any moment
leaves the last copy or the one before. Each program that runs writes its own (``<study key>/<time>-<pid>.work``); a copy
whose program has gone is what a crash left, and is offered when the study is opened again. Whether it has gone, the lock
beside the copy tells (it ends with its holder, in whatever container that ran and whatever the clock says), and of several
copies the version number, which only rises. The answer that was corrected lies beside it, written once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.locks import is_held, try_lock, unlock
from brainseg_engine.core.names import inside
from brainseg_engine.core.paths import home, private_folder, sweep
from brainseg_engine.core.processes import alive, began
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import copies
from brainseg_engine.corrections.copies import AnswerHeader, CopyHeader, LeftCopy
from brainseg_engine.corrections.record import BaseModel, Writers

_COPIES = "[!.]*.work"  # not the hidden half of one that a kill left
_held: set[Path] = set()
"""The copies that this program is writing to."""


@dataclass(frozen=True, eq=False)
class Work:
    """What is being painted on the study of that ``key``: its ``segmentation`` as it is, and the answer it began from.

    ``study_id`` and ``folder`` say which study that was here (this file never leaves the machine); ``steps`` as in the
    store; ``when`` is UTC.
    """

    key: str
    study_id: str
    segmentation: Segmentation
    base: Segmentation | None = None
    model: BaseModel = field(default_factory=BaseModel)
    folder: Path | None = None
    steps: Sequence[Mapping[str, Any]] = ()
    minutes: float = 0.0
    when: str = ""
    writers: Writers | None = None
    """Who wrote the labels, where proposals were taken over."""
    made: int = field(default_factory=time.monotonic_ns, repr=False)  # of two, the younger is the truth


class Desk:
    """Where one program writes the working copy of one study, from whichever thread: an older one never replaces it."""

    def __init__(self, key: str) -> None:
        self.path = folder() / key / f"{time.time_ns():x}-{os.getpid()}-{secrets.token_hex(2)}.work"
        _held.add(self.path)
        self._holding: int | None = None
        self._version = 0
        self._lock = threading.Lock()
        self._newest = 0
        self._answered: tuple[LabelArray | None, str] = (None, "")

    def save(self, work: Work) -> Work:
        """Write it, whole or not at all; returns it with its time. Raises OutputError, and the copy before is kept."""
        work = replace(work, when=datetime.now(UTC).isoformat(timespec="milliseconds"))
        with self._lock:
            if work.made >= self._newest:
                self._write(work)
                self._newest = work.made
        return work

    def _write(self, work: Work) -> None:
        try:
            self._begin()
            self._version += 1
            header = CopyHeader(
                **copies.placed(work.segmentation), key=work.key, study_id=work.study_id,
                folder=str(work.folder) if work.folder else None, when=work.when, minutes=round(work.minutes, 3),
                model=work.model, steps=[dict(step) for step in work.steps], version=self._version,
                answer=self._answer(work.base), pid=os.getpid(), began=began(os.getpid()),
            )  # fmt: skip
            copies.write(self.path, header, work.segmentation.labels, work.writers)
        except OSError as e:
            raise OutputError(f"Cannot write {self.path}: {e.strerror or e}. Free some space.") from e

    def _begin(self) -> None:
        """The folder, the lock that tells others that this program is there, and the number after all others'."""
        private_folder(folder())
        private_folder(self.path.parent)
        if self._holding is None:
            handle = plain.updating(_lock_of(self.path), private=True)
            try_lock(handle)
            self._holding = handle
            sweep(self.path.parent)
            self._version = max(
                (f.version for f in map(copies.described, self.path.parent.glob(_COPIES)) if f is not None), default=0
            )

    def _answer(self, base: Segmentation | None) -> str:
        """The name of the file that holds the answer; written when it is not there yet."""
        if base is None:
            return ""
        if self._answered[0] is not base.labels or not (self.path.parent / self._answered[1]).exists():
            name = hashlib.sha256(copies.flat(base.labels)).hexdigest()[:16] + ".answer"
            if not copies.is_whole(self.path.parent / name):
                copies.write(self.path.parent / name, AnswerHeader(**copies.placed(base)), base.labels)
            self._answered = (base.labels, name)
        return self._answered[1]

    def clear(self) -> None:
        """The work was accepted or given up: its copy goes, and what was made before is not written any more."""
        with self._lock:
            self._newest = time.monotonic_ns()
            discard(self.path)

    def close(self) -> None:
        """Write here no more; a copy that lies here is one to be found from now on."""
        _held.discard(self.path)
        with self._lock:
            if self._holding is not None:
                unlock(self._holding)
                os.close(self._holding)
                self._holding = None
            if not self.path.exists():
                with contextlib.suppress(OSError):
                    _lock_of(self.path).unlink(missing_ok=True)


def folder() -> Path:
    """Where the working copies lie."""
    return home() / "working"


def pending(key: str = "") -> list[LeftCopy]:
    """The copies that nobody is writing to, newest first; those of one study when its key is given.

    A damaged one is passed over (``load`` says of it what is wrong).
    """
    copies_there = [f for path in folder().glob(f"{key or '*'}/{_COPIES}")
             if path not in _held and (f := copies.described(path)) is not None and not _is_written(path)]  # fmt: skip
    return sorted(copies_there, key=lambda f: (f.version, f.when) if key else (0, f.when), reverse=True)


def load(path: Path) -> Work:
    """The working copy in that file. Raises InputError when it is damaged."""
    header, labels, writers = copies.read(path, CopyHeader)
    try:
        base = None
        if header.answer and copies.is_whole(answer := inside(path.parent, header.answer)):
            shorter, kept, _ = copies.read(answer, AnswerHeader)  # without it the painting is still there
            base = shorter.segmentation(kept)
        return Work(
            header.key, header.study_id, header.segmentation(labels), base, header.model, copies.folder_of(header),
            tuple(header.steps), header.minutes, header.when, writers,
        )  # fmt: skip
    except Exception as e:  # it may be damaged in any way, and must not end the saving of what is being painted
        raise copies.damaged(path) from e


def discard(path: Path) -> None:
    """Remove a working copy, and the answers that no other copy of its study refers to."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        if path not in _held:
            _lock_of(path).unlink(missing_ok=True)
    if any(path.parent.glob(_COPIES)) or any(held.parent == path.parent and held != path for held in _held):
        return
    with contextlib.suppress(OSError):
        for answer in path.parent.glob("*.answer"):
            answer.unlink()
        sweep(path.parent)
        path.parent.rmdir()


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _is_written(path: Path) -> bool:
    """Whether a program that runs writes to the copy: it holds the lock, or is there by the number that it noted."""
    if is_held(_lock_of(path)):
        return True
    try:
        header = copies.header_of(path)
    except InputError:
        return False
    return header.pid not in (0, os.getpid()) and alive(header.pid, header.began)
