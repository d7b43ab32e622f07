"""What became of each study of a cohort: one small file a study beside the results, so that any number of processes on any
number of hosts write without meeting, and a summary can be put together after any of them was killed.

``OUT/.studies/<id>.json`` says done, skipped, failed or running, where and since when. It also keeps what the file system said
of the study's image files (size, times, number), so that a later call knows a finished study without reading its voxels.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from brainseg_engine.core import records
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.paths import sweep
from brainseg_engine.inference.rows import PredictOutcome
from brainseg_engine.io.derived.pseudonyms import Pseudonyms, hidden
from brainseg_engine.io.series import Layout, Series

_log = logging.getLogger(__name__)
FOLDER = ".studies"
BEAT_S = 20.0
"""How often a process says that it still works on a study."""
LOST_S = 600.0
"""A process on another host that has not been heard of for that long counts as gone."""

Files = Mapping[str, list[int]]
"""Modality → what the file system says of its file."""


@dataclass(frozen=True)
class LedgerEntry:
    """What an earlier call learnt of a study's images: ``files`` as the file system told of them, the SHA-256 of their
    voxels, and whether they had to be prepared (``raw``)."""

    files: Files = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    raw: bool = False


@dataclass(frozen=True)
class StudyState:
    """One study. ``state``: done, skipped, failed, running, or lost (whoever worked on it has gone)."""

    row: PredictOutcome
    state: str
    host: str = ""
    began: float = 0.0
    ended: float = 0.0
    hidden: bool = False
    """Whether it bears a pseudonym, which no other file does."""


@dataclass(frozen=True)
class CohortState:
    """How a cohort stands: its records by id, and the ids that nobody has begun."""

    records: Mapping[str, StudyState]
    waiting: tuple[str, ...] = ()

    def count(self, state: str) -> int:
        """How many studies are in that state."""
        return sum(r.state == state for r in self.records.values())


class Ledger:
    """The records of one output folder. A record that cannot be written is no reason to stop: the results say it too.

    With ``pseudonyms`` no record names a study, nor tells what its images are known by.
    """

    def __init__(self, out: Path, pseudonyms: Pseudonyms | None = None) -> None:
        self.folder = out / FOLDER
        self._pseudonyms = pseudonyms
        self._beat = 0.0

    def plan(self, ids: Iterable[str]) -> None:
        """Note which studies this process is going to take."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(exist_ok=True)
        sweep(self.folder)
        self._write(_plan(), {"ids": [self._id(i) for i in ids], "host": _host()})

    def done(self) -> None:
        """This process has come to the end of what it planned."""
        with contextlib.suppress(OSError):
            self._path(_plan()).unlink()

    def begin(self, id_: str) -> None:
        """This process works on that study from now on."""
        self._beat = time.monotonic()
        row = PredictOutcome(self._id(id_), "running")
        self._write(_name(row.id), {"row": asdict(row), **_who(), "known": asdict(self.known(id_))})

    def beat(self, id_: str) -> None:
        """This process still works on the study."""
        if time.monotonic() - self._beat > BEAT_S:
            self._beat = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self._path(_name(self._id(id_))))

    def end(self, id_: str, row: PredictOutcome, known: LedgerEntry) -> None:
        """What came of it. A study that is skipped again leaves the record of when it was done."""
        if self._pseudonyms is not None:
            row, known = replace(hidden(row, self._pseudonyms), id=self._id(id_)), LedgerEntry()
        secret = {"hidden": True} if self._pseudonyms is not None else {}
        earlier = self._read(_name(row.id))
        before = (earlier.get("row") or {}).get("status")
        if row.status == "skipped" and before in ("done", "skipped") and known == _known(earlier):
            return
        record = {"row": asdict(row), **_who(), "ended": time.time(), "known": asdict(known), **secret}
        self._write(_name(row.id), record)

    def known(self, id_: str) -> LedgerEntry:
        """What was learnt of the study's images."""
        return _known(self._read(_name(self._id(id_))))

    def _id(self, id_: str) -> str:
        return id_ if self._pseudonyms is None else self._pseudonyms.patient(id_)

    def state(self) -> CohortState:
        """How the cohort stands."""
        records: dict[str, StudyState] = {}
        planned: dict[str, None] = {}
        for path in sorted(self.folder.glob("*.json")):
            content = self._read(path.stem)
            if path.name.startswith("plan-"):
                ids = content.get("ids")
                planned |= dict.fromkeys(map(str, ids) if isinstance(ids, list) else ())
            elif (record := _record(content, path)) is not None:
                records[record.row.id] = record
        return CohortState(records, tuple(i for i in planned if i not in records))

    def rows(self) -> list[PredictOutcome]:
        """The rows of all studies that ended."""
        return [
            r.row for r in self.state().records.values() if r.state in ("done", "skipped", "failed") and not r.hidden
        ]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return records.read_object(self._path(name), most=2**22)
        except (OSError, ValueError):
            return {}

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        try:
            records.write_json(self._path(name), content, indent=None)
        except (OutputError, OSError) as e:
            _log.debug("no record of %s: %s", name, e)


def files_of(series: Series) -> Files:
    """What the file system says of a study's image files: size, times of change in ns, number. {} where they cannot be known
    so (slices, archives).

    The time at which the file's entry changed (ctime) is among them: copying other voxels over a file changes it, whatever
    modification time and size the copy keeps. A file that is replaced on the disk by other means than the file system's goes
    unseen: --check-contents reads everything.
    """
    if series.layout is Layout.SLICES:
        return {}
    try:
        if series.listed:
            return {m.value: _joined([s.path for s in x.slices] or [x.path]) for m, x in series.listed.items()}
        return {m.value: stat_of(p) for m, p in series.files.items()}
    except (OSError, AttributeError):
        return {}


def _joined(paths: Iterable[Path | None]) -> list[int]:
    stats = [stat_of(p) for p in paths if p is not None]
    digest = hashlib.sha256(repr(stats).encode()).digest()
    return [len(stats), int.from_bytes(digest[:7], "big")]


def stat_of(path: Path) -> list[int]:
    """Size, times of change in ns, and number of a file. Raises OSError."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _plan() -> str:
    return f"plan-{_host()}-{os.getpid()}"


def _name(id_: str) -> str:
    return f"study-{id_}"


def _host() -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in socket.gethostname())[:60]


def _who() -> dict[str, Any]:
    return {"host": _host(), "pid": os.getpid(), "began": time.time()}


def _known(content: Mapping[str, Any]) -> LedgerEntry:
    entry = content.get("known")
    try:
        return (
            LedgerEntry(dict(entry["files"]), dict(entry["images"]), entry["raw"] is True) if entry else LedgerEntry()
        )
    except (KeyError, TypeError, ValueError):
        return LedgerEntry()


def _record(content: Mapping[str, Any], path: Path) -> StudyState | None:
    try:
        row = PredictOutcome(**content["row"])
        if not all(isinstance(text, str) for text in (row.id, row.status, row.message, row.output)):
            return None
        if not all(
            _numbers(given)
            for given in (
                row.volumes_ml,
                row.volumes_voxels,
                row.volumes_low_ml,
                row.volumes_high_ml,
                {"seconds": row.seconds or 0, "confidence": row.confidence or 0},
            )
        ):
            return None
        state = row.status
        if state == "running" and not _alive(content, path):
            state = "lost"
        began, ended = (float(content.get(k, 0.0)) for k in ("began", "ended"))
        return StudyState(row, state, str(content.get("host", "")), began, ended, content.get("hidden") is True)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _numbers(given: object) -> bool:
    return isinstance(given, dict) and all(isinstance(v, int | float) for v in given.values())


def _alive(content: Mapping[str, Any], path: Path) -> bool:
    if content.get("host") == _host():
        import psutil

        try:
            return bool(psutil.Process(int(content["pid"])).create_time() <= float(content["began"]))
        except (psutil.Error, ValueError, KeyError, OverflowError):
            return False
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime < LOST_S
    return False
