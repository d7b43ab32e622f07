"""Smooth random fields and distance functions on a box of anatomical millimetres.

Fields live on a coarse lattice and are brought to the voxels axis by axis. Only elementwise arithmetic in a fixed order
is used, no matrix products, so that a seed gives the same study whatever the processor and the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.float32]
"""A float32 array of shape (X, Y, Z)."""


@dataclass(frozen=True, eq=False)
class Box:
    """Three axes in anatomical mm (R, A, S relative to the middle of the brain), one value per index of an array."""

    right: Field
    anterior: Field
    superior: Field

    @property
    def axes(self) -> tuple[Field, Field, Field]:
        """The three axes in array order."""
        return self.right, self.anterior, self.superior

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an array on this box."""
        return len(self.right), len(self.anterior), len(self.superior)

    @property
    def step(self) -> float:
        """Mean distance between neighbours in anatomical mm (the width of a partial-volume edge)."""
        return float(np.mean([abs(float(a[1] - a[0])) for a in self.axes]))

    @cached_property
    def points(self) -> Field:
        """Anatomical coordinates (3, X, Y, Z)."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij")).astype(np.float32)

    def coarse(self, step: float) -> Box:
        """A lattice of that step (mm) over the same extent and a little beyond, every axis increasing."""
        ranges = [np.arange(float(a.min()) - step, float(a.max()) + 2 * step, step) for a in self.axes]
        return Box(*(r.astype(np.float32) for r in ranges))


@dataclass(frozen=True, eq=False)
class Taps:
    """Interpolation along one axis: value i is the sum over k of ``weights[i, k] * input[first[i] + k]``."""

    first: NDArray[np.intp]
    weights: Field


def separable(array: Field, taps: Sequence[Taps]) -> Field:
    """Apply one interpolation per axis to ``array``: the last axis first, while the array is small."""
    return _along_first(_along(_along(array, 2, taps[2]), 1, taps[1]), taps[0])


def resampled(field: Field, source: Box, target: Box) -> Field:
    """Linear interpolation of ``field`` on ``source`` (increasing axes) at the points of ``target``."""
    return separable(field, [_linear(s, t) for s, t in zip(source.axes, target.axes, strict=True)])


def smooth_noise(rng: np.random.Generator, box: Box, wavelength: float, *, band: bool = False) -> Field:
    """Zero-mean, unit-variance Gaussian noise whose structures are about ``wavelength`` mm apart, on ``box``.

    ``band`` takes the slow part out, so that the zero crossings form an even labyrinth, as gyri do.
    """
    step = wavelength / 4
    nodes = [np.arange(-120.0, 120.0 + step, step, dtype=np.float32) for _ in range(3)]
    white = rng.standard_normal([len(n) for n in nodes], dtype=np.float32)
    sigma = wavelength / 4.5
    out = separable(white, [_gaussian(n, a, sigma) for n, a in zip(nodes, box.axes, strict=True)])
    if band:
        out -= separable(white, [_gaussian(n, a, 1.8 * sigma) for n, a in zip(nodes, box.axes, strict=True)])
    return _standardised(out)


def turned(matrix: Field, p: Field) -> Field:
    """A 3×3 matrix applied to the points ``p`` (3, X, Y, Z)."""
    out = np.empty_like(p)
    for row, target in zip(matrix, out, strict=True):
        target[...] = row[0] * p[0] + row[1] * p[1] + row[2] * p[2]
    return out


def ellipsoid(p: Field, centre: ArrayLike, radii: ArrayLike) -> Field:
    """Approximate signed distance (mm, negative inside) of the points ``p`` (3, …) to an ellipsoid."""
    c, r = (np.asarray(v, dtype=np.float32).reshape(3, *([1] * (p.ndim - 1))) for v in (centre, radii))
    q = (p - c) / r
    k0 = np.sqrt((q * q).sum(axis=0))
    q /= r
    k1 = np.sqrt((q * q).sum(axis=0))
    return np.asarray(k0 * (k0 - 1) / np.maximum(k1, 1e-4), dtype=np.float32)


def tube(p: Field, nodes: Sequence[tuple[float, float, float, float]]) -> Field:
    """Signed distance (mm) of the points ``p`` (3, …) to a chain of (R, A, S, radius) joined by tapering tubes."""
    out = np.full(p.shape[1:], np.inf, dtype=np.float32)
    column = (3, *([1] * (p.ndim - 1)))
    for first, last in pairwise(nodes):
        a = np.array(first[:3], dtype=np.float32).reshape(column)
        ab = np.array(last[:3], dtype=np.float32).reshape(column) - a
        t = np.clip(((p - a) * ab).sum(axis=0) / float((ab * ab).sum()), 0, 1)
        d = p - a - t * ab
        radius = first[3] + t * (last[3] - first[3])
        np.minimum(out, np.sqrt((d * d).sum(axis=0)) - radius, out=out)
    return out


def smooth_minimum(a: Field, b: Field, k: float) -> Field:
    """The union of two distance functions with the crease filled over ``k`` mm."""
    h = np.clip(k - np.abs(a - b), 0, None) / np.float32(k)
    return np.asarray(np.minimum(a, b) - h * h * np.float32(k / 4), dtype=np.float32)


def inside(distance: Field, width: float) -> Field:
    """Signed distance (negative inside) → share of a voxel of that width (mm) inside, 0…1."""
    share: Field = np.clip(np.float32(0.5) - distance / np.float32(width), 0, 1)
    return share


def _along(array: Field, axis: int, taps: Taps) -> Field:
    shape = [1, 1, 1]
    shape[axis] = -1
    out: Field = array.take(taps.first, axis) * taps.weights[:, 0].reshape(shape)
    for k in range(1, taps.weights.shape[1]):
        out += array.take(taps.first + k, axis) * taps.weights[:, k].reshape(shape)
    return out


def _along_first(array: Field, taps: Taps) -> Field:
    """The same along the first axis, slab by slab, which stays in the processor's cache."""
    out = np.empty((len(taps.first), *array.shape[1:]), dtype=np.float32)
    product = np.empty(array.shape[1:], dtype=np.float32)
    for slab, first, weights in zip(out, taps.first, taps.weights, strict=True):
        np.multiply(array[first], weights[0], out=slab)
        for k in range(1, len(weights)):
            np.multiply(array[first + k], weights[k], out=product)
            slab += product
    return out


def _linear(source: Field, target: Field) -> Taps:
    """Linear interpolation; beyond the ends the last value holds."""
    position = np.clip((target - source[0]) / (source[1] - source[0]), 0, len(source) - 1)
    first = np.minimum(position.astype(np.intp), len(source) - 2)
    beyond = (position - first).astype(np.float32)
    return Taps(first, np.stack([1 - beyond, beyond], axis=1))


def _gaussian(nodes: Field, target: Field, sigma: float) -> Taps:
    """Gaussian smoothing of white noise on ``nodes`` that keeps its unit variance."""
    step = float(nodes[1] - nodes[0])
    reach = round(2.8 * sigma / step)
    nearest = np.rint((target - nodes[0]) / step).astype(np.intp)
    first = np.clip(nearest - reach, 0, len(nodes) - 2 * reach - 1)
    at = nodes[first[:, None] + np.arange(2 * reach + 1)]
    w = np.exp(-0.5 * ((target[:, None] - at) / sigma) ** 2)
    return Taps(first, (w / np.sqrt((w * w).sum(axis=1, keepdims=True))).astype(np.float32))


def _standardised(a: Field) -> Field:
    a -= a.mean(dtype=np.float64)
    a /= max(float(a.std(dtype=np.float64)), 1e-6)
    return a
