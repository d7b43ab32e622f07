"""What a segmentation amounts to: volumes in mL (voxels, where their sizes are not known), components, where to look first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from brainseg_engine.core.errors import GeometryError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import REGION_LABELS, Label, LabelArray, Mask, Region, region_mask
from brainseg_engine.core.morphology import bounding_box, components

INTERVAL = "In brackets: where the true volume lies in nine of ten studies like those that the model was calibrated on."
CLASSES = (Label.NCR, Label.ED, Label.ET)
"""The classes that the regions are made of, in the order they are shown."""


def volumes_ml(labels: LabelArray, grid: Grid, regions: Iterable[Region] = tuple(Region)) -> dict[Region, float]:
    """Region → volume in mL of canonical labels (X, Y, Z). Regions that were not asked for are absent, never 0.

    Raises GeometryError where the voxel sizes are not known: count voxels there (:func:`voxel_counts`).
    """
    return {r: count * _voxel_ml(grid) for r, count in voxel_counts(labels, regions).items()}


def class_volumes_ml(labels: LabelArray, grid: Grid, classes: Iterable[Label] = CLASSES) -> dict[Label, float]:
    """Class → volume in mL of canonical labels (X, Y, Z). Raises as :func:`volumes_ml`."""
    return {c: count * _voxel_ml(grid) for c, count in class_voxel_counts(labels, classes).items()}


def voxel_counts(labels: LabelArray, regions: Iterable[Region] = tuple(Region)) -> dict[Region, int]:
    """Region → number of its voxels."""
    counts = _counts(labels)
    return {r: sum(int(counts[v]) for v in REGION_LABELS[r]) for r in regions}


def class_voxel_counts(labels: LabelArray, classes: Iterable[Label] = CLASSES) -> dict[Label, int]:
    """Class → number of its voxels."""
    counts = _counts(labels)
    return {c: int(counts[c]) for c in classes}


def volume_fields(counts: Mapping[str, int], grid: Grid) -> dict[str, Mapping[str, float] | None]:
    """Numbers of voxels as a report names them: ``volumes_ml`` in mL, to 0.001.

    Where the voxel sizes are not known that is None, and ``volumes_voxels`` tells the numbers themselves.
    """
    ml = grid.voxel_ml
    if ml is None:
        return {"volumes_ml": None, "volumes_voxels": dict(counts)}
    return {"volumes_ml": {name: round(count * ml, 3) for name, count in counts.items()}}


def limits(interval: Sequence[float]) -> str:
    """(low, high) in mL, like "36–47"; below 10 mL with one decimal."""
    low, high = interval
    digits = 0 if high >= 10 else 1
    return f"{low:.{digits}f}–{high:.{digits}f}"


def component_counts(labels: LabelArray, regions: Iterable[Region] = tuple(Region)) -> dict[Region, int]:
    """Region → number of its 26-connected components."""
    return {r: components(region_mask(labels, r))[1] for r in regions}


def class_component_counts(labels: LabelArray, classes: Iterable[Label] = CLASSES) -> dict[Label, int]:
    """Class → number of its 26-connected components."""
    return {c: components(labels == int(c))[1] for c in classes}


def axial_axis(grid: Grid) -> int:
    """The voxel axis that runs closest to the inferior–superior direction: axial slices are taken across it."""
    return next(i for i, code in enumerate(grid.orientation) if code in "SI")


def largest_axial_slice(mask: Mask, grid: Grid) -> tuple[int, int] | None:
    """(axis, index) of the axial slice in which ``mask`` (X, Y, Z) covers most; None for an empty mask.

    Of several equally large ones the middle one, so that a column of equal slices is shown at its centre.
    """
    axis = axial_axis(grid)
    areas = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
    if not areas.any():
        return None
    largest = np.flatnonzero(areas == areas.max())
    return axis, int(largest[len(largest) // 2])


def _voxel_ml(grid: Grid) -> float:
    if grid.voxel_ml is None:
        raise GeometryError(
            "The voxel sizes of this image are not known, so it has no volumes in mL. Count voxels instead."
        )
    return grid.voxel_ml


def _counts(labels: LabelArray) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    box = bounding_box(labels != 0)
    inside = labels[box or (slice(0),) * 3]  # counted as 64-bit numbers: of a whole volume they are 71 MB
    counts = np.bincount(inside.ravel(), minlength=256)
    counts[0] += labels.size - inside.size
    return counts
