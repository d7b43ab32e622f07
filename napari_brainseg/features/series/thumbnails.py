"""A small picture of each series, to be recognised by. Pure; runs in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from napari_brainseg.display.axes import axis_order, to_display

if TYPE_CHECKING:
    from brainseg_engine.io.found import ImageSeries

SIDE = 46
"""Pixels of a side."""
Picture = NDArray[np.uint8]


def pictures(
    series: Sequence[ImageSeries], progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> Mapping[str, Picture]:
    """Id → the middle slice (SIDE, SIDE); a series that cannot be read has none."""
    made: dict[str, Picture] = {}
    for i, s in enumerate(series):
        progress(Progress("pictures", i / len(series)))
        if cancelled():
            break
        try:
            flat = middle(s)
        except BrainsegError:
            continue
        if flat is not None:
            made[s.facts.id] = small(flat)
    return made


def middle(series: ImageSeries) -> NDArray[np.float32] | None:
    """Its middle slice across the longest voxel side, the right way up; None where there is no volume. Of DICOM only that
    slice is read. Raises InputError."""
    from brainseg_engine.io.listing import read_listed

    grid = series.grid
    if not series.usable or grid is None:
        return None
    axis = int(np.argmax(np.round(grid.spacing, 1))) if max(grid.spacing) > 1.05 * min(grid.spacing) else 2
    if series.slices:
        wanted = sorted(series.slices, key=lambda s: s.k)[len(series.slices) // 2]
        series, axis = replace(series, slices=(wanted,)), 2
        index = wanted.k
    else:
        index = grid.shape[axis] // 2
    data = read_listed(series).data
    view, affine = to_display(data, grid.affine)
    for shown in range(3):
        if affine[shown, shown] < 0:
            view = np.flip(view, shown)
    shown_axis = axis_order(grid.affine).index(axis)
    at = index if affine[shown_axis, shown_axis] > 0 else view.shape[shown_axis] - 1 - index
    return np.asarray(np.take(view, at, axis=shown_axis), np.float32)


def small(flat: NDArray[np.float32]) -> Picture:
    """The slice in SIDE × SIDE pixels, black around it, from its 2nd to its 99.5th percentile."""
    from scipy.ndimage import zoom

    low, high = np.percentile(flat, (2, 99.5))
    grey = np.clip((flat - low) / max(float(high - low), 1e-6), 0, 1)
    scaled = zoom(grey, SIDE / max(grey.shape), order=1)[:SIDE, :SIDE]
    out = np.zeros((SIDE, SIDE), np.uint8)
    top, left = ((SIDE - n) // 2 for n in scaled.shape)
    out[top : top + scaled.shape[0], left : left + scaled.shape[1]] = np.round(255 * scaled)
    return out
