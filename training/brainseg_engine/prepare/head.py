"""Whether a series is an image of a whole head."""

from __future__ import annotations

import numpy as np

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Volume

LEAST_SLICES, LEAST_MM = 8, 50.0
"""A series with fewer slices, or of a smaller field of view along any side, is no image of a brain."""


def shows_head(grid: Grid) -> bool:
    """Whether the field of view is large enough for a brain."""
    return min(grid.shape) >= LEAST_SLICES and min(np.array(grid.shape) * grid.spacing) >= LEAST_MM


def require_head(volume: Volume) -> None:
    """Raise InputError for a series of a few slices, of a small field of view, or without an image."""
    name, grid = volume.modality.title, volume.grid
    where = f" ({volume.path.name})" if volume.path else ""
    if not grid.calibrated:
        raise InputError(f"{name}{where} tells no voxel size, so it cannot be aligned. Give it as NIfTI or DICOM.")
    if min(grid.shape) < LEAST_SLICES:
        raise InputError(
            f"{name}{where} has only {min(grid.shape)} slices, which is no image of a whole brain (a localiser, perhaps). "
            "Choose another series."
        )
    sides = np.array(grid.shape) * np.array(grid.spacing)
    if sides.min() < LEAST_MM:
        raise InputError(
            f"{name}{where} covers only {sides.min():.0f} mm along one side, which is less than a brain. Choose another series."
        )
    data = volume.data
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise InputError(f"{name}{where} holds voxels that are no numbers (NaN or infinite). Export the series again.")
    if data.min() == data.max():
        raise InputError(f"{name}{where} has one value everywhere, so there is no image in it. Give the right file.")
