"""What a person corrected since the model's answer, and what a proposal would change, in words. Pure; runs in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brainseg_engine.core.labels import LabelArray, Mask, Region, region_masks
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import Writer
from napari_brainseg.display.axes import axis_order
from napari_brainseg.display.history import UndoStep
from napari_brainseg.display.writers import writers_of
from napari_brainseg.session import Answer


@dataclass(frozen=True, eq=False)
class Corrections:
    """The corrections, in file order: the labels, single voxels that are right, and file axis → slices that are right."""

    labels: LabelArray
    voxels: Mask
    slices: Mapping[int, Sequence[int]]


def corrected(
    shown: Segmentation, answer: Answer, painted: frozenset[tuple[int, int]], done: Sequence[UndoStep]
) -> Corrections:
    """What a person corrected in the labels that are ``shown`` since the ``answer``.

    Right is what a person wrote last over a proposal or a draft, and what differs from the answer unless one of these wrote it
    last; and, of the ``painted`` slices (axis of the canvas, index), those which hold such a voxel, as a whole. Who wrote what
    the steps tell that are ``done``, and before them the answer (:func:`~napari_brainseg.display.writers.writers_of`); what
    neither tells counts as a person's.
    """
    order = axis_order(shown.grid.affine)
    right = shown.labels != answer.origin.labels
    writers = writers_of(shown, done, answer)
    if writers is not None:
        right = (right | (writers == Writer.PERSON)) & (writers != Writer.PROPOSAL)
    slices: dict[int, list[int]] = {}
    for axis, index in sorted(painted):
        if np.take(right, index, axis=order[axis]).any():
            slices.setdefault(order[axis], []).append(index)
    return Corrections(np.ascontiguousarray(shown.labels), np.ascontiguousarray(right), slices)


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
