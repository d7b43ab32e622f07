"""Numbers of the labels as they are: volumes, components, agreement with the mask at hand. Pure; runs in the background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, LabelArray, Mask, Region
from brainseg_engine.core.morphology import components
from brainseg_engine.core.study import Segmentation, Study
from brainseg_engine.scores.overlap import dice
from napari_brainseg.display.region_style import ITEMS, MAIN_ITEMS, Scheme, item_labels
from napari_brainseg.features.study.reading import checksum
from napari_brainseg.session import ItemStats, Measures

_NEEDS: Mapping[str, frozenset[Region]] = {
    "NCR": frozenset({Region.TC, Region.ET}),
    "ED": frozenset({Region.WT, Region.TC}),
    "ET": frozenset({Region.ET}),
    "WT": frozenset({Region.WT}),
    "TC": frozenset({Region.TC}),
}
"""Item → the regions that must have been measured for it to be known."""

BY_HAND = "hand"
"""Who made a mask that was painted from nothing."""


def measure(
    labels: LabelArray, grid: Grid, measured: tuple[Region, ...] = tuple(Region), truth: Segmentation | None = None
) -> Measures:
    """Volume in mL and in voxels, number of 26-connected components, and Dice against ``truth``, of every region and class.

    Main items are always there, the others where there is a voxel of them. What the labels or the truth do not tell of is
    None.
    """
    labelled = labels != 0 if truth is None else (labels != 0) | (truth.labels != 0)
    box = bounding_box(labelled) or (slice(0, 1),) * 3
    inside, reference = labels[box], truth.labels[box] if truth is not None else None
    held = set(np.flatnonzero(np.bincount(inside.ravel(), minlength=256)).tolist())
    items: dict[str, ItemStats] = {}
    for scheme in Scheme:
        for item in ITEMS[scheme]:
            members = item_labels(scheme, item)
            if item in items or (item not in MAIN_ITEMS[scheme] and held.isdisjoint(members)):
                continue
            if not _NEEDS.get(item, frozenset()) <= set(measured):
                items[item] = ItemStats()
                continue
            mask = members_mask(inside, members)
            known = truth is not None and _NEEDS.get(item, frozenset()) <= set(truth.regions)
            agreement = dice(mask, members_mask(reference, members)) if known and reference is not None else None
            voxels, ml = int(np.count_nonzero(mask)), grid.voxel_ml
            items[item] = ItemStats(None if ml is None else voxels * ml, components(mask)[1], agreement, voxels)
    return Measures(items, checksum(labels))


def report(study: Study, segmentation: Segmentation, edited: bool, notes: Mapping[str, Any]) -> dict[str, Any]:
    """What is written beside a saved mask: what it is, who made it, and the regions' volumes (voxels where mL are not known)."""
    items = measure(segmentation.labels, segmentation.grid, segmentation.regions).items
    beside = " and a person" if edited and segmentation.made_by not in ("", BY_HAND) else ""
    return {
        "study": study.id,
        **notes,
        "made_by": segmentation.made_by + beside,
        "edited": edited,
        "regions": {r.value: _volume(items[r.value]) if r in segmentation.regions else None for r in Region},
    }


def _volume(stats: ItemStats) -> dict[str, float | None]:
    told: dict[str, float | None] = {"volume_ml": stats.ml}
    return told if stats.ml is not None else {**told, "volume_voxels": stats.voxels}


def members_mask(labels: LabelArray, members: frozenset[Label]) -> Mask:
    """Boolean mask (same shape) of the voxels whose label is one of ``members``."""
    lookup = np.zeros(256, dtype=np.bool_)
    lookup[[int(m) for m in members]] = True
    return lookup[labels]


def bounding_box(mask: Mask) -> tuple[slice, ...] | None:
    """The slices around what is True; None where nothing is."""
    box = []
    for axis in range(3):
        where = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(where):
            return None
        box.append(slice(int(where[0]), int(where[-1]) + 1))
    return tuple(box)
