"""Scores lesion by lesion, by the rules of BraTS 2023 for adult glioma.

Sources: the announcement on Synapse (syn51156910, thread 10357) and the challenge's own program
(github.com/rachitsaluja/BraTS-2023-Metrics), whose defaults for BraTS-GLI are the constants below. The rules, for each
region of each case:

1. The truth is dilated by 3 mm: 3 steps of the 18-neighbourhood on the challenge's grid of 1 mm. Parts of the truth whose
   dilations are 26-connected are one lesion. What is scored is the truth itself, never its dilation.
2. The prediction falls into its 26-connected components. All those that touch the dilation of a lesion belong to it, and
   together they are its prediction, with all their voxels. A component may belong to several lesions.
3. Each lesion has the Dice and HD95 of its own voxels against its prediction; one that nothing touches is missed: Dice 0,
   HD95 374 mm (about the diagonal of the challenge's grid of 240×240×155 mm).
4. Lesions of at most 50 mm³ are dropped, found or missed; a component that touches one is nevertheless no extra.
5. Every component that touches no lesion is extra, however small: Dice 0, HD95 374 mm.
6. The case's score is the mean over the lesions that were not dropped and the extras: sum / (found + missed + extra).
   Where there are none at all, Dice is 1 and HD95 0.

Two things differ from the challenge's program. Distances are those of :func:`brainseg_engine.scores.overlap.hd95`, between the
centres of surface voxels, where the program weighs surface elements by their area: HD95 of a compact
lesion differs by a fraction of a voxel, of parts that lie apart by more (2.3 mm were seen);
Dice and the counts do not. And the dilation is measured in mm on grids whose voxels are not of 1 mm, where the program
would take 3 voxels, however large.

panoptica (Kofler et al. 2023, arXiv:2312.02608) answers another question: it dilates nothing, matches lesions and
components by overlap (by default one to one, from an IoU of 0.5 on), averages over the matched ones alone (SQ) and tells
misses and extras by an F1 score of its own (RQ). Here a touch is enough, matches are many to many, and misses and extras
enter the mean. The two scores are not to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask
from brainseg_engine.core.morphology import bounding_box, components
from brainseg_engine.scores.overlap import dice, hd95

DILATION_MM = 3.0
SMALLEST_MM3 = 50.0
"""A lesion counts when it is larger than this."""
PENALTY_MM = 374.0

_TOLERANCE = 1e-3  # spacings come from headers in float32: 1.0000001 mm is 1 mm


@dataclass(frozen=True)
class LesionScore:
    """One region of one case: the means, and the lesions found, missed and extra that they are taken over."""

    dice: float
    hd95_mm: float
    found: int
    missed: int
    extra: int


def lesion_wise(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> LesionScore:
    """Score the lesions of ``truth`` (X, Y, Z) by the rules above. ``spacing``: voxel sides in mm.

    Raises ValueError for masks of different shapes.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"masks of different shapes: {prediction.shape} and {truth.shape}")
    reach = max(_steps(DILATION_MM, mm) for mm in spacing)
    box = bounding_box(prediction | truth, margin=reach)
    if box is None:
        return LesionScore(1.0, 0.0, 0, 0, 0)
    prediction, truth = prediction[box], truth[box]
    zones, n_lesions = components(dilated(truth, spacing))
    parts, n_parts = components(prediction)
    touching = _touching(zones, parts)
    counted = _larger_than_smallest(np.where(truth, zones, 0), n_lesions, spacing)
    scores, missed = [], 0
    for lesion in counted:
        own = touching[touching[:, 0] == lesion, 1]
        if len(own):
            chosen = np.zeros(n_parts + 1, dtype=np.bool_)
            chosen[own] = True
            a, b = chosen[parts], truth & (zones == lesion)
            scores.append((dice(a, b), hd95(a, b, spacing)))
        else:
            missed += 1
    extra = n_parts - len(np.unique(touching[:, 1]))
    n = len(scores) + missed + extra
    if not n:
        return LesionScore(1.0, 0.0, 0, 0, 0)
    far = sum(mm for _, mm in scores) + PENALTY_MM * (missed + extra)
    return LesionScore(sum(d for d, _ in scores) / n, far / n, len(scores), missed, extra)


def lesions(mask: Mask, spacing: Sequence[float]) -> tuple[NDArray[np.uint32], int]:
    """The lesions of ``mask`` (X, Y, Z) by rules 1 and 4: an array of the same shape, 0 outside, 1…n, and n.

    What lies within 6 mm of each other is one lesion; those of at most 50 mm³ are left out. ``spacing``: voxel sides in mm.
    """
    out = np.zeros(mask.shape, dtype=np.uint32)
    box = bounding_box(mask, margin=max(_steps(DILATION_MM, mm) for mm in spacing))
    if box is None:
        return out, 0
    inside = mask[box]
    zones, n = components(dilated(inside, spacing))
    own = np.where(inside, zones, 0)
    kept = _larger_than_smallest(own, n, spacing)
    numbers = np.zeros(n + 1, dtype=np.uint32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    out[box] = numbers[own]
    return out, len(kept)


def _larger_than_smallest(zones: NDArray[np.uint32], n: int, spacing: Sequence[float]) -> NDArray[np.intp]:
    """The numbers (1…n) of the lesions that count."""
    sizes = np.bincount(zones.ravel(), minlength=n + 1) * float(np.prod(spacing))
    sizes[0] = 0
    return np.flatnonzero(sizes > SMALLEST_MM3 * (1 + _TOLERANCE))


def dilated(mask: Mask, spacing: Sequence[float]) -> Mask:
    """``mask`` (X, Y, Z) with all voxels within 3 mm along each axis and 6 mm along the three together.

    On a grid of 1 mm these are 3 steps of the 18-neighbourhood. ``spacing``: voxel sides in mm.
    """
    sx, sy, sz = spacing
    rows = _along_x(mask, _steps(DILATION_MM, sx))
    out = np.zeros(mask.shape, dtype=np.bool_)
    ry, rz = _steps(DILATION_MM, sy), _steps(DILATION_MM, sz)
    for dy in range(-ry, ry + 1):
        for dz in range(-rz, rz + 1):
            left = 2 * DILATION_MM - abs(dy) * sy - abs(dz) * sz
            source = rows[min(_steps(left, sx), len(rows) - 1)]
            out[:, _to(dy), _to(dz)] |= source[:, _to(-dy), _to(-dz)]
    return out


def _along_x(mask: Mask, reach: int) -> list[Mask]:
    """``mask`` dilated along the first axis alone, by 0, 1, … ``reach`` voxels."""
    rows = [np.array(mask, dtype=np.bool_)]
    for _ in range(reach):
        wider = rows[-1].copy()
        wider[1:] |= rows[-1][:-1]
        wider[:-1] |= rows[-1][1:]
        rows.append(wider)
    return rows


def _steps(mm: float, spacing: float) -> int:
    """How many voxels of that side fit into a length; a thousandth too little is enough."""
    return int(mm / spacing + _TOLERANCE)


def _to(shift: int) -> slice:
    """The part of an axis that a shift by so many voxels fills."""
    return slice(shift, None) if shift >= 0 else slice(None, shift)


def _touching(zones: NDArray[np.uint32], parts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The pairs (lesion, component) that share a voxel: (n, 2)."""
    both = (zones > 0) & (parts > 0)
    pairs = np.stack([zones[both], parts[both]], axis=1).astype(np.int64)
    return np.unique(pairs, axis=0) if len(pairs) else pairs
