"""An earlier study of the same head, laid onto the grid of the present one by a rigid motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.prepare.register import register
from brainseg_engine.prepare.rigid import Rigid, carried


@dataclass(frozen=True, eq=False)
class AlignedPrior:
    """The earlier study on the present one's grid: its series, and its labels where it has a mask. ``rigid``: the present
    world → the earlier one. The ``study`` itself is what is measured: nothing is measured on resampled voxels.
    """

    study: Study
    volumes: dict[Modality, Volume]
    labels: LabelArray | None
    rigid: Rigid


def align_prior(prior: Study, current: Study, *, threads: int = 0, cancelled: CancelCheck = never) -> AlignedPrior:
    """Align the earlier study's series with the present one's. Raises InputError where they have no series in common or do not
    overlap, Cancelled.
    """
    common = [m for m in (current.reference.modality, *Modality) if m in prior.volumes and m in current.volumes]
    if not common:
        raise InputError(f"'{prior.id}' and '{current.id}' have no series in common, so they cannot be aligned.")
    reference = current.volumes[common[0]]
    rigid = register(prior.volumes[common[0]], reference, "centre", threads=threads, cancelled=cancelled).rigid
    grid = current.reference.grid
    volumes = {
        m: Volume(carried(v.data, v.grid, grid, rigid), grid, m)
        for m, v in prior.volumes.items()
        if m in current.volumes
    }
    labels = None
    if prior.segmentation is not None:
        mask = prior.segmentation
        classes = np.unique(mask.labels[mask.labels > 0])
        labels = np.zeros(grid.shape, dtype=np.uint8)
        if len(classes):
            shares = np.stack([carried(mask.labels == c, mask.grid, grid, rigid) for c in classes])
            inside = shares.sum(axis=0) > 0.5
            labels[inside] = classes[shares.argmax(axis=0)][inside]
    return AlignedPrior(prior, volumes, labels, rigid)
