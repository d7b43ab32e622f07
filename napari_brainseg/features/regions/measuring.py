"""Numbers of the labels as they are: volumes, components, agreement with the mask at hand. Pure; runs in the background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, LabelArray, Mask, Region
from brainseg_engine.core.morphology import bounding_box, components
from brainseg_engine.core.study import Segmentation
from brainseg_engine.scores.overlap import dice
from napari_brainseg.display.region_style import ITEMS, MAIN_ITEMS, Scheme, item_labels
from napari_brainseg.session import ItemStats, Measures, checksum

_NEEDS: Mapping[str, frozenset[Region]] = {
    "NCR": frozenset({Region.TC, Region.ET}),
    "ED": frozenset({Region.WT, Region.TC}),
    "ET": frozenset({Region.ET}),
    "WT": frozenset({Region.WT}),
    "TC": frozenset({Region.TC}),
}
"""Item → the regions that must have been measured for it to be known."""


def measure(
    labels: LabelArray, grid: Grid, measured: tuple[Region, ...] = tuple(Region), truth: Segmentation | None = None
) -> Measures:
    """Volume in mL and in voxels, number of 26-connected components, and Dice against ``truth``, of every region and class.

    A mask is not compared with itself, nor nothing with nothing: the 1 that comes of that tells nothing. Main items are
    always there, the others where there is a voxel of them. What the labels or the truth do not tell of is None.
    """
    labelled = labels != 0 if truth is None else (labels != 0) | (truth.labels != 0)
    box = bounding_box(labelled) or (slice(0, 1),) * 3
    inside, reference = labels[box], truth.labels[box] if truth is not None else None
    itself = reference is not None and np.array_equal(inside, reference)
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
            known = truth is not None and not itself and _NEEDS.get(item, frozenset()) <= set(truth.regions)
            other = members_mask(reference, members) if known and reference is not None else None
            agreement = dice(mask, other) if other is not None and (mask.any() or other.any()) else None
            voxels = int(np.count_nonzero(mask))
            items[item] = ItemStats(_ml(voxels, grid.voxel_ml), components(mask)[1], agreement, voxels)
    return Measures(items, checksum(labels))


def sizes(
    measures: Measures, scheme: Scheme, counts: NDArray[np.int64], voxel_ml: float | None
) -> dict[str, ItemStats]:
    """The items of the scheme as measured, their sizes from ``counts`` (label → voxels): those of labels as they are now."""
    by_item = {}
    for item, stats in measures.items.items():
        if item in ITEMS[scheme] and stats.voxels is not None:
            voxels = sum(int(counts[label]) for label in item_labels(scheme, item))
            by_item[item] = replace(stats, voxels=voxels, ml=_ml(voxels, voxel_ml))
    return by_item


def _ml(voxels: int, voxel_ml: float | None) -> float | None:
    return None if voxel_ml is None else voxels * voxel_ml


def members_mask(labels: LabelArray, members: frozenset[Label]) -> Mask:
    """Boolean mask (same shape) of the voxels whose label is one of ``members``."""
    lookup = np.zeros(256, dtype=np.bool_)
    lookup[[int(m) for m in members]] = True
    return lookup[labels]
