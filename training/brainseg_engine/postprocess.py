"""Probabilities → canonical labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from brainseg_engine.labels import Label, LabelArray, Mask, Region, labels_from_regions
from brainseg_engine.morphology import components
from brainseg_engine.recipe import Postprocess


def to_labels(
    probabilities: torch.Tensor, regions: Sequence[Region], config: Postprocess, voxel_ml: float
) -> LabelArray:
    """(K, X, Y, Z) in the order of ``regions`` → labels (X, Y, Z) with the nesting enforced.

    A model that knows the whole tumour only gives the class "tumour, unknown".
    """
    masks = {r: (p > config.threshold).cpu().numpy() for r, p in zip(regions, probabilities, strict=True)}
    for region, least in config.min_component_ml.items():
        masks[region] = remove_small(masks[region], round(least / voxel_ml))
    empty = np.zeros(probabilities.shape[1:], dtype=bool)
    if set(masks) == {Region.WT}:
        return np.where(masks[Region.WT], np.uint8(Label.TUMOUR), np.uint8(0))
    return labels_from_regions(*(masks.get(r, empty) for r in (Region.WT, Region.TC, Region.ET)))


def remove_small(mask: Mask, voxels: int) -> Mask:
    """Drop 26-connected components of fewer than ``voxels`` voxels."""
    if voxels <= 1 or not mask.any():
        return mask
    labelled, _ = components(mask)
    keep = np.bincount(labelled.ravel()) >= voxels
    keep[0] = False
    return keep[labelled]
