"""The file of a working copy: a line of JSON, then the compressed labels. It is written and replaced whole.

An answer lies beside the copies that began from it, in the same form with a shorter line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from isal import igzip, isal_zlib

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.forms import Count, Flag, Form, Moment, Number, Text
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Region
from brainseg_engine.core.paths import atomic
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections.record import BaseModel, Writers
from brainseg_engine.io.image import require_size

FORMAT = "napari-brainseg-working-copy/1"
_LEVEL = 1  # isal's: 9 MB of labels in some 10 ms
_Row = tuple[Number, Number, Number, Number]


@dataclass(frozen=True, kw_only=True)
class AnswerHeader:
    """Where the labels of a file lie and whose they are; ``bytes`` that they take in the file."""

    shape: tuple[Count, Count, Count]
    affine: tuple[_Row, _Row, _Row, _Row]
    coding: Text
    made_by: Text
    regions: tuple[Region, ...]
    calibrated: Flag = True
    bytes: Count = 0
    writers: Flag = False
    """Whether behind the labels follows who wrote them."""

    def segmentation(self, labels: LabelArray) -> Segmentation:
        """Those labels (X, Y, Z), as this tells of them."""
        grid = Grid(self.shape, np.array(self.affine), self.calibrated)
        return Segmentation(labels, grid, self.coding, self.made_by, self.regions)


@dataclass(frozen=True, kw_only=True)
class CopyHeader(AnswerHeader):
    """What a working copy tells besides: see :class:`brainseg_engine.corrections.working.Work`.

    ``version`` only rises, ``answer`` is the name of the file that holds the answer ("" for none), ``pid`` and ``began``
    are those of the program that wrote it.
    """

    key: Text
    study_id: Text
    folder: Text | None
    when: Moment
    minutes: Number
    model: BaseModel = field(default_factory=BaseModel)
    steps: list[dict[str, Any]]
    version: Count = 0
    answer: Text = ""
    pid: Count = 0
    began: Number = 0.0


_H = TypeVar("_H", bound=AnswerHeader)
_FORMS: Mapping[type, Form[Any]] = {h: Form(h) for h in (AnswerHeader, CopyHeader)}


@dataclass(frozen=True)
class LeftCopy:
    """A working copy that nobody is writing to. The labels are read when they are wanted."""

    path: Path
    key: str
    study_id: str
    folder: Path | None
    when: str
    minutes: float
    steps: int
    version: int = 0
    """Of several copies of one study the highest was written last; the clock may have been set back."""

    @property
    def local_time(self) -> datetime:
        """When it was written, in local time."""
        return datetime.fromisoformat(self.when).astimezone()


def placed(s: Segmentation) -> dict[str, Any]:
    """What a header tells of a segmentation, as its keywords."""
    return {
        "shape": s.grid.shape,
        "affine": tuple(map(tuple, s.grid.affine.tolist())),
        "calibrated": s.grid.calibrated,
        "coding": s.coding,
        "made_by": s.made_by,
        "regions": s.regions,
    }


def flat(labels: LabelArray) -> memoryview:
    """The labels in the order in which the canvas keeps those of most files: for them no copy, so that the window's
    thread need not wait for one."""
    return labels.ravel(order="F").data


def write(path: Path, header: AnswerHeader, labels: LabelArray, writers: Writers | None = None) -> None:
    """Write the file; ``writers``: who wrote the labels. Raises OSError."""
    content = flat(labels) if writers is None else b"".join((flat(labels), flat(writers)))
    body = igzip.compress(content, compresslevel=_LEVEL, mtime=0)
    record = _FORMS[type(header)].write(replace(header, bytes=len(body), writers=writers is not None))
    with atomic(path, private=True) as part:
        part.write_bytes(records.dumps({"format": FORMAT, **record}).encode() + b"\n" + body)


def read(path: Path, kind: type[_H]) -> tuple[_H, LabelArray, Writers | None]:
    """The header, the labels (X, Y, Z) in that file and who wrote them. Raises InputError when it is damaged."""
    try:
        head, _, body = plain.read(path).partition(b"\n")
        header = _header(head, kind)
        if len(body) != header.bytes or 0 in header.shape:
            raise ValueError
        size = require_size(header.shape, 1, path) * (1 + header.writers)
        stream = isal_zlib.decompressobj(31)
        content = stream.decompress(body, size + 1)
        labels, *more = (
            np.frombuffer(part, dtype=np.uint8).reshape(header.shape, order="F").copy(order="K")
            for part in np.split(np.frombuffer(content, dtype=np.uint8), 1 + header.writers)
        )
        if not stream.eof:
            raise EOFError
    except Exception as e:  # it may be damaged in any way
        raise damaged(path) from e
    return header, labels, more[0] if more else None


def is_whole(path: Path) -> bool:
    """Whether an answer can be read from that file."""
    try:
        read(path, AnswerHeader)
    except InputError:
        return False
    return True


def header_of(path: Path) -> CopyHeader:
    """The header of that working copy. Raises InputError when it is damaged."""
    try:
        with plain.opened(path) as f:
            return _header(f.readline(records.MOST_BYTES), CopyHeader)
    except (OSError, ValueError) as e:
        raise damaged(path) from e


def described(path: Path) -> LeftCopy | None:
    """What the copy tells of itself; None for a damaged one."""
    try:
        h = header_of(path)
    except InputError:
        return None
    return LeftCopy(path, h.key, h.study_id, folder_of(h), h.when, h.minutes, len(h.steps), h.version)


def folder_of(header: CopyHeader) -> Path | None:
    """Where the study lay, if it had a folder."""
    return Path(header.folder) if header.folder else None


def damaged(path: Path) -> InputError:
    """What to say of a file that cannot be read."""
    return InputError(f"The working copy {path} is damaged and cannot be brought back. Delete it.")


def _header(line: bytes, kind: type[_H]) -> _H:
    record = records.parse_json(line)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"not of the format {FORMAT}")
    header: _H = _FORMS[kind].read(record)
    return header
