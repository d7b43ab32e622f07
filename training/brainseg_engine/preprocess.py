"""Study → the array a network sees, and the way back onto the grid it came from.

Steps: axes to R, A, S (a view), resampling to the recipe's spacing, crop to the brain's box, z-score inside the brain per
modality after clipping at percentiles, zero outside, padding to sizes the network takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg_engine import resample
from brainseg_engine.errors import InputError
from brainseg_engine.geometry import Grid, Shape3
from brainseg_engine.labels import LabelArray
from brainseg_engine.recipe import Recipe
from brainseg_engine.study import Modality, Study


@dataclass(frozen=True)
class Inverse:
    """The way back. ``original`` is the reference's grid, ``ras`` the same reoriented, ``working`` resampled; the network's
    array is ``working`` from ``start`` on, of ``shape`` (padding included)."""

    original: Grid
    ras: Grid
    working: Grid
    transform: NDArray[np.float64]
    start: Shape3
    shape: Shape3

    def probabilities(self, array: torch.Tensor) -> torch.Tensor:
        """(K, *shape) → (K, X, Y, Z) on the original grid, linear; 0 outside the window."""
        back = (-self.start[0], -self.start[1], -self.start[2])
        array = resample.crop_or_pad(array, back, self.working.shape)
        array = resample.linear(array, self.working, self.ras)
        undo = resample.invert_orientation(self.transform)
        axes = [int(np.flatnonzero(undo[:, 0] == new)[0]) for new in range(3)]
        flipped = [1 + old for old in range(3) if undo[old, 1] < 0]
        return (
            array.flip(flipped).permute(0, *(1 + a for a in axes)).contiguous()
            if flipped or axes != [0, 1, 2]
            else array
        )

    def forward_labels(self, labels: LabelArray) -> LabelArray:
        """(X, Y, Z) labels on the original grid → (*shape); for training targets."""
        working = resample.reorient(labels, self.transform)
        if self.working is not self.ras:
            working = resample.majority(working, self.ras, self.working)
        tensor = torch.from_numpy(np.array(working, order="C"))[None]
        return resample.crop_or_pad(tensor, self.start, self.shape)[0].numpy()


def preprocess(study: Study, recipe: Recipe, divisor: int) -> tuple[torch.Tensor, Inverse]:
    """(C, *shape) float32 in the recipe's modality order, every side a multiple of ``divisor``; and its Inverse.

    Raises InputError for a missing modality, an image of zeros or voxels that are no numbers, GeometryError for grids
    that differ.
    """
    study.require(recipe.modalities)
    original = study.reference.grid
    transform, ras = resample.to_ras(original)
    working = resample.with_spacing(ras, recipe.preprocess.spacing_mm)
    resampled = working is not ras
    box = None if resampled else _union_box(study, recipe, transform)
    channels = []
    for m in recipe.modalities:
        data = resample.reorient(study.volumes[m].data, transform)
        if box is not None:
            data = data[box]
        tensor = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))[None]
        _require_numbers(tensor, m, study.id)
        channels.append(resample.linear(tensor, ras, working) if resampled else tensor)
    image = torch.cat(channels)
    offset: Shape3 = (0, 0, 0) if box is None else (box[0].start, box[1].start, box[2].start)
    if box is None:
        box = _box((image != 0).any(dim=0).numpy(), study.id)
        offset = (box[0].start, box[1].start, box[2].start)
        image = image[(slice(None), *box)]
    image = torch.stack([_zscore(c, recipe.preprocess.clip_percentiles) for c in image])
    start, shape = _window(offset, image.shape[1:], recipe.preprocess.margin_voxels, divisor)
    inside = (start[0] - offset[0], start[1] - offset[1], start[2] - offset[2])
    return resample.crop_or_pad(image, inside, shape), Inverse(original, ras, working, transform, start, shape)


def _require_numbers(image: torch.Tensor, modality: Modality, study_id: str) -> None:
    """One NaN would make the whole channel NaN, and the answer an empty mask."""
    if not all(torch.isfinite(extreme) for extreme in torch.aminmax(image)):
        raise InputError(
            f"{modality.title} of the study '{study_id}' holds voxels that are no numbers (NaN or infinite). "
            "Set them to 0, or export the series again."
        )


def _union_box(study: Study, recipe: Recipe, transform: NDArray[np.float64]) -> tuple[slice, slice, slice]:
    mask = np.zeros(study.reference.grid.shape, dtype=bool)
    for m in recipe.modalities:
        mask |= study.volumes[m].data != 0
    return _box(resample.reorient(mask, transform), study.id)


def _box(mask: NDArray[np.bool_], study_id: str) -> tuple[slice, slice, slice]:
    slices = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            raise InputError(f"All images of the study '{study_id}' are zero everywhere; there is nothing to segment.")
        slices.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return slices[0], slices[1], slices[2]


def _window(offset: Shape3, size: torch.Size, margin: int, divisor: int) -> tuple[Shape3, Shape3]:
    """Box → (start, shape): grown by the margin and then to a multiple of the divisor, evenly on both sides."""
    shape = [-(-(n + 2 * margin) // divisor) * divisor for n in size]
    start = [o - (s - n) // 2 for o, s, n in zip(offset, shape, size, strict=True)]
    return (start[0], start[1], start[2]), (shape[0], shape[1], shape[2])


def _zscore(channel: torch.Tensor, clip: tuple[float, float]) -> torch.Tensor:
    """Clip to percentiles and standardise over the voxels that are not 0; 0 stays 0."""
    brain = channel != 0
    values = channel[brain]
    if values.numel() == 0:
        return channel
    low, high = _percentiles(values, clip)
    values = values.clamp(low, high)
    mean, sd = values.mean(), values.std(unbiased=False)
    out = torch.zeros_like(channel)
    out[brain] = (values - mean) / sd.clamp_min(1e-6)
    return out


def _percentiles(values: torch.Tensor, clip: tuple[float, float]) -> tuple[float, float]:
    n = values.numel()
    low = values.kthvalue(max(1, round(n * clip[0] / 100))).values
    high = values.kthvalue(min(n, max(1, round(n * clip[1] / 100)))).values
    return float(low), float(high)
