"""On which side of the brain a region lies, by the brain's own symmetry.

The plane about which an image is most like its mirror image is taken for the mid-sagittal plane (after Ardekani, IEEE TMI 1997;
16(6), "Automatic detection of the mid-sagittal plane"): three numbers, two angles and a distance, that maximise the correlation
of brain voxels with those mirrored, the tumour and its mirror image left out. No template is needed, nor that the image was
registered to one: where the head lies turned in the scanner, the plane turns with it. Where the likeness is poor, half a head
or one side shifted by the tumour, no side is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.brain import brain
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask

Side = Literal["left", "right", "both"]
MOSTLY = 0.9
"""A region with this share of its volume on one side is said to lie there, else on both."""
LEAST_LIKENESS = 0.7
"""Correlation with the mirror image from which the plane is trusted: below it, sides were wrong in training cases."""
FARTHEST_MM, WIDEST_DEG = 15.0, 30.0
"""A plane farther from the brain's centre, or turned more against the scanner's, is not trusted."""
_SIDE_MM = 3.0
_STARTS_DEG = (-12.0, 0.0, 12.0)


@dataclass(frozen=True)
class Midline:
    """The mid-sagittal plane: points p (RAS mm) with ``normal · p = distance``; ``normal`` points to the patient's right.

    ``likeness``: how alike the sides are, the correlation of the image with its mirror image about it.
    """

    normal: tuple[float, float, float]
    distance: float
    likeness: float

    def right_of(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """How far points (n, 3) in RAS mm lie to the patient's right of it, in mm."""
        return np.asarray(points @ np.array(self.normal) - self.distance, dtype=np.float64)


def midline(data: NDArray[Any], grid: Grid, tumour: Mask | None = None) -> Midline | None:
    """The mid-sagittal plane of an image (X, Y, Z) of a brain or head; None where the image is not symmetrical enough to tell.

    ``tumour`` (X, Y, Z) and what lies opposite is not compared.
    """
    from scipy import ndimage, optimize

    if not grid.calibrated:
        return None
    step = [max(1, round(_SIDE_MM / s)) for s in grid.spacing]
    inside = brain(data)
    values = np.where(inside, data, 0).astype(np.float32)
    values /= float(values[inside].mean() or 1) if inside.any() else 1.0
    coarse, seen = _coarse(values, step), _coarse(inside.astype(np.float32), step)
    left_out = _coarse((tumour if tumour is not None else np.zeros(data.shape, bool)).astype(np.float32), step)
    places = np.argwhere((seen > 0.5) & (left_out < 0.1))
    if len(places) < 500:
        return None
    offset = (np.array(step) - 1) / 2
    points = grid.to_world(places * step + offset)
    smooth = ndimage.gaussian_filter(coarse, 0.8)
    own = smooth[tuple(places.T)]
    centre = points.mean(axis=0)

    def mirrored(plane: NDArray[np.float64]) -> float:
        normal = _normal(plane)
        away = (points - centre) @ normal - plane[2]
        there = (grid.to_index(points - 2 * away[:, None] * normal) - offset) / step
        other = ndimage.map_coordinates(smooth, there.T, order=1)
        free = ndimage.map_coordinates(left_out, there.T, order=1) < 0.1
        return _correlation(own[free], other[free])

    best, likeness = np.zeros(3), -1.0
    for start in _STARTS_DEG:
        first = np.array([np.deg2rad(start), 0.0, 0.0])
        simplex = first + np.array([[0, 0, 0], [0.12, 0, 0], [0, 0.12, 0], [0, 0, 5.0]])
        fitted = optimize.minimize(
            lambda plane: -mirrored(plane), first, method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 0.003, "fatol": 1e-4, "maxfev": 120},
        )  # fmt: skip
        if -fitted.fun > likeness:
            best, likeness = fitted.x, float(-fitted.fun)
    normal = _normal(best)
    turned = np.rad2deg(np.arccos(np.clip(normal[0], -1, 1)))
    if likeness < LEAST_LIKENESS or abs(best[2]) > FARTHEST_MM or turned > WIDEST_DEG:
        return None
    a, b, c = (float(v) for v in normal)
    return Midline((a, b, c), float(normal @ centre + best[2]), likeness)


def side_of(mask: Mask, grid: Grid, plane: Midline) -> Side | None:
    """On which side of the plane a region (X, Y, Z) lies; None for an empty one."""
    if not mask.any():
        return None
    right = float((plane.right_of(grid.to_world(np.argwhere(mask))) > 0).mean())
    return "right" if right >= MOSTLY else "left" if right <= 1 - MOSTLY else "both"


def _normal(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """(angle about z, angle about y, distance) → unit normal, near the patient's right."""
    about_z, about_y, _ = plane
    return np.array([np.cos(about_z) * np.cos(about_y), np.sin(about_z) * np.cos(about_y), np.sin(about_y)])


def _coarse(array: NDArray[np.float32], step: list[int]) -> NDArray[np.float32]:
    """Means over blocks of ``step`` voxels; what is left over at the far ends is dropped."""
    kept = array[tuple(slice(0, n - n % s) for n, s in zip(array.shape, step, strict=True))]
    blocks = kept.reshape(*(v for n, s in zip(kept.shape, step, strict=True) for v in (n // s, s)))
    return np.asarray(blocks.mean(axis=(1, 3, 5)), dtype=np.float32)


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    if len(a) < 300:
        return -1.0
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))
