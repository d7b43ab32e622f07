"""How well two masks agree. Never NaN: what cannot be measured is for the caller to leave out.

Dice: Dice 1945. HD95: Huttenlocher et al. 1993 with the 95th percentile of each directed distance, as in
Menze et al. 2015 (doi:10.1109/TMI.2014.2377694); which surface, which percentile and what an empty mask gives is stated
below, since tools differ in all three.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask
from brainseg_engine.core.morphology import surface, union_box


def dice(a: Mask, b: Mask) -> float:
    """Twice the overlap over the sum of sizes, 0…1. Both empty: 1. One empty: 0. ``a`` and ``b``: bool, one shape."""
    _same_shape(a, b)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0


def expected(confidence: float) -> str:
    """What Dice a model expects of its own answer (the mean over the regions), in words that leave it with the model."""
    return f"Overlap the model expects with an expert: Dice {confidence:.2f}"


def hd95(a: Mask, b: Mask, spacing: Sequence[float]) -> float:
    """The 95 % Hausdorff distance in mm between the surfaces of two masks (X, Y, Z) of one shape.

    The larger of the two directed 95th percentiles (linear interpolation) of the distance from each surface voxel's
    centre to the nearest surface voxel's centre of the other mask. A surface is the mask minus its 6-neighbour
    erosion. Both empty: 0. One empty: the diagonal of the grid, the largest distance there is.

    ``spacing``: voxel sides in mm.
    """
    _same_shape(a, b)
    mm = np.asarray(spacing, dtype=np.float64)
    box = union_box(a, b)
    if box is None:
        return 0.0
    edge_a, edge_b = surface(a[box]), surface(b[box])
    if not edge_a.any() or not edge_b.any():
        return float(np.linalg.norm(np.array(a.shape) * mm))
    return max(_directed95(edge_a, edge_b, mm), _directed95(edge_b, edge_a, mm))


def surface_dice(a: Mask, b: Mask, spacing: Sequence[float], tolerance_mm: float) -> float:
    """The share of both surfaces that lies within ``tolerance_mm`` of the other one, 0…1 (normalised surface Dice, Nikolov et
    al. 2018, arXiv:1809.04430), by surface voxels as in :func:`hd95`. Both empty: 1. One empty: 0.
    """
    _same_shape(a, b)
    mm = np.asarray(spacing, dtype=np.float64)
    box = union_box(a, b)
    if box is None:
        return 1.0
    edge_a, edge_b = surface(a[box]), surface(b[box])
    if not edge_a.any() or not edge_b.any():
        return 0.0
    near = np.concatenate([_distances(edge_a, edge_b, mm), _distances(edge_b, edge_a, mm)]) <= tolerance_mm
    return float(np.mean(near))


def _directed95(start: Mask, goal: Mask, mm: NDArray[np.float64]) -> float:
    """The 95th percentile of the distances in mm from the voxels of ``start`` to the nearest of ``goal``."""
    return float(np.percentile(_distances(start, goal, mm), 95))


def _distances(start: Mask, goal: Mask, mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """In mm, from each voxel of ``start`` to the nearest of ``goal``; in no order."""
    from scipy.spatial import cKDTree

    away = np.argwhere(start & ~goal)  # the others are at distance 0
    distances = np.zeros(int(np.count_nonzero(start)))
    if len(away):
        tree = cKDTree(np.argwhere(goal) * mm)
        distances[: len(away)], _ = tree.query(away * mm)
    return distances


def _same_shape(a: Mask, b: Mask) -> None:
    if a.shape != b.shape:
        raise ValueError(f"masks of different shapes: {a.shape} and {b.shape}")
