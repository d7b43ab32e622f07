"""Answers of several models for one study: how far they agree, and their mean. Arrays alone; runs in the background."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from brainseg_engine.core.labels import LabelArray, Region, labels_from_regions, region_mask
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import BaseModel
from napari_brainseg.session import Answer

Agreement = Mapping[Region, float | None]
"""Region → Dice; None where neither finds any of it, or one of them does not tell it."""


def agreement(one: Segmentation, other: Segmentation) -> Agreement:
    """How far two segmentations of one grid agree."""
    both = [r for r in Region if r in one.regions and r in other.regions]
    return {r: _dice(one.labels, other.labels, r) for r in both}


def _dice(one: LabelArray, other: LabelArray, region: Region) -> float | None:
    a, b = region_mask(one, region), region_mask(other, region)
    size = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / size if size else None


def in_words(name: str, dice: Agreement) -> str:
    """``monai: WT 0.93, TC 0.88, ET –``."""
    told = ", ".join(f"{r} {'–' if d is None else f'{d:.2f}'}" for r, d in dice.items())
    return f"{name}: {told}"


def mean_of(answers: Mapping[str, Answer]) -> Answer:
    """The mean of the region probabilities of those answers, each region over those that give it; where some have none, the
    majority of their labels. Raises ValueError for fewer than two."""
    if len(answers) < 2:
        raise ValueError("a mean needs two answers")
    first = next(iter(answers.values())).segmentation
    several = [a.probabilities or _certain(a.segmentation) for a in answers.values()]
    regions = tuple(r for r in Region if any(r in p for p in several))
    mean = {}
    for r in regions:
        given = [p[r].astype(np.float32) for p in several if r in p]
        mean[r] = (sum(given[1:], start=given[0]) / len(given)).astype(np.float16)
    empty = np.zeros(first.labels.shape, dtype=np.bool_)
    masks = (mean[r] > 0.5 if r in mean else empty for r in (Region.WT, Region.TC, Region.ET))
    made_by = "mean of " + ", ".join(answers)
    notes = {"model": made_by, "models": [dict(a.notes) for a in answers.values()]}
    segmentation = Segmentation(labels_from_regions(*masks), first.grid, first.coding, made_by, regions)
    return Answer(segmentation, BaseModel(made_by), None, notes, probabilities=mean)


def _certain(segmentation: Segmentation) -> Mapping[Region, np.ndarray[tuple[int, ...], np.dtype[np.float16]]]:
    """Labels as probabilities of 0 and 1."""
    return {r: region_mask(segmentation.labels, r).astype(np.float16) for r in segmentation.regions}
