"""Working copies: what a person is painting, written every few seconds into the user's own folder.

One file holds all of it: a line of JSON, then the compressed labels. It is replaced whole, so that a kill at any moment
leaves the last copy or the one before. Each program that runs writes its own (``<study key>/<time>-<pid>.work``); a copy
whose program has gone is what a crash left, and is offered when the study is opened again. The answer that was corrected
lies beside it, written once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip

from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Region
from brainseg_engine.core.paths import atomic, home
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections.record import BaseModel

FORMAT = "napari-brainseg-working-copy/1"
_COPIES = "[!.]*.work"  # not the hidden half of one that a kill left
_held: set[Path] = set()
"""The copies that this program is writing to."""

_LEVEL = 1  # isal's: 9 MB of labels in some 10 ms


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
    made: int = field(default_factory=time.monotonic_ns, repr=False)  # of two, the younger is the truth


@dataclass(frozen=True)
class Found:
    """A working copy that nobody is writing to. The labels are read when they are wanted."""

    path: Path
    key: str
    study_id: str
    folder: Path | None
    when: str
    minutes: float
    steps: int

    @property
    def local_time(self) -> datetime:
        """When it was written, in local time."""
        return datetime.fromisoformat(self.when).astimezone()


class Desk:
    """Where one program writes the working copy of one study, from whichever thread: an older one never replaces it."""

    def __init__(self, key: str) -> None:
        self.path = folder() / key / f"{time.time_ns():x}-{os.getpid()}.work"
        _held.add(self.path)
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
            self.path.parent.mkdir(parents=True, exist_ok=True)
            header = _header(work) | {
                "answer": self._answer(work.base),
                "pid": os.getpid(),
                "began": _began(os.getpid()),
            }
            _write(self.path, header, work.segmentation.labels)
        except OSError as e:
            raise OutputError(f"Cannot write {self.path}: {e.strerror or e}. Free some space.") from e

    def _answer(self, base: Segmentation | None) -> str:
        """The name of the file that holds the answer; written when it is not there yet."""
        if base is None:
            return ""
        if self._answered[0] is not base.labels:
            name = hashlib.sha256(_flat(base.labels)).hexdigest()[:16] + ".answer"
            if not (self.path.parent / name).exists():
                header = {"format": FORMAT, **_placed(base)}
                _write(self.path.parent / name, header, base.labels)
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


def folder() -> Path:
    """Where the working copies lie."""
    return home() / "working"


def pending(key: str = "") -> list[Found]:
    """The copies that nobody is writing to, newest first; those of one study when its key is given.

    A damaged one is passed over (``load`` says of it what is wrong).
    """
    found = []
    for path in folder().glob(f"{key or '*'}/{_COPIES}"):
        try:
            header, own = _header_of(path), path in _held
            if not own and (
                int(header["pid"]) == os.getpid() or not _alive(int(header["pid"]), float(header["began"]))
            ):
                found.append(_found(path, header))
        except (InputError, KeyError, TypeError, ValueError):
            continue
    return sorted(found, key=lambda f: f.when, reverse=True)


def load(path: Path) -> Work:
    """The working copy in that file. Raises InputError when it is damaged."""
    header, labels = _read(path)
    try:
        segmentation = _segmentation(header, labels)
        base = None
        if header["answer"] and (path.parent / header["answer"]).exists():
            base = _segmentation(*_read(path.parent / header["answer"]))
        found = _found(path, header)
        return Work(
            found.key, found.study_id, segmentation, base, BaseModel.from_dict(header["model"]), found.folder,
            tuple(header["steps"]), found.minutes, found.when,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as e:
        raise _damaged(path) from e


def discard(path: Path) -> None:
    """Remove a working copy, and the answers that no other copy of its study refers to."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    if any(path.parent.glob(_COPIES)):
        return
    with contextlib.suppress(OSError):
        for rest in path.parent.iterdir():  # the answers, and halves that a kill left
            rest.unlink()
        path.parent.rmdir()


def _header(work: Work) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "key": work.key,
        "study_id": work.study_id,
        "folder": str(work.folder) if work.folder else None,
        "when": work.when,
        "minutes": round(work.minutes, 3),
        "model": work.model.to_dict(),
        "steps": list(work.steps),
        **_placed(work.segmentation),
    }


def _placed(s: Segmentation) -> dict[str, Any]:
    return {
        "shape": list(s.grid.shape),
        "affine": s.grid.affine.tolist(),
        "calibrated": s.grid.calibrated,
        "coding": s.coding,
        "made_by": s.made_by,
        "regions": [r.value for r in s.regions],
    }


def _segmentation(header: Mapping[str, Any], labels: LabelArray) -> Segmentation:
    x, y, z = header["shape"]
    grid = Grid((x, y, z), np.array(header["affine"]), bool(header.get("calibrated", True)))
    regions = tuple(Region(r) for r in header["regions"])
    return Segmentation(labels, grid, str(header["coding"]), str(header["made_by"]), regions)


def _flat(labels: LabelArray) -> memoryview:
    """The labels in the order in which the canvas keeps those of most files: for them no copy, so that the window's
    thread need not wait for one."""
    return labels.ravel(order="F").data


def _write(path: Path, header: Mapping[str, Any], labels: LabelArray) -> None:
    body = igzip.compress(_flat(labels), compresslevel=_LEVEL, mtime=0)
    with atomic(path, private=True) as part:
        part.write_bytes(json.dumps({**header, "bytes": len(body)}, ensure_ascii=False).encode() + b"\n" + body)


def _read(path: Path) -> tuple[dict[str, Any], LabelArray]:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        header = json.loads(head)
        if header["format"] != FORMAT or len(body) != header["bytes"]:
            raise ValueError
        labels = np.frombuffer(igzip.decompress(body), dtype=np.uint8).reshape(header["shape"], order="F")
    except (OSError, ValueError, KeyError, TypeError, EOFError, igzip.BadGzipFile) as e:
        raise _damaged(path) from e
    return header, labels.copy(order="K")


def _header_of(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as f:
            header = json.loads(f.readline())
    except (OSError, ValueError) as e:
        raise _damaged(path) from e
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _damaged(path)
    return header


def _found(path: Path, header: Mapping[str, Any]) -> Found:
    where = Path(header["folder"]) if header["folder"] else None
    return Found(
        path,
        str(header["key"]),
        str(header["study_id"]),
        where,
        str(header["when"]),
        float(header["minutes"]),
        len(header["steps"]),
    )


def _damaged(path: Path) -> InputError:
    return InputError(f"The working copy {path} is damaged and cannot be brought back. Delete it.")


def _began(pid: int) -> float:
    import psutil

    return float(psutil.Process(pid).create_time())


def _alive(pid: int, began: float) -> bool:
    """True when that very process runs (its number may have gone to another)."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - began) < 2.0 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
