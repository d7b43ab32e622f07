"""What image series there are in a place, of whatever format: patients, their visits, the series of each.

One record for all formats, so that the window, the commands and the API show one table. What identifies a patient is in
:class:`Identity` and :class:`SliceSource` alone, both out of every ``repr``: it stays in memory, for writing results
that belong to the same patient. People, visits and series are otherwise told apart by neutral labels.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal, Self

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.series import SeriesFacts

Severity = Literal["note", "warning", "error"]


@dataclass(frozen=True)
class Remark:
    """One thing about a series: ``code`` for programs, ``message`` (one or two sentences) for people.

    A ``note`` is worth knowing and changes nothing, a ``warning`` should be looked at, an ``error`` means that the series
    cannot be read.
    """

    code: str
    severity: Severity
    message: str


@dataclass(frozen=True)
class Identity:
    """Who and when, as the headers have it. For memory only: never logged, cached, or made part of a file's name."""

    patient_id: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    study_date: str = field(default="", repr=False)


@dataclass(frozen=True)
class SliceSource:
    """Where the slice ``k`` (index along the grid's third axis) comes from.

    ``frame`` counts from 1, as DICOM does; ``position`` is that of the first voxel's centre in LPS mm. ``slope`` and
    ``intercept`` make stored values the image's.
    """

    k: int
    path: Path = field(repr=False)
    frame: int = 1
    sop_instance_uid: str = field(default="", repr=False)
    sop_class_uid: str = ""
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    slope: float = 1.0
    intercept: float = 0.0


class UnpackedFolder:
    """A private folder of unpacked files: removed by :meth:`close`, with the last that refers to it, or at the program's end."""

    def __init__(self, folder: Path, remove: Callable[[], object]) -> None:
        self.folder = folder
        self._remove = weakref.finalize(self, remove)

    def close(self) -> None:
        """Remove the files now; series that lie in them can no longer be read."""
        self._remove()

    def __reduce__(self) -> tuple[object, ...]:
        """In another process it names the folder and removes nothing: who unpacked it does."""
        return UnpackedFolder, (self.folder, _nothing)


def _nothing() -> None:
    """What removing is where the folder is another process's."""


@dataclass(frozen=True)
class ImageSeries:
    """One image that can be read: a DICOM series (or one echo, time point … of it), or a file.

    ``facts``: what is known before the voxels are read. ``grid`` is None where the places of the voxels are not known.
    ``slices``: of DICOM, where each slice comes from, in the order of the grid's third axis; a missing slice has none.
    ``path``: of other formats, the file; ``channel`` of a file of several, from 0. ``remarks``: what to know of it.
    ``missing_mm``: distances along the slice normal of slices that are not there (their voxels are read as 0).
    """

    facts: SeriesFacts
    grid: Grid | None
    remarks: tuple[Remark, ...] = ()
    slices: tuple[SliceSource, ...] = ()
    path: Path | None = field(default=None, repr=False)
    channel: int | None = None
    missing_mm: tuple[float, ...] = ()
    identity: Identity = field(default_factory=Identity)
    workspace: UnpackedFolder | None = field(default=None, repr=False, compare=False)

    @property
    def usable(self) -> bool:
        """True when nothing stands in the way of reading it as a volume."""
        return self.grid is not None and all(r.severity != "error" for r in self.remarks)

    @property
    def flags(self) -> tuple[str, ...]:
        """The codes of its remarks."""
        return tuple(r.code for r in self.remarks)


@dataclass(frozen=True)
class Visit:
    """One study of a patient: ``label`` like "study 1 (2 of 3)", its day (None where not known), its series."""

    label: str
    series: tuple[ImageSeries, ...]
    day: date | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Patient:
    """One person: ``label`` like "patient 1" (or a BIDS subject), the visits in the order of their dates."""

    label: str
    visits: tuple[Visit, ...]


@dataclass(frozen=True)
class Skipped:
    """Files that are no image series: why in words, and their paths. ``lost``: they should have been images."""

    reason: str
    paths: tuple[Path, ...] = field(repr=False)
    lost: bool = False

    @property
    def count(self) -> int:
        """How many files these are."""
        return len(self.paths)


@dataclass(frozen=True)
class Listing:
    """What a place holds. A context manager: leaving it removes what was unpacked for it."""

    patients: tuple[Patient, ...]
    skipped: tuple[Skipped, ...] = ()
    workspace: UnpackedFolder | None = field(default=None, repr=False, compare=False)

    @property
    def series(self) -> Iterator[ImageSeries]:
        """Every series of every patient and visit."""
        return (s for p in self.patients for v in p.visits for s in v.series)

    def close(self) -> None:
        """Remove what was unpacked; nothing happens to files that were there before."""
        if self.workspace is not None:
            self.workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
