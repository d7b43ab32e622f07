"""The instances of a DICOM series that derived objects stand on: their identity, their order and where their frames are.

No pixel is read. Positions alone tell where slices are: SliceThickness and SpacingBetweenSlices are optional and may be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io.derived.needed import pydicom

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS mm ↔ the patient coordinates of DICOM (LPS mm)."""

_UNEVEN = 0.1  # of the slice distance: a slice further off is missing or doubled
_NEAR = 0.25  # of a voxel: grids that differ by less hold the same voxels (positions are written as decimal strings)
_DERIVED = ("SEG", "RTSTRUCT", "SR", "DOC", "PR", "KO")


@dataclass(frozen=True)
class SourceSeries:
    """One series of images.

    ``instances``: its datasets without pixels, in the order of the series (one of several frames, or one a slice).
    ``grid``: X along columns, Y along rows, Z along the slices' normal. ``order``: slice along Z → place of its frame in the
    series (from 0).
    """

    instances: tuple[Any, ...]
    grid: Grid
    order: NDArray[np.intp]

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
        """Labels (X, Y, Z) on this grid → (frames, rows, columns) in the order of the series."""
        out = np.empty((labels.shape[2], labels.shape[1], labels.shape[0]), dtype=labels.dtype)
        out[self.order] = labels.transpose(2, 1, 0)
        return out

    def instance_of(self, slice_index: int) -> tuple[Any, int | None]:
        """The instance that holds a slice along Z, and the frame's number (from 1) in one of several frames."""
        place = int(self.order[slice_index])
        return (self.instances[0], place + 1) if self.multiframe else (self.instances[place], None)


def read_series(path: Path) -> dict[str, SourceSeries]:
    """SeriesInstanceUID → series, of the images in a folder and those below it (or of one file).

    Series that form no even stack are left out (localisers, gaps): nothing can be derived on them. Raises InputError for
    what cannot be looked at.
    """
    groups: dict[str, list[Any]] = {}
    for dataset in datasets(path):
        if "Rows" in dataset and str(dataset.get("Modality", "")) not in _DERIVED and "SeriesInstanceUID" in dataset:
            groups.setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    found = {}
    for uid, instances in groups.items():
        try:
            found[uid] = series_of(instances)
        except (
            GeometryError,
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
        ):  # no stack, or tags that are no numbers
            continue
    return found


def datasets(path: Path) -> Iterable[Any]:
    """The DICOM datasets in a folder and below it, without pixels, by name; other files are passed over."""
    dicom = pydicom()
    if not path.exists():
        raise InputError(f"There is no file or folder {path}. Check the path.")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        try:
            yield dicom.dcmread(file, stop_before_pixels=True)
        except Exception:  # no DICOM, or damaged: pydicom raises anything
            continue


def series_of(instances: Sequence[Any]) -> SourceSeries:
    """The series of these datasets. Raises GeometryError when they form no even stack of slices."""
    once = {str(d.SOPInstanceUID): d for d in instances}
    ordered = sorted(once.values(), key=lambda d: (int(d.get("InstanceNumber") or 0), str(d.SOPInstanceUID)))
    multiframe = [d for d in ordered if "NumberOfFrames" in d]
    if multiframe and len(ordered) > 1:
        raise GeometryError("The series consists of several multi-frame instances, which do not form one stack.")
    frames = _frames_of(multiframe[0]) if multiframe else [_plane_of(d) for d in ordered]
    grid, order = _stack(ordered[0], frames)
    return SourceSeries(tuple(ordered), grid, order)


_Plane = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Position (3,), orientation (6,) and pixel spacing (2,) of a frame, as DICOM has them."""


def _plane_of(d: Any) -> _Plane:
    try:
        told = d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing
    except AttributeError as e:
        raise GeometryError(f"An instance does not say where it lies ({e}).") from e
    position, orientation, spacing = (np.array([float(v) for v in values]) for values in told)
    return position, orientation, spacing


def _frames_of(d: Any) -> list[_Plane]:
    try:
        shared = d.SharedFunctionalGroupsSequence[0]
        return [_frame_of(shared, own) for own in d.PerFrameFunctionalGroupsSequence]
    except (AttributeError, IndexError, KeyError) as e:
        raise GeometryError(f"A multi-frame instance does not say where its frames lie ({e}).") from e


def _frame_of(shared: Any, own: Any) -> _Plane:
    def group(name: str) -> Any:
        return (own if name in own else shared)[name].value[0]

    position = group("PlanePositionSequence").ImagePositionPatient
    orientation = group("PlaneOrientationSequence").ImageOrientationPatient
    spacing = group("PixelMeasuresSequence").PixelSpacing
    a, b, c = (np.array([float(v) for v in values]) for values in (position, orientation, spacing))
    return a, b, c


def _stack(first: Any, frames: list[_Plane]) -> tuple[Grid, NDArray[np.intp]]:
    positions = np.array([p for p, _, _ in frames])
    _, orientation, spacing = frames[0]
    if any(not np.allclose(o, orientation, atol=1e-3) or not np.allclose(s, spacing, atol=1e-3) for _, o, s in frames):
        raise GeometryError("The slices of the series differ in orientation or pixel size.")
    if len(frames) < 2:
        raise GeometryError("The series is a single slice.")
    row, column = orientation[:3], orientation[3:]
    along = positions @ np.cross(row, column)
    order = np.argsort(along, kind="stable")
    step = (positions[order[-1]] - positions[order[0]]) / (len(frames) - 1)
    expected = positions[order[0]] + np.arange(len(frames))[:, None] * step
    distance = float(np.linalg.norm(step))
    if distance < 1e-6 or np.abs(positions[order] - expected).max() > _UNEVEN * distance:
        raise GeometryError("The slices of the series are not evenly spaced.")
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * spacing[1], column * spacing[0], step])
    affine[:3, 3] = positions[order[0]]
    return Grid((int(first.Columns), int(first.Rows), len(frames)), LPS @ affine), order


def fitting(found: Mapping[str, SourceSeries], segmentation: Segmentation, wanted: str = "") -> SourceSeries:
    """The series that a mask lies on: by its UID, number or description (``wanted``), else the one of the same voxels.

    Raises InputError when none or several are meant.
    """
    chosen = [s for s in found.values() if not wanted or wanted in _names(s)]
    if wanted and not chosen:
        raise InputError(f"There is no series '{wanted}'; there are: {_listed(found.values())}.")
    on_grid = [s for s in chosen if transferred(segmentation, s.grid) is not None]
    if len(on_grid) == 1:
        return on_grid[0]
    if not on_grid:
        what = f"The series '{wanted}' does not have" if wanted else "None of the DICOM series has"
        raise InputError(
            f"{what} the voxels of the mask ({'×'.join(str(n) for n in segmentation.grid.shape)}); there are: "
            f"{_listed(found.values())}. Choose the series that was segmented."
        )
    raise InputError(f"Several series have the mask's voxels: {_listed(on_grid)}. Name one of them (--series).")


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


def _names(series: SourceSeries) -> set[str]:
    first = series.instances[0]
    return {series.uid, str(first.get("SeriesNumber", "")), str(first.get("SeriesDescription", "")), series.description}


def _listed(series: Iterable[SourceSeries]) -> str:
    listed = [f"{s.description} ({'×'.join(str(n) for n in s.grid.shape)})" for s in series]
    return "; ".join(listed) or "none"
