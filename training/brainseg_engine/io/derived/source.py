"""The instances of a DICOM series that derived objects stand on: their identity, their order and where their frames are.

Which frames belong together and where they lie is what :mod:`brainseg_engine.io.dicom` found; no pixel is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io.archive import is_archive
from brainseg_engine.io.derived.needed import pydicom
from brainseg_engine.io.dicom import list_dicom
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.io.found import ImageSeries
from brainseg_engine.io.image import unreadable
from brainseg_engine.io.listing import list_series

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS mm ↔ the patient coordinates of DICOM (LPS mm)."""

_NEAR = 0.25  # of a voxel: grids that differ by less hold the same voxels (positions are written as decimal strings)


@dataclass(frozen=True)
class SourceSeries:
    """One series of images.

    ``instances``: its datasets without pixels, in the order of the series (one of several frames, or one a slice).
    ``grid``: X along columns, Y along rows, Z along the slices. ``slices``: frame, in the order of the series → its slice
    along Z; -1 for a frame of the file that is no part of this image.
    """

    instances: tuple[Any, ...]
    grid: Grid
    slices: NDArray[np.intp]

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return str(self.instances[0].SeriesInstanceUID)

    @property
    def multiframe(self) -> bool:
        """True for one enhanced instance of several frames."""
        return "NumberOfFrames" in self.instances[0]

    @property
    def description(self) -> str:
        """What to call it in a message."""
        first = self.instances[0]
        return f"{first.get('SeriesNumber', '?')} {first.get('SeriesDescription', '')}".strip()

    def frames(self, labels: LabelArray) -> LabelArray:
        """Labels (X, Y, Z) on this grid → (frames, rows, columns) in the order of the series.

        Raises InputError for labels on a slice that the series lacks.
        """
        missing = np.setdiff1d(np.arange(labels.shape[2]), self.slices)
        if labels[:, :, missing].any():
            raise InputError(
                f"The series {self.description} lacks a slice on which the mask has tumour. Export the series again, whole."
            )
        out = np.zeros((len(self.slices), labels.shape[1], labels.shape[0]), dtype=labels.dtype)
        own = self.slices >= 0
        out[own] = labels.transpose(2, 1, 0)[self.slices[own]]
        return out

    def instance_of(self, slice_index: int) -> tuple[Any, int | None]:
        """The instance that holds a slice along Z, and the frame's number (from 1) in one of several frames."""
        place = int(np.flatnonzero(self.slices == slice_index)[0])
        return (self.instances[0], place + 1) if self.multiframe else (self.instances[place], None)


def listed(path: Path) -> list[ImageSeries]:
    """The image series at or below ``path`` that form a stack. Raises InputError for what cannot be looked at."""
    if not path.exists():
        raise InputError(f"There is no file or folder {path}. Check the path.")
    listing = list_series(path) if is_archive(path) else list_dicom(path)
    return [s for s in listing.series if s.usable and s.slices]


def opened(series: ImageSeries) -> SourceSeries:
    """The instances of a listed series, read again with all their tags. Raises InputError."""
    dicom, instances = pydicom(), {}
    with quiet():
        for path in dict.fromkeys(s.path for s in series.slices):
            try:
                instances[path] = dicom.dcmread(path, stop_before_pixels=True, force=True)  # old files have no preamble
            except OSError as e:
                raise unreadable(path, e) from e
    grid = series.grid
    assert grid is not None
    first = next(iter(instances.values()))
    if "NumberOfFrames" in first:
        if len(instances) > 1:
            raise InputError(
                f"The series '{series.facts.label}' consists of several multi-frame files; results need one."
            )
        slices = np.full(int(first.NumberOfFrames), -1, dtype=np.intp)
        for s in series.slices:
            slices[s.frame - 1] = s.k
        return SourceSeries((first,), grid, slices)
    ordered = sorted(series.slices, key=lambda s: (_number(instances[s.path]), s.k))
    return SourceSeries(
        tuple(instances[s.path] for s in ordered), grid, np.array([s.k for s in ordered], dtype=np.intp)
    )


def _number(instance: Any) -> int:
    try:
        return int(instance.InstanceNumber)
    except (AttributeError, TypeError, ValueError):
        return 0


def fitting(
    series: Sequence[ImageSeries],
    segmentation: Segmentation,
    wanted: str = "",
    likely: Callable[[Sequence[ImageSeries]], ImageSeries | None] = lambda _: None,
    *,
    elsewhere: bool = False,
) -> ImageSeries:
    """The series that a mask lies on: by its UID, number or description (``wanted``), else the one of the same voxels.

    Of several with these voxels ``likely`` may say which is meant. ``elsewhere``: the one that is wanted may have
    other voxels. Raises InputError when none or several are.
    """
    chosen = [s for s in series if not wanted or wanted in _names(s)]
    if wanted and not chosen:
        raise InputError(f"There is no series '{wanted}'; there are: {_listed(series)}.")
    on_grid = [s for s in chosen if s.grid is not None and transferred(segmentation, s.grid) is not None]
    if not on_grid and wanted and elsewhere and len(chosen) == 1:
        return chosen[0]
    if not on_grid:
        what = f"The series '{wanted}' does not have" if wanted else "None of the DICOM series has"
        raise InputError(
            f"{what} the voxels of the mask ({'×'.join(str(n) for n in segmentation.grid.shape)}); there are: "
            f"{_listed(series)}. Choose the series that was segmented."
        )
    one = on_grid[0] if len(on_grid) == 1 else likely(on_grid)
    if one is None:
        raise InputError(f"Several series have the mask's voxels: {_listed(on_grid)}. Name one of them (--series).")
    return one


def transferred(segmentation: Segmentation, grid: Grid) -> LabelArray | None:
    """The labels on a series' grid, (X, Y, Z): turned as the series is, never resampled. None where the voxels differ."""
    from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

    transform = ornt_transform(io_orientation(segmentation.grid.affine), io_orientation(grid.affine))
    labels: LabelArray = np.ascontiguousarray(apply_orientation(segmentation.labels, transform))
    if labels.shape != grid.shape:
        return None
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(grid.shape) - 1)
    there = segmentation.grid.to_index(grid.to_world(corners))
    flipped, order = transform[:, 1], transform[:, 0].astype(int)
    here = np.empty_like(there)
    for axis in range(3):
        values = corners[:, order[axis]]
        here[:, axis] = values if flipped[axis] > 0 else grid.shape[order[axis]] - 1 - values
    return labels if np.abs(there - here).max() <= _NEAR else None


def series_uid(series: ImageSeries) -> str:
    """SeriesInstanceUID of a listed series."""
    return series.facts.id.rpartition("/")[0]


def _names(series: ImageSeries) -> set[str]:
    facts = series.facts
    return {
        series_uid(series),
        str(facts.number),
        facts.description,
        facts.label,
        f"{facts.number} {facts.description}",
    }


def _listed(series: Iterable[ImageSeries]) -> str:
    shapes = ((s, "×".join(str(n) for n in s.grid.shape)) for s in series if s.grid is not None)
    return "; ".join(f"{s.facts.number} {s.facts.label} ({shape})" for s, shape in shapes) or "none"
