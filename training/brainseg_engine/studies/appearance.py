"""What a series looks like, whatever its file says: numbers from its voxels that tell T1, T1ce, T2 and FLAIR apart.

All numbers stay the same when the values are scaled or shifted, and hardly change with thick slices, a bias field, noise or
a skull left on: they are taken deep inside the head, in units of its own spread. What is decided from them stands in
:mod:`brainseg_engine.studies.series_order`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import morphology
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Volume

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Features = NDArray[np.float64]

STEP_MM = 3.0
"""Voxels are looked at in steps of about this."""
HEAD_MM = 100.0
"""What lies further below the top of the head (face and neck) is not looked at."""
DEPTHS_MM = (20.0, 12.0, 6.0)
"""How deep under the surface of a head "inside" begins: skin and skull end before the first; the others where little is so
deep. Of a stripped brain it is the last."""
HEAD_ML = 2200.0
"""More than any brain (1,080–1,730 mL in 40 studies; with skin and skull 2,790 mL and more)."""
BLANK = 0.5
"""Least share of the border that has one value where the air was masked out (0.99 and more; else at most 0.17)."""
PAIR_FEATURES = 7
FEW = 400
"""Fewer voxels than this tell nothing."""
QUANTILES = (0.1, 0.5, 1, 2, 5, 10, 16, 25, 35, 65, 75, 84, 90, 95, 98, 99, 99.5, 99.9)


@dataclass(frozen=True)
class Look:
    """One series, coarse: ``data`` (X, Y, Z) along RAS on ``grid``; ``head``: what is no air; ``inside``: deep in it.

    ``stripped``: the air has one value, and what is left is no larger than a brain.

    ``features``: see :func:`look`.
    """

    data: Values
    grid: Grid
    head: Mask
    inside: Mask
    features: Features
    stripped: bool


def look(volume: Volume) -> Look | None:
    """The series coarsely, with its features; None where there is too little to look at.

    The features: quantiles of the inside in units of its quartile distance from its median; where the dark and the bright
    fluid-like parts are (their depth, and how much of them is one piece); the mean of shells by depth.
    """
    data, grid = _coarse(volume)
    ml = float(np.prod(grid.spacing)) / 1000
    head = head_of(data, ml)
    if head.sum() < FEW:
        return None
    stripped = _air(data)[1] and head.sum() * ml < HEAD_ML
    depth = _depth(head, grid, np.inf if stripped else HEAD_MM)
    depths = DEPTHS_MM[-1:] if stripped else DEPTHS_MM
    inside = next((m for d in depths if (m := depth > d).sum() >= 4 * FEW), depth > 0)
    z = _standard(data, inside)
    if inside.sum() < FEW or z is None:
        return None
    return Look(data, grid, head, inside, _features(z, depth, inside), bool(stripped))


def pair_features(a: Look, b: Look) -> Features:
    """How two series of one patient go together: 7 numbers, zeros where they share too little.

    Rank correlation; asymmetry of the difference's tails, as lengths and as shares beyond 4 robust SD; mean rank of each
    where the other is darkest and brightest. ``b`` is brought onto a's grid by the headers; a shift of the heads is
    undone.
    """
    b_data, common = _onto(b, a)
    if common.sum() < FEW:
        return np.zeros(PAIR_FEATURES)
    return _pair(a.data[common], b_data[common])


def swapped(pair: Features) -> Features:
    """The features of (b, a) from those of (a, b)."""
    rho, tail, share, *ranks = pair
    return np.array([rho, -tail, -share, ranks[1], ranks[0], ranks[3], ranks[2]])


def head_of(data: Values, voxel_ml: float) -> Mask:
    """What is no air, of a coarse image along RAS: one piece, without holes in its axial slices.

    Where most of the border has one value, all else (the air was masked out), if that is no more than a brain; else what is
    brighter than a tenth of the way from the 2nd to the 98th percentile. Reformats of an oblique series have such a border
    round the slices and their noisy air.
    """
    from scipy import ndimage

    air, blank = _air(data)
    mask: Mask = data != air if blank else np.ones(data.shape, np.bool_)
    if not blank or mask.sum() * voxel_ml >= HEAD_ML:
        low, high = np.percentile(data[mask], [2, 98])
        mask &= data > low + 0.1 * (high - low)
    in_plane = ndimage.generate_binary_structure(2, 1)[:, :, None]
    whole = ndimage.binary_fill_holes(ndimage.binary_opening(mask), in_plane)  # the neck is open below
    pieces, n = ndimage.label(whole)
    if not n:
        return mask
    largest: Mask = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return largest


def _air(data: Values) -> tuple[float, bool]:
    """The most frequent value of the border, and whether it is nearly all of it."""
    faces = np.concatenate([np.take(data, side, axis).ravel() for axis in range(3) for side in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()]), bool(counts.max() >= BLANK * faces.size)


def _coarse(volume: Volume) -> tuple[Values, Grid]:
    """About every 3 mm of it, axes along RAS, with its grid."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    grid = volume.grid
    step = [max(1, round(STEP_MM / s)) for s in grid.spacing]
    data = volume.data[tuple(slice(None, None, n) for n in step)]
    turned = io_orientation(grid.affine)
    affine = grid.affine @ np.diag([*step, 1.0]) @ inv_ornt_aff(turned, data.shape)
    data = np.nan_to_num(apply_orientation(data, turned).astype(np.float32))
    return data, Grid(data.shape, affine)


def _depth(head: Mask, grid: Grid, height_mm: float) -> NDArray[np.float64]:
    """mm below the surface of the head; 0 in the air and further than ``height_mm`` below the top."""
    depth = morphology.depth(head, grid.spacing)
    filled = np.flatnonzero(head.sum(axis=(0, 1)) >= 20)
    top = filled[-1] if filled.size else head.shape[2] - 1
    depth[:, :, : max(0, int(top - min(height_mm, 1e6) / grid.spacing[2]))] = 0
    return depth


def _standard(data: Values, inside: Mask) -> Values | None:
    """In units of the inside's quartile distance from its median; None where it has no spread."""
    v = data[inside]
    if not v.size:
        return None
    q1, q2, q3 = np.percentile(v, [25, 50, 75])
    spread = max(q3 - q1, 1e-3 * float(v.max() - v.min()))
    return None if spread <= 0 else ((data - np.float32(q2)) / np.float32(spread)).astype(np.float32)


def _features(z: Values, depth: NDArray[np.float64], inside: Mask) -> Features:
    from scipy import ndimage

    v, d = z[inside], depth[inside]
    q = np.percentile(v, QUANTILES)
    tails = np.sign(q) * np.log1p(np.abs(q))
    shells = [float(np.median(v[m])) if (m := (d > lo) & (d <= hi)).sum() > 50 else 0.0
              for lo, hi in ((6, 12), (12, 20), (20, 28), (28, 38), (38, 50), (50, 90))]  # fmt: skip
    where, pieces = [], []
    for low in (True, False):
        limit = np.percentile(v, 4 if low else 96)
        part = inside & ((z < limit) if low else (z > limit))
        labelled, n = ndimage.label(part)
        sizes = np.bincount(labelled.ravel())[1:] if n else np.zeros(1)
        where.append(float(depth[part].mean() - d.mean()) / 10 if part.any() else 0.0)
        pieces.append(float(sizes.max()) / max(int(part.sum()), 1))
    centred = np.clip(v, -4, 4)
    shape = [float((centred**3).mean()) / 10, float(np.corrcoef(centred, d)[0, 1]) if d.std() > 0 else 0.0]
    return np.array([*tails, *np.clip(shells, -3, 3), *where, *pieces, *np.nan_to_num(shape)])


def _onto(b: Look, a: Look) -> tuple[Values, Mask]:
    """b's data on a's grid, and what is inside both."""
    from scipy import ndimage

    if a.grid.same_as(b.grid, tolerance_mm=0.1):
        return b.data, a.inside & b.inside
    shift = _centre(b) - _centre(a)
    to_b = np.linalg.inv(b.grid.affine)
    matrix = to_b[:3, :3] @ a.grid.affine[:3, :3]
    offset = to_b[:3, :3] @ (a.grid.affine[:3, 3] + shift) + to_b[:3, 3]
    moved: Callable[[NDArray[np.float32]], Values] = lambda x: ndimage.affine_transform(  # noqa: E731
        x, matrix, offset, output_shape=a.grid.shape, order=1, cval=0.0
    )
    return moved(b.data), a.inside & (moved(b.inside.astype(np.float32)) > 0.5)


def _centre(x: Look) -> NDArray[np.float64]:
    """RAS mm of the middle of the head's inside."""
    return x.grid.to_world(np.argwhere(x.inside).mean(axis=0))


def _pair(a: Values, b: Values) -> Features:
    n = a.size
    rank: Features = np.argsort(np.argsort(np.stack([a, b]), axis=1), axis=1) / n
    q = np.percentile(np.stack([a, b]), [16, 50, 84], axis=1)
    z = (np.stack([a, b]) - q[1][:, None]) / np.maximum(q[2] - q[0], 1e-6)[:, None]
    difference = z[1] - z[0]
    low, q1, middle, q3, high = np.percentile(difference, [0.2, 25, 50, 75, 99.8])
    tail = np.clip(np.log(max(high - middle, 1e-6) / max(middle - low, 1e-6)), -2, 2)
    sd = max((q3 - q1) / 1.349, 1e-6)
    above, below = (float((s * (difference - middle) > 4 * sd).mean()) for s in (1, -1))
    share = np.log((above + 1e-3) / (below + 1e-3))
    few = max(n // 20, 1)
    dark = [np.argpartition(r, few)[:few] for r in rank]
    bright = [np.argpartition(r, -few)[-few:] for r in rank]
    ranks = [rank[1][dark[0]].mean(), rank[0][dark[1]].mean(), rank[1][bright[0]].mean(), rank[0][bright[1]].mean()]
    return np.array([float(np.corrcoef(rank[0], rank[1])[0, 1]), tail, share, *(r - 0.5 for r in ranks)])
