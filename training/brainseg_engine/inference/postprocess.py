"""Probabilities → canonical labels."""

from __future__ import annotations

import numpy as np
import torch

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import (
    REGION_LABELS,
    Label,
    LabelArray,
    Mask,
    Region,
    labels_from_regions,
    region_masks,
)
from brainseg_engine.core.morphology import bounding_box, components
from brainseg_engine.recipe import Output, Postprocess


def to_labels(probabilities: torch.Tensor, output: Output, config: Postprocess, grid: Grid) -> LabelArray:
    """The labels of :func:`decided`."""
    return decided(probabilities, output, config, grid)[0]


def decided(
    probabilities: torch.Tensor, output: Output, config: Postprocess, grid: Grid
) -> tuple[LabelArray, dict[Region, float]]:
    """(K, X, Y, Z) as ``output`` says, on ``grid`` → labels (X, Y, Z) with the nesting enforced, and the mL that the rule for
    specks took from each region, where it took any: a small lesion must not vanish without a word.

    A model that knows the whole tumour only gives the class "tumour, unknown". Rules in millilitres are left out where
    the grid's voxel size is not known.
    """
    dropped: dict[Region, float] = {}
    cavity = None
    if output.kind == "classes":
        classes = probabilities.argmax(dim=0).to(torch.uint8).cpu().numpy()
        masks, cavity = region_masks(classes), classes == Label.RC
    else:
        at = {r: config.thresholds.get(r, config.threshold) for r in output.regions}
        masks = {r: (p > at[r]).cpu().numpy() for r, p in zip(output.regions, probabilities, strict=True)}
    if grid.voxel_ml is not None:
        dropped = _apply_volumes(masks, config, grid.voxel_ml)
    empty = np.zeros(probabilities.shape[1:], dtype=bool)
    if set(masks) == {Region.WT}:
        return np.where(masks[Region.WT], np.uint8(Label.TUMOUR), np.uint8(0)), dropped
    labels = labels_from_regions(*(masks.get(r, empty) for r in (Region.WT, Region.TC, Region.ET)))
    if output.cavity and cavity is not None:
        labels[cavity & (labels == 0)] = Label.RC
    return labels, dropped


def _apply_volumes(masks: dict[Region, Mask], config: Postprocess, voxel_ml: float) -> dict[Region, float]:
    """Drop what is too small, in place; returns the mL that went."""
    dropped = {}
    for region, least in config.min_component_ml.items():
        before = masks[region]
        masks[region] = remove_small(before, round(least / voxel_ml))
        gone = int(np.count_nonzero(before)) - int(np.count_nonzero(masks[region]))
        if gone:
            dropped[region] = gone * voxel_ml
    et = masks.get(Region.ET)
    if et is not None and np.count_nonzero(et) * voxel_ml < config.min_et_ml:
        masks[Region.TC] = masks[Region.TC] | et if Region.TC in masks else et
        masks[Region.ET] = np.zeros_like(et)
    return dropped


def of_regions(probabilities: torch.Tensor, output: Output) -> torch.Tensor:
    """(K, …) as ``output`` says → a probability for each of its regions: as they are, or sums of classes (WT of NCR, ED
    and ET, TC of NCR and ET)."""
    if output.kind == "regions":
        return probabilities
    classes = set(range(output.channels))
    return torch.stack([probabilities[sorted(REGION_LABELS[r] & classes)].sum(dim=0) for r in output.regions])


def remove_small(mask: Mask, voxels: int) -> Mask:
    """Drop 26-connected components of fewer than ``voxels`` voxels."""
    box = bounding_box(mask) if voxels > 1 else None
    if box is None:
        return mask
    labelled, _ = components(mask[box])
    keep = np.bincount(labelled.ravel()) >= voxels
    keep[0] = False
    out = np.zeros_like(mask)
    out[box] = keep[labelled]
    return out
