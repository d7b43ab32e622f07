"""Cut to the head: a series that reaches down to the neck leads registration and brain extraction astray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainseg_engine.core import resample
from brainseg_engine.core.study import Volume
from brainseg_engine.prepare.quality import head
from brainseg_engine.prepare.rigid import carried

HEAD_MM = 200.0
"""From the vertex down to below the cerebellum, with room for a tilted head; what lies further down is neck."""
_COARSE_MM = 4.0


def without(volume: Volume) -> Volume:
    """The series without the slices that lie more than :data:`HEAD_MM` below the vertex; itself where there are none."""
    grid = volume.grid
    axis = next(i for i, code in enumerate(grid.orientation) if code in "SI")
    if grid.shape[axis] * grid.spacing[axis] <= HEAD_MM:
        return volume
    coarse = resample.with_spacing(grid, _COARSE_MM)
    mask = head(carried(volume.data, grid, coarse))
    rows = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    if not rows.size:
        return volume
    up = grid.orientation[axis] == "S"
    top = (rows[-1] + 1 if up else rows[0]) * coarse.spacing[axis] / grid.spacing[axis]
    length = HEAD_MM / grid.spacing[axis]
    low, high = (top - length, grid.shape[axis]) if up else (0, top + length)
    start, stop = max(0, int(np.floor(low))), min(grid.shape[axis], int(np.ceil(high)))
    if stop - start >= grid.shape[axis]:
        return volume
    at = [slice(None)] * 3
    at[axis] = slice(start, stop)
    begin, shape = [0, 0, 0], list(grid.shape)
    begin[axis], shape[axis] = start, stop - start
    cut = grid.crop((begin[0], begin[1], begin[2]), (shape[0], shape[1], shape[2]))
    return replace(volume, data=volume.data[tuple(at)], grid=cut, header=None)
