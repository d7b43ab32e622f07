"""Where a person's corrections lie on the network's grid, and what they say there.

A majority would not do: on a grid finer than the network's, a single corrected slice has no majority anywhere, and would teach
nothing. Instead a corrected voxel counts wherever it meets a voxel of the network's grid: along each axis the centre of the
smaller of the two lies in the larger one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg_engine.core import resample
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Mask
from brainseg_engine.inference.preprocess import Inverse


def placed(mask: Mask, inverse: Inverse) -> Mask:
    """(X, Y, Z) on the original grid → on the network's: the voxels that meet one of the mask's. The mask itself, in the
    network's window, where nothing is resampled.
    """
    return np.asarray(_windowed((_met(mask, inverse) > 0).astype(np.uint8), inverse) != 0)


def placed_labels(labels: LabelArray, known: Mask, inverse: Inverse) -> tuple[Mask, LabelArray]:
    """``known`` on the network's grid, and there the label that most of the known voxels have that are met; 0 elsewhere."""
    most = _met(known & (labels == 0), inverse)
    values, where = np.zeros(most.shape, dtype=np.uint8), most > 0
    for value in np.unique(labels[known & (labels != 0)]):
        met = _met(known & (labels == value), inverse)
        values[met > most] = value
        most = np.maximum(most, met)
        where |= met > 0
    return np.asarray(_windowed(where.astype(np.uint8), inverse) != 0), _windowed(values, inverse)


def _met(mask: Mask, inverse: Inverse) -> NDArray[np.float32]:
    """How many voxels of the mask each voxel of the working grid meets."""
    oriented = resample.reorient(mask, inverse.transform)
    placed = torch.from_numpy(np.ascontiguousarray(oriented, dtype=np.float32))
    if inverse.working is inverse.source:
        return placed.numpy()
    cut = tuple(slice(a, a + n) for a, n in zip(inverse.before, inverse.source.shape, strict=True))
    placed = placed[cut]
    for axis in range(3):
        meets = _meets(inverse.source, inverse.working, axis)
        placed = torch.tensordot(placed, meets, dims=([axis], [1])).movedim(-1, axis)
    return placed.numpy()


def _meets(source: Grid, target: Grid, axis: int) -> torch.Tensor:
    """(n_target, n_source) 0 or 1, along that axis; a centre on a border lies in both."""
    start = source.to_index(target.to_world((0, 0, 0)))[axis]
    size = target.spacing[axis] / source.spacing[axis]
    centres = start + np.arange(target.shape[axis]) * size
    apart = np.abs(centres[:, None] - np.arange(source.shape[axis])[None])
    return torch.from_numpy((apart <= max(1.0, size) / 2 + 1e-3).astype(np.float32))


def _windowed(array: LabelArray, inverse: Inverse) -> LabelArray:
    """Working grid → the network's array."""
    return resample.crop_or_pad(torch.from_numpy(np.ascontiguousarray(array))[None], inverse.start, inverse.shape)[
        0
    ].numpy()
