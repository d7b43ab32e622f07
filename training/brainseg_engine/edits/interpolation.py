"""Shape-based interpolation: from a few painted slices to all between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import LabelArray, Mask
from brainseg_engine.edits.rules import FREE, Guard, Target, reshape, target_mask

Flat = tuple[slice, slice]


def interpolate(
    labels: LabelArray,
    target: Target,
    axis: int,
    spacing: Sequence[float],
    *,
    slices: Sequence[int] | None = None,
    most_apart: int | None = None,
    guard: Guard = FREE,
) -> LabelArray:
    """Fill the target in between slices across ``axis``: a new array; the slices that are given stay as they are.

    ``slices`` are those to go by (what lies between two of them is replaced); None: those that hold the target, so that
    only empty ones between them are filled. Pairs more than ``most_apart`` slices apart, and pairs of which one is
    empty, are left alone. ``spacing`` is the voxel size in mm.

    Between two slices the signed distances to the target's border are mixed in proportion, and the target is where the
    mixture is positive (Raya & Udupa 1990, doi:10.1109/42.52980). Two shapes that do not overlap would leave nothing in
    between: their centres are brought together first.
    """
    mask = target_mask(labels, target)
    across = np.moveaxis(mask, axis, 0)
    held = np.flatnonzero(across.any(axis=(1, 2)))
    given = held if slices is None else np.array(sorted(set(slices)), dtype=int)
    wanted = mask.copy()
    out = np.moveaxis(wanted, axis, 0)
    sides = [float(s) for i, s in enumerate(spacing) if i != axis]
    first, last = len(across), -1
    for a, b in pairwise(given.tolist()):
        close = most_apart is None or b - a <= most_apart
        if b - a > 1 and close and across[a].any() and across[b].any():
            between(across[a], across[b], out[a + 1 : b], sides)
            first, last = min(first, a + 1), max(last, b)
    if last < 0:
        return labels.copy()
    key = tuple(slice(first, last) if i == axis else slice(None) for i in range(3))
    after = labels.copy()
    after[key] = reshape(labels[key], target, wanted[key], guard.part(key))
    return after


def between(a: Mask, b: Mask, out: Mask, sides: Sequence[float]) -> None:
    """Write into ``out`` (n, H, W) the n shapes on the way from ``a`` to ``b`` (H, W); ``sides``: pixel size in mm."""
    from scipy.ndimage import shift

    box = _flat_box(a | b)
    from_a, from_b = (_signed_distance(np.pad(m[box], 1), sides) for m in (a, b))  # each with an outside all around
    apart = np.zeros(2) if (a & b).any() else _centre(b) - _centre(a)
    n = len(out)
    out[:] = False
    for i in range(n):
        t = (i + 1) / (n + 1)
        near, far = from_a, from_b
        if apart.any():
            near = shift(from_a, t * apart, order=1, mode="nearest")
            far = shift(from_b, (t - 1) * apart, order=1, mode="nearest")
        out[i][box] = ((1 - t) * near + t * far > 0)[1:-1, 1:-1]


def _signed_distance(mask: Mask, sides: Sequence[float]) -> NDArray[np.float64]:
    """Distance in mm to the border of a 2D mask, positive inside; the border runs half a pixel off the outermost
    voxels' centres.
    """
    from scipy.ndimage import distance_transform_edt

    inside = distance_transform_edt(mask, sampling=sides)
    outside = distance_transform_edt(~mask, sampling=sides)
    half = min(sides) / 2
    return np.asarray(np.where(mask, inside - half, half - outside))


def _centre(mask: Mask) -> NDArray[np.float64]:
    return np.asarray(np.argwhere(mask).mean(axis=0))


def _flat_box(mask: Mask) -> Flat:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
