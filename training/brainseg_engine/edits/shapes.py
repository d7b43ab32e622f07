"""Tools that change the shape of a target in 3D, each labels → labels; nesting and guard hold for all of them.

``labels`` is uint8 of any three axes; the result is a new array. Everything works on bounding boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import REGION_LABELS, Label, LabelArray, Mask, Region
from brainseg_engine.core.morphology import bounding_box, components
from brainseg_engine.edits.rules import FREE, Action, Guard, Target, constrain, members, reshape, target_mask

Index = tuple[int, int, int]

_INSIDE = {Region.WT: REGION_LABELS[Region.TC], Region.TC: REGION_LABELS[Region.ET], Region.ET: frozenset[Label]()}
_AROUND = {Region.TC: REGION_LABELS[Region.WT], Region.ET: REGION_LABELS[Region.TC]}


def fill_holes(labels: LabelArray, target: Target, guard: Guard = FREE, axis: int | None = None) -> LabelArray:
    """Add to the target what it encloses: in 3D, or in every slice across ``axis``. A resection cavity is no hole."""
    if target is not Label.RC:
        guard = _with_protected(guard, Label.RC)
    mask = target_mask(labels, target)
    holes = np.zeros_like(mask)
    box = bounding_box(mask)
    if box is not None and axis is None:
        holes[box] = enclosed(mask[box])
    elif box is not None and axis is not None:
        across, filled = np.moveaxis(mask[box], axis, 0), np.moveaxis(holes[box], axis, 0)
        for i, flat in enumerate(across):
            filled[i] = enclosed(flat)
    return constrain(labels, holes, Action.PAINT, target, guard)


def remove_islands(
    labels: LabelArray, target: Target, below_ml: float, voxel_ml: float, guard: Guard = FREE
) -> LabelArray:
    """Erase the 26-connected components of the target that are smaller than ``below_ml`` millilitres.

    ``voxel_ml`` is the volume of a voxel. An island of core or of enhancement becomes part of the region around it.
    """
    mask = target_mask(labels, target)
    labelled, n = components(mask)
    if n == 0:
        return labels.copy()
    small = np.bincount(labelled.ravel(), minlength=n + 1) * voxel_ml < below_ml
    small[0] = False
    return reshape(labels, target, mask & ~small[labelled], guard)


def component_at(labels: LabelArray, index: Index, of: frozenset[Label]) -> Mask | None:
    """Boolean mask of the 26-connected component of the labels in ``of`` that holds the voxel; None where none does."""
    table = np.zeros(256, dtype=np.bool_)
    table[[int(v) for v in of]] = True
    if not table[labels[index]]:
        return None
    labelled, _ = components(table[labels])
    return np.asarray(labelled == labelled[index])


def relabel_component(labels: LabelArray, index: Index, to: Label, guard: Guard = FREE) -> LabelArray:
    """Give the component of one class at that voxel the class ``to``. A voxel of background changes nothing."""
    here = Label(int(labels[index]))
    component = component_at(labels, index, frozenset({here})) if here is not Label.BACKGROUND else None
    if component is None:
        return labels.copy()
    if to is Label.BACKGROUND:
        return constrain(labels, component, Action.ERASE, here, guard)
    return constrain(labels, component, Action.PAINT, to, guard)


def erase_component(labels: LabelArray, index: Index, target: Target, guard: Guard = FREE) -> LabelArray:
    """Erase the component of the target at that voxel, such as a lesion that is none (target: the whole tumour)."""
    component = component_at(labels, index, members(target))
    if component is None:
        return labels.copy()
    return reshape(labels, target, target_mask(labels, target) & ~component, guard)


def take_region(labels: LabelArray, other: LabelArray, target: Target, guard: Guard = FREE) -> LabelArray:
    """The target becomes what it is in another segmentation of the same shape."""
    return reshape(labels, target, target_mask(other, target), guard)


def smooth(
    labels: LabelArray, target: Target, sigma_mm: float, spacing: Sequence[float], guard: Guard = FREE
) -> LabelArray:
    """Smooth the target's surface with a Gaussian of ``sigma_mm``; the number of its voxels stays the same.

    The voxels that the Gaussian rates highest make up the new target. Regions inside and around it stay as they are: a
    region is smoothed in the room that they leave. What the guard locks keeps its label and is counted in.
    """
    mask = target_mask(labels, target)
    sigmas = [sigma_mm / float(s) for s in spacing]
    box = bounding_box(mask, margin=int(np.ceil(3 * max(sigmas))) + 1)
    if box is None or sigma_mm <= 0:
        return labels.copy()
    from scipy.ndimage import gaussian_filter

    part, now = labels[box], mask[box]
    rating = gaussian_filter(now.astype(np.float32), sigmas, truncate=3.0)
    core, room = _core_and_room(part, target)
    locked = ~guard.allows(part, box)
    rating[~room | (locked & ~now)] = -1.0
    rating[core | (locked & now)] = 2.0
    wanted = np.zeros_like(mask)
    wanted[box] = _highest(rating, now)
    return reshape(labels, target, wanted, guard)


def grow(
    labels: LabelArray,
    target: Target,
    image: NDArray[Any],
    index: Index,
    limits: tuple[float, float],
    reach_mm: float,
    spacing: Sequence[float],
    guard: Guard = FREE,
) -> LabelArray:
    """Paint what is connected with the voxel ``index`` (by faces), has an intensity of ``image`` within ``limits`` and
    lies within ``reach_mm`` of it. Nothing where the voxel itself is out of the limits.
    """
    import cc3d

    reach = [int(reach_mm / float(s)) for s in spacing]
    box = tuple(slice(max(i - r, 0), min(i + r + 1, n)) for i, r, n in zip(index, reach, labels.shape, strict=True))
    here = tuple(i - s.start for i, s in zip(index, box, strict=True))
    inside = (image[box] >= limits[0]) & (image[box] <= limits[1]) & guard.allows(labels[box], box)
    away = [((np.arange(s.start, s.stop) - i) * float(mm)) ** 2 for s, i, mm in zip(box, index, spacing, strict=True)]
    inside &= away[0][:, None, None] + away[1][:, None] + away[2] <= reach_mm**2
    if not inside[here]:
        return labels.copy()
    padded = np.asfortranarray(np.pad(inside, 1))
    labelled = cc3d.connected_components(padded, connectivity=6)[1:-1, 1:-1, 1:-1]
    after = labels.copy()
    after[box] = constrain(labels[box], labelled == labelled[here], Action.PAINT, target, guard.part(box))
    return after


def limits_like(image: NDArray[Any], index: Index, usual: float, share: float = 0.6) -> tuple[float, float]:
    """The intensities that stand out from the ``usual`` one (the brain's median) like the voxel: by at least ``share`` of
    what it stands out by, to the same side, without another end. The voxel counts as the median of its 3×3×3 cube.

    The share was chosen by eye and by trial on the cases at hand; it is a start, which the slider corrects.
    """
    box = tuple(slice(max(i - 1, 0), i + 2) for i in index)
    here = float(np.median(image[box]))
    edge = usual + share * (here - usual)
    return (edge, math.inf) if here >= usual else (-math.inf, edge)


def enclosed(mask: Mask) -> Mask:
    """Boolean mask of what a mask (2D or 3D) encloses: background that no path by edges or faces leads out of."""
    import cc3d

    if mask.ndim == 2:
        return _enclosed_flat(mask)
    outside = np.pad(~mask, 1, constant_values=True)
    labelled = cc3d.connected_components(np.asfortranarray(outside), connectivity=6)
    inner = labelled[1:-1, 1:-1, 1:-1]
    return np.asarray((inner != 0) & (inner != labelled[0, 0, 0]))


def _enclosed_flat(mask: Mask) -> Mask:
    from scipy.ndimage import label

    labelled, n = label(np.pad(~mask, 1, constant_values=True))
    inner = labelled[1:-1, 1:-1]
    return np.asarray((inner != 0) & (inner != labelled[0, 0])) if n > 1 else np.zeros_like(mask)


def _core_and_room(labels: LabelArray, target: Target) -> tuple[Mask, Mask]:
    """What the target always holds, and what it may hold at most, while it is smoothed."""
    if isinstance(target, Label):
        return np.zeros(labels.shape, dtype=np.bool_), np.ones(labels.shape, dtype=np.bool_)
    core, around = np.zeros(256, dtype=np.bool_), np.zeros(256, dtype=np.bool_)
    core[[int(v) for v in _INSIDE[target]]] = True
    around[[int(v) for v in _AROUND.get(target, frozenset(Label) - {Label.RC})]] = True
    return core[labels], around[labels]


def _highest(rating: NDArray[np.float32], now: Mask) -> Mask:
    """As many voxels as ``now`` holds, with the highest rating; of equal ones those of ``now`` first."""
    n = int(np.count_nonzero(now))
    level = np.partition(rating.ravel(), rating.size - n)[rating.size - n]
    chosen = rating > level
    for ties in ((rating == level) & now, (rating == level) & ~now):
        missing = n - int(np.count_nonzero(chosen))
        chosen.ravel()[np.flatnonzero(ties)[:missing]] = True
    return np.asarray(chosen, dtype=np.bool_)


def _with_protected(guard: Guard, label: Label) -> Guard:
    return Guard(guard.protect | {label}, guard.inside, guard.within)
