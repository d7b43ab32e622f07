"""What a person corrected since the model's answer, and what a proposal would change, in words. Pure; runs in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brainseg_engine.core.labels import LabelArray, Mask, Region, region_masks
from brainseg_engine.core.study import Segmentation
from napari_brainseg.display.axes import axis_order, to_display, to_file
from napari_brainseg.display.history import DRAFT, PROPAGATED, UndoStep


@dataclass(frozen=True, eq=False)
class Corrections:
    """The corrections, in file order: the labels, single voxels that are right, and file axis → slices that are right."""

    labels: LabelArray
    voxels: Mask
    slices: Mapping[int, Sequence[int]]


def corrected(
    labels: LabelArray, answer: Segmentation, painted: frozenset[tuple[int, int]], done: Sequence[UndoStep]
) -> Corrections:
    """What a person corrected in ``labels`` (in the canvas' axes) since the ``answer``.

    Right is what a person wrote last over a proposal or a draft, and what differs from the answer unless one of these wrote it
    last; and, of the ``painted`` slices (axis of the canvas, index), those which hold such a voxel, as a whole. Who wrote what
    the steps tell that that are ``done``: what was done before the first of them counts as a person's.
    """
    affine = answer.grid.affine
    before, _ = to_display(answer.labels, affine)
    ours = np.zeros(labels.shape, dtype=np.bool_)  # written last by a proposal
    once = np.zeros(labels.shape, dtype=np.bool_)  # written by a proposal at some time
    for step in done:
        mask, proposed = step.mask, step.tool in (PROPAGATED, DRAFT)
        ours[step.box][mask] = proposed
        if step.tool == "result":  # a new answer: what was there before counts no more
            once[:] = False
        elif proposed:
            once[step.box][mask] = True
    right = ((labels != before) | once) & ~ours
    slices: dict[int, list[int]] = {}
    for axis, index in sorted(painted):
        if np.take(right, index, axis=axis).any():
            slices.setdefault(axis_order(affine)[axis], []).append(index)
    return Corrections(
        np.ascontiguousarray(to_file(labels, affine)), np.ascontiguousarray(to_file(right, affine)), slices
    )


def in_words(before: LabelArray, after: LabelArray, voxel_ml: float | None) -> str:
    """What changes, like "1,234 voxels in 8 regions…": voxels in all, and per region what it gains and loses in mL."""
    parts = []
    old, new = region_masks(before), region_masks(after)
    for region in Region:
        plus, minus = (int(np.count_nonzero(a[region] & ~b[region])) for a, b in ((new, old), (old, new)))
        if plus or minus:
            parts.append(f"{region.value} +{_amount(plus, voxel_ml)} −{_amount(minus, voxel_ml)}")
    unit = "mL" if voxel_ml is not None else "voxels"
    return f"{np.count_nonzero(before != after):,} voxels change ({', '.join(parts)} {unit})"


def _amount(voxels: int, voxel_ml: float | None) -> str:
    return f"{voxels:,}" if voxel_ml is None else f"{voxels * voxel_ml:.1f}"
