"""Window and level from the brain, not from the file's range: intensity scales of MR differ by orders of magnitude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.brain import brain
from brainseg_engine.core.study import Modality

Window = tuple[float, float]

_SAMPLES = 64  # per axis at most: percentiles of 64³ voxels are as good as those of all, and cost milliseconds

_BRIGHTEST = 2.6
"""White at most that many times as far from black as the middle of the brain is: enhancement may saturate, the brain is seen."""

PRESETS: Mapping[str, tuple[float, float]] = {
    "Standard": (1.0, 99.5),
    "Narrow": (20.0, 97.0),
    "Wide": (0.0, 100.0),
}
"""Preset → percentiles of the brain's intensities that become black and white."""

_MODALITY_SHIFT: Mapping[Modality, tuple[float, float]] = {
    Modality.T1: (0.0, 0.0),
    Modality.T1CE: (0.0, 0.4),  # vessels and enhancement are few and bright: keep them off saturation
    Modality.T2: (0.0, 0.0),
    Modality.FLAIR: (0.0, 0.0),
}


def foreground(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Boolean mask (same shape) of head or brain in ``data``, by the one definition of :mod:`brainseg_engine.core.brain`."""
    return brain(np.nan_to_num(np.asarray(data), nan=0.0, posinf=0.0, neginf=0.0))


def brain_window(data: NDArray[Any], preset: str = "Standard", modality: Modality | None = None) -> Window:
    """(black, white) of a preset for ``data`` (any 3D array), from the percentiles of its foreground.

    Always two different finite numbers, also for an empty image. Raises KeyError for a preset that is not in
    :data:`PRESETS`.
    """
    low, high = PRESETS[preset]
    if modality is not None:
        shift = _MODALITY_SHIFT[modality]
        low, high = max(low + shift[0], 0.0), min(high + shift[1], 100.0)
    sample = _sampled(data)
    values = sample[foreground(sample)]
    if not values.size:
        return 0.0, 1.0
    black, middle, white = (float(v) for v in np.percentile(values, (low, 50.0, high)))
    if preset == "Standard":  # a few bright voxels must not darken all others
        white = min(white, black + _BRIGHTEST * (middle - black)) if middle > black else white
    return (black, white) if white > black else (black, black + 1.0)


def full_range(data: NDArray[Any]) -> Window:
    """(lowest, highest) intensity, the ends of the contrast slider; always two different finite numbers."""
    sample = _sampled(data)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return 0.0, 1.0
    low, high = min(float(finite.min()), 0.0), float(finite.max())
    return (low, high) if high > low else (low, low + 1.0)


def _sampled(data: NDArray[Any]) -> NDArray[Any]:
    """Every n-th voxel along each axis, so that at most some 64 remain per axis."""
    return data[tuple(slice(None, None, n) for n in sampling(data.shape))]


def sampling(shape: Sequence[int]) -> tuple[int, ...]:
    """The steps along each axis that leave some 64 voxels."""
    return tuple(max(1, n // _SAMPLES) for n in shape)
