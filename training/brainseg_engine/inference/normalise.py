"""Intensities → what a network sees: the ways of a recipe's ``preprocess.normalise``, one channel at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg_engine.recipe import Preprocess

Limits = tuple[float, float]


def limits(data: NDArray[Any], config: Preprocess) -> Limits | None:
    """What ``minmax`` and ``percentiles`` bring to 0 and 1, from the whole volume (X, Y, Z); None for the other ways."""
    if config.normalise == "minmax":
        return float(data.min()), float(data.max())
    if config.normalise == "percentiles":
        low, high = np.percentile(data, config.clip_percentiles)
        return float(low), float(high)
    return None


def channel(data: torch.Tensor, limits: Limits | None, config: Preprocess) -> torch.Tensor:
    """(X, Y, Z) float32 as the crop left it → normalised; a constant one becomes 0 between ``limits``."""
    if limits is not None:
        low, high = limits
        out = (data - low) / (high - low) if high > low else torch.zeros_like(data)
        return out.clamp_(0, 1) if config.normalise == "percentiles" else out
    if config.normalise == "zscore":
        return _zscore(data, config.clip_percentiles)
    if config.normalise == "slice_zscore":
        return _slice_zscore(data, config.clip_percentiles, config.background)
    return data


def outside(config: Preprocess) -> float:
    """The value around the brain, with which sides are padded."""
    return config.background if config.normalise == "slice_zscore" else 0.0


def _zscore(channel: torch.Tensor, clip: Limits) -> torch.Tensor:
    """Clip to percentiles and standardise over the voxels that are not 0; 0 stays 0."""
    array = channel.numpy()
    brain = array != 0  # numpy picks them out and puts them back several times faster than torch
    values = torch.from_numpy(array[brain])
    if values.numel() == 0:
        return channel
    low, high = _percentiles(values, clip)
    values.clamp_(low, high)
    mean, sd = values.mean(), values.std(unbiased=False)
    out = np.zeros_like(array)
    out[brain] = values.sub_(mean).div_(sd.clamp_min(1e-6)).numpy()
    return torch.from_numpy(out)


def _percentiles(values: torch.Tensor, clip: Limits) -> Limits:
    n = values.numel()
    low, high = max(1, round(n * clip[0] / 100)) - 1, min(n, max(1, round(n * clip[1] / 100))) - 1
    ordered = np.partition(values.numpy(), (low, high))
    return float(ordered[low]), float(ordered[high])


def _slice_zscore(channel: torch.Tensor, clip: Limits, background: float) -> torch.Tensor:
    """Slice by slice along the last axis: clip to percentiles of all pixels, standardise over those that are not 0, and
    ``background`` where the smallest value is. A slice, or its part that is not 0, of one value stays as it is."""
    slices = np.ascontiguousarray(np.moveaxis(channel.numpy(), -1, 0))
    for plane in slices:
        if not plane.any():
            continue
        np.clip(plane, *np.percentile(plane, clip), out=plane)
        values = plane[plane != 0]
        if values.size == 0 or values.std() == 0 or plane.std() == 0:
            continue
        lowest = plane == plane.min()
        plane -= values.mean()
        plane /= values.std()
        plane[lowest] = background
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(slices, 0, -1)))
