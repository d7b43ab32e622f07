"""What images look like: numbers that tell one scanner, protocol or way of preparing from another, whatever the anatomy.

Read from what a network sees, within the brain, so that a study's scale, orientation and margins do not matter. Of each series:
how much more voxels differ that are farther apart, along each axis (thick slices, smoothing and noise show there), and
quantiles of the normalised intensities (contrast, bias fields).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

STEPS = (1, 2, 4)
"""Voxels between the two that are compared."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
STRIDE = 3
"""Across the axis along which neighbours are compared, one line of voxels in so many is looked at."""
OF_A_SERIES = 3 * (len(STEPS) - 1) + len(QUANTILES)
FEWEST = 3
"""Studies of either kind, below which nothing is said of what tells them apart."""
_LEAST = 1e-3
Features = NDArray[np.float64]
"""(series × OF_A_SERIES,): not a number where a series is missing."""


def features(image: torch.Tensor) -> Features:
    """Of a preprocessed image (C, X, Y, Z), 0 outside the brain."""
    image = image.float().cpu()
    brain = (image != 0).amax(dim=0)  # any() takes five times as long
    return np.concatenate([_of_series(series, brain) for series in image])


def _of_series(series: torch.Tensor, brain: torch.Tensor) -> Features:
    seen = series[::STRIDE, ::STRIDE, ::STRIDE][brain[::STRIDE, ::STRIDE, ::STRIDE]]
    if not bool(seen.any()):
        return np.full(OF_A_SERIES, np.nan)
    found: list[float] = []
    for axis in range(3):
        thinned = tuple(slice(None) if a == axis else slice(None, None, STRIDE) for a in range(3))
        sharp = [_difference(series[thinned], brain[thinned], axis, step) for step in STEPS]
        found += [far - near for near, far in itertools.pairwise(sharp)]
    return np.array([*found, *np.quantile(seen.numpy(), QUANTILES)])


def _difference(values: torch.Tensor, inside: torch.Tensor, axis: int, step: int) -> float:
    """Logarithm of the mean absolute difference of voxels ``step`` apart along ``axis``."""
    n = values.shape[axis] - step
    if n < 1:
        return float("nan")
    both = inside.narrow(axis, 0, n) & inside.narrow(axis, step, n)
    apart = (values.narrow(axis, step, n) - values.narrow(axis, 0, n)).abs_().mul_(both)
    pairs = int(both.sum())
    return float(np.log(_LEAST + float(apart.sum()) / pairs)) if pairs else float("nan")


@dataclass(frozen=True)
class Gate:
    """Two kinds of studies, each by the mean of its features, and the ``weight`` of each feature: 1 / its standard deviation
    within the kinds, 0 for one that was not measured. After the expert gate of Aljundi 2017 (arXiv:1611.06194): a study
    is of the kind that it resembles more."""

    own: Features
    other: Features
    weight: Features

    def is_own(self, of_study: Features) -> bool:
        """Whether a study with these features is of the first kind."""
        return self._distance(of_study, self.own) < self._distance(of_study, self.other)

    def _distance(self, a: Features, b: Features) -> float:
        apart = ((a - b) * self.weight)[self.weight > 0]
        return float(np.nansum(apart**2))

    def to_dict(self) -> dict[str, list[float]]:
        """As a JSON object."""
        return {k: [float(x) for x in getattr(self, k)] for k in ("own", "other", "weight")}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Sequence[float]]) -> Gate:
        """From what :meth:`to_dict` or a model file holds. Raises ValueError, KeyError."""
        own, other, weight = (np.asarray(kept[k], dtype=np.float64) for k in ("own", "other", "weight"))
        if own.ndim != 1 or not own.shape == other.shape == weight.shape or not np.isfinite([own, other, weight]).all():
            raise ValueError("the gate's features do not fit")
        return cls(own, other, weight)


def gate(own: Sequence[Features], other: Sequence[Features]) -> Gate | None:
    """The gate between two kinds of studies; None where they cannot be told apart: too few of either, or one that the gate
    made of the others would take for the wrong kind (leave one out)."""
    if min(len(own), len(other)) < FEWEST:
        return None
    kinds = (list(own), list(other))
    for right, kind in enumerate(kinds):
        for n, study in enumerate(kind):
            without = [k if side != right else [*k[:n], *k[n + 1 :]] for side, k in enumerate(kinds)]
            if _fitted(*without).is_own(study) != (right == 0):
                return None
    return _fitted(*kinds)


def _fitted(own: Sequence[Features], other: Sequence[Features]) -> Gate:
    a, b = np.array(own), np.array(other)
    known = np.isfinite(a).any(axis=0) & np.isfinite(b).any(axis=0)
    means = [np.nanmean(k[:, known], axis=0) for k in (a, b)]
    within = np.concatenate([k[:, known] - mean for k, mean in zip((a, b), means, strict=True)])
    spread = np.sqrt(np.nansum(within**2, axis=0) / np.maximum(np.isfinite(within).sum(axis=0) - 2, 1))
    whole = [np.zeros(a.shape[1]) for _ in range(3)]
    for kept, found in zip(whole, (*means, 1 / (spread + _LEAST)), strict=True):
        kept[known] = found
    return Gate(*whole)
