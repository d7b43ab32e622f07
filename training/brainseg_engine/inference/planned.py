"""Study → array and back as nnU-Net v2 does it (``recipe.plans``): crop to what is not 0, normalise, then resample by splines.

Nothing is cleared away first: what nnU-Net saw in training, air and strays included, the network sees here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg_engine.core import resample
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Shape3
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Study
from brainseg_engine.inference import preprocess, tiles
from brainseg_engine.recipe import Output, Plans, Recipe

THICK = 3.0
"""An axis whose voxels are more than this many times as long as the shortest side is resampled apart."""
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class PlannedInverse(preprocess.Inverse):
    """As :class:`preprocess.Inverse`; logits come back by splines and become probabilities on the study's own voxels."""

    plans: Plans
    spacing: Spacing

    def restored(self, array: torch.Tensor, output: Output, *, logits: bool) -> torch.Tensor:
        """As there."""
        shape = self.working.shape
        array = resample.crop_or_pad(array, (-self.start[0], -self.start[1], -self.start[2]), shape)
        plans, to = self.plans, self.source.shape
        if to != shape:
            where = array.device
            spacings = (wanted(plans, self.spacing), self.spacing)
            moved = spline(array.cpu().numpy(), to, spacings, plans, plans.order_back, plans.order_back_across)
            array = torch.from_numpy(moved).to(where)
        return self.placed(tiles.probabilities(array[None], output)[0] if logits else array)


def prepared(study: Study, recipe: Recipe, plans: Plans) -> tuple[torch.Tensor, PlannedInverse]:
    """(C, *shape) float32 in the recipe's modality order, at least as large as its window, and the way back.

    Raises InputError for an image of zeros, voxels that are no numbers, or a spacing that would make it too large.
    """
    from scipy.ndimage import binary_fill_holes

    original = study.reference.grid
    transform, oriented = preprocess.oriented_as(original, recipe.preprocess.orientation)
    brain: Mask = binary_fill_holes(preprocess.nonzero(study, recipe, transform))
    box = preprocess.box_of(brain, study.id)
    start = (box[0].start, box[1].start, box[2].start)
    shape = (box[0].stop - start[0], box[1].stop - start[1], box[2].stop - start[2])
    source = oriented.crop(start, shape)
    spacing = (float(source.spacing[0]), float(source.spacing[1]), float(source.spacing[2]))
    target = _shape(shape, spacing, plans) if plans.resample and original.calibrated else shape
    if math.prod(target) > preprocess.MOST_VOXELS:
        raise InputError(
            f"The study '{study.id}' would become {'×'.join(map(str, target))} voxels at the model's spacing, more than a "
            f"head has: its own spacing is given as {'×'.join(f'{s:.3g}' for s in spacing)} mm. Check its header."
        )
    channels = []
    for modality, way in zip(recipe.modalities, plans.normalise, strict=True):
        data = preprocess.read_channel(study, modality, transform, box, None)[0].numpy()
        channels.append(_normalised(data, way, brain[box]))
    image = np.stack(channels)
    if target != shape:
        spacings = (spacing, wanted(plans, spacing))
        image = spline(image, target, spacings, plans, plans.order, plans.order_across)
    window = recipe.window.size or (1, 1, 1)
    padded = (max(target[0], window[0]), max(target[1], window[1]), max(target[2], window[-1]))
    begin = (
        -((padded[0] - target[0]) // 2), -((padded[1] - target[1]) // 2), -((padded[2] - target[2]) // 2),
    )  # fmt: skip
    working = resample.with_shape(source, target)
    inverse = PlannedInverse(original, oriented, source, working, transform, start, begin, padded, plans, spacing)
    return resample.crop_or_pad(torch.from_numpy(np.ascontiguousarray(image)), begin, padded), inverse


def wanted(plans: Plans, spacing: Spacing) -> Spacing:
    """The model's spacing (x, y, z) in mm, for a study of that ``spacing``."""
    x, y, z = (own if planned is None else planned for planned, own in zip(plans.spacing_mm, spacing, strict=True))
    return x, y, z


def _shape(shape: Shape3, spacing: Spacing, plans: Plans) -> Shape3:
    x, y, z = (round(s / t * n) for s, t, n in zip(spacing, wanted(plans, spacing), shape, strict=True))
    return max(x, 1), max(y, 1), max(z, 1)


def _normalised(data: NDArray[np.float32], way: str, brain: Mask) -> NDArray[np.float32]:
    """One channel (X, Y, Z) as ``plans.normalise`` says."""
    if way == "zscore_brain":
        values, out = data[brain], data.copy()
        out[brain] = (values - values.mean()) / max(float(values.std()), 1e-8)
        return out
    if way == "zscore":
        standard: NDArray[np.float32] = (data - data.mean()) / np.float32(max(float(data.std()), 1e-8))
        return standard
    if way == "unit":
        unit: NDArray[np.float32] = data - data.min()
        unit /= np.float32(max(float(unit.max()), 1e-8))
        return unit
    return data


def spline(
    array: NDArray[Any], shape: Shape3, spacings: tuple[Any, Any], plans: Plans, order: int, across: int
) -> NDArray[np.float32]:
    """(C, X, Y, Z) → (C, *shape) by splines of ``order``; along an axis of thick slices, apart from the others, of the order
    ``across``. ``spacings``: before and after (x, y, z)."""
    from skimage.transform import resize

    thick = _thick(spacings, plans)
    out = np.empty((array.shape[0], *shape), dtype=np.float32)
    for given, found in zip(array.astype(np.float64), out, strict=True):
        if thick is None:
            found[:] = resize(given, shape, order, mode="edge", anti_aliasing=False)
            continue
        slices = np.moveaxis(given, thick, 0)
        in_plane = tuple(n for axis, n in enumerate(shape) if axis != thick)
        resized = np.stack([resize(s, in_plane, order, mode="edge", anti_aliasing=False) for s in slices])
        found[:] = np.moveaxis(_across(resized, shape[thick], across), 0, thick)
    return out


def _thick(spacings: tuple[Any, Any], plans: Plans) -> int | None:
    """The axis that is resampled apart from the others; None for none."""
    before, after = (np.asarray(s, dtype=np.float64) for s in spacings)
    if plans.apart is False:
        return None
    thick = [s for s in (before, after) if s.max() / s.min() > THICK]
    chosen = before if plans.apart else (thick[0] if thick else None)
    if chosen is None:
        return None
    longest = np.flatnonzero(chosen == chosen.max())
    return int(longest[0]) if longest.size == 1 else None


def _across(slices: NDArray[np.float64], n: int, order: int) -> NDArray[np.float64]:
    """(Z, …) → (n, …) along the first axis."""
    from scipy.ndimage import map_coordinates

    old = slices.shape[0]
    if n == old:
        return slices
    at = old / n * (np.arange(n) + 0.5) - 0.5
    if order == 0:
        nearest = map_coordinates(np.arange(old, dtype=np.float64), [at], order=0, mode="nearest")
        taken: NDArray[np.float64] = slices[nearest.astype(int)]
        return taken
    coordinates = np.meshgrid(at, *(np.arange(k) for k in slices.shape[1:]), indexing="ij")
    found: NDArray[np.float64] = map_coordinates(slices, coordinates, order=order, mode="nearest")
    return found
