"""What may be painted: the nesting of the regions, protected classes, the brain, and a range of intensities.

Every edit comes down to one question: which voxels take which one label. :func:`stroke` answers it for a target and a
set of voxels that a hand or a tool has marked; :class:`Guard` takes away what must not be touched. Pure functions on
canonical labels; the arrays are of one shape, in whatever axis order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import REGION_LABELS, Label, LabelArray, Mask, Region

Target = Region | Label
"""What is painted: a nested region, or one of the disjoint classes."""

Key = tuple[slice, ...]
"""Where a box lies in the whole arrays."""

EVERYTHING: Key = (Ellipsis,)  # type: ignore[assignment]  # indexes like a box that is the whole array


class Action(StrEnum):
    """Adding to the target, or taking away from it."""

    PAINT = "paint"
    ERASE = "erase"


@dataclass(frozen=True)
class Edit:
    """An edit that happened, for logs and for what follows the labels.

    ``tool`` is "brush", "eraser", "fill", "polygon", a 3D tool ("interpolate", "grow", …), "result" (a model's answer came
    in), "undo" or "redo"; ``target`` the region or class it worked on ("WT", "class ED", "" where there is none).
    ``changed``: label → voxels gained (negative: lost). ``plane`` is the anatomical plane ("axial", …) and ``index`` the
    slice in file order where the edit lies in one slice; "" and None where it is three-dimensional.
    """

    tool: str
    target: str
    changed: Mapping[Label, int]
    plane: str = ""
    index: int | None = None


@dataclass(frozen=True)
class Stroke:
    """Marked voxels whose label is in ``over`` become ``label``; the others stay."""

    label: Label
    over: frozenset[Label]
    table: Mask = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = np.zeros(256, dtype=np.bool_)
        table[[int(v) for v in self.over]] = True
        object.__setattr__(self, "table", table)


@dataclass(frozen=True, eq=False)
class Range:
    """The intensities of an image that may be painted on, both ends included."""

    image: NDArray[Any]
    low: float
    high: float

    def allows(self, key: Key = EVERYTHING) -> Mask:
        """Boolean mask of the voxels of that box that lie in the range."""
        values = self.image[key]
        return np.asarray((values >= self.low) & (values <= self.high))


@dataclass(frozen=True, eq=False)
class Guard:
    """What an edit must leave alone: voxels of a class in ``protect``, voxels outside ``inside`` (the brain) and those
    whose intensity is out of ``within``. None: no such bound.
    """

    protect: frozenset[Label] = frozenset()
    inside: Mask | None = None
    within: Range | None = None

    def allows(self, labels: LabelArray, key: Key = EVERYTHING) -> Mask:
        """Boolean mask of the voxels that may be changed; ``labels`` are those of the box ``key`` of the whole arrays."""
        free = ~_table(self.protect)[labels]
        if self.inside is not None:
            free &= self.inside[key]
        if self.within is not None:
            free &= self.within.allows(key)
        return free

    def part(self, key: Key) -> Guard:
        """The guard of that box of the arrays."""
        within = self.within
        cut = Range(within.image[key], within.low, within.high) if within is not None else None
        return Guard(self.protect, self.inside[key] if self.inside is not None else None, cut)


FREE = Guard()
"""Nothing is protected."""


def stroke(action: Action, target: Target) -> Stroke:
    """What painting or erasing a target does to a voxel.

    Painting a region puts the voxel into it and changes no region inside it: the whole tumour is painted as oedema where
    there is no tumour, the core as necrosis where there is no core, the enhancing part anywhere. Erasing takes the voxel out
    of the region and leaves the region around it: an erased core is oedema, an erased enhancing part necrosis. A
    resection cavity lies in no region and gives way to what is painted over it; erasing the whole tumour erases it too.
    Painting a class replaces whatever is there; erasing it leaves background.
    """
    if isinstance(target, Label):
        if action is Action.PAINT:
            return Stroke(target, frozenset(Label) - {target})
        return Stroke(Label.BACKGROUND, frozenset({target}) - {Label.BACKGROUND})
    if action is Action.PAINT:
        return Stroke(_PAINTED[target], frozenset(Label) - REGION_LABELS[target])
    over = frozenset(Label) - {Label.BACKGROUND} if target is Region.WT else REGION_LABELS[target]
    return Stroke(_ERASED[target], over)


def constrain(before: LabelArray, marked: Mask, action: Action, target: Target, guard: Guard = FREE) -> LabelArray:
    """The labels after ``marked`` voxels were painted or erased, as far as nesting and ``guard`` allow: a new array."""
    done = stroke(action, target)
    after = before.copy()
    box = _box(marked)
    if box is not None:
        part = before[box]
        after[box][marked[box] & done.table[part] & guard.allows(part, box)] = done.label
    return after


def members(target: Target) -> frozenset[Label]:
    """The labels that a target is made of."""
    return REGION_LABELS[target] if isinstance(target, Region) else frozenset({target})


def target_mask(labels: LabelArray, target: Target) -> Mask:
    """Boolean mask of a target, same shape."""
    return _table(members(target))[labels]


def target_name(target: Target) -> str:
    """The target for a log: "WT" for the region, "class ED" for the class."""
    return target.value if isinstance(target, Region) else f"class {target.name}"


def reshape(labels: LabelArray, target: Target, wanted: Mask, guard: Guard = FREE) -> LabelArray:
    """Labels in which the target is ``wanted``, as far as nesting and ``guard`` allow: a new array.

    What a region loses goes to the region around it, what a class loses to the nearest voxel's other label.
    """
    now = target_mask(labels, target)
    lost, gained = now & ~wanted, wanted & ~now
    if isinstance(target, Region):
        after = constrain(labels, lost, Action.ERASE, target, guard)
    else:
        after = _hand_over(labels, lost, target, guard)
    return constrain(after, gained, Action.PAINT, target, guard)


def changes(before: LabelArray, after: LabelArray) -> dict[Label, int]:
    """Label → voxels gained (negative: lost), of labels that changed. The arrays are of one shape, or the values of the
    changed voxels alone.
    """
    gain = np.bincount(after.ravel(), minlength=256) - np.bincount(before.ravel(), minlength=256)
    return {label: int(gain[label]) for label in Label if gain[label]}


def _hand_over(labels: LabelArray, lost: Mask, target: Label, guard: Guard) -> LabelArray:
    """Give the ``lost`` voxels of a class the label of the nearest voxel of another class."""
    from scipy.ndimage import distance_transform_edt

    after = labels.copy()
    whole = labels == target
    box = _box(whole, margin=1)
    if box is None or not lost.any() or whole[box].all():
        return after
    part = labels[box]
    nearest = distance_transform_edt(whole[box], return_distances=False, return_indices=True)
    free = lost[box] & guard.allows(part, box)
    after[box][free] = part[tuple(nearest)][free]
    return after


def _box(mask: Mask, margin: int = 0) -> Key | None:
    from brainseg_engine.core.morphology import bounding_box

    return bounding_box(mask, margin)


def _table(labels: frozenset[Label]) -> Mask:
    table = np.zeros(256, dtype=np.bool_)
    table[[int(v) for v in labels]] = True
    return table


_PAINTED: Mapping[Region, Label] = {Region.WT: Label.ED, Region.TC: Label.NCR, Region.ET: Label.ET}
_ERASED: Mapping[Region, Label] = {Region.WT: Label.BACKGROUND, Region.TC: Label.ED, Region.ET: Label.NCR}
