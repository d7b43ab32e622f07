"""The outline of a lesion in one slice, its longest diameter and the longest perpendicular to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask

SIGMA_PX = 0.7
_LEVEL = 0.5
_LEAVES = 0.4  # a chord leaves the mask where the smoothed mask falls below this: a sixth of a pixel outside is no exit
_STEP = 0.25  # of the shorter pixel side: how finely chords are followed
_MOST_POINTS = 400  # of an outline, when all pairs of them are looked at
_CHUNK = 4096

Points = NDArray[np.float64]
Ends = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Bidirectional:
    """Two chords by their ends in pixel indices (2,) of the slice, and the product of their lengths in mm²."""

    longest: Ends
    perpendicular: Ends
    product: float


class Outline:
    """The contour at 0.5 of a smoothed mask in one slice.

    ``smooth`` (rows, columns) is that mask with a margin of ``pad`` pixels; ``sides`` 2×2 turns pixel steps (rows, columns)
    into mm of the slice: ``mm = index @ sides``.
    """

    def __init__(self, smooth: NDArray[np.float32], pad: int, sides: NDArray[np.float64]) -> None:
        from skimage.measure import find_contours

        self._smooth, self._pad, self._sides = smooth, pad, sides
        self._to_pixels = np.linalg.inv(sides)
        self._points: Points = np.concatenate(find_contours(smooth, _LEVEL)) @ sides
        self._step = _STEP * float(np.linalg.norm(sides, axis=1).min())
        self._hull, self.hull_area = _hull(self._points)

    def bidirectional(self, more_than: float = 0.0) -> Bidirectional | None:
        """The longest diameter inside the mask, and the longest chord inside that crosses it at a right angle.

        None where their product cannot exceed ``more_than``: the second chord is never longer than the first.
        """
        chord = self._longest(np.sqrt(more_than))
        if chord is None:
            return None
        start, end = chord
        across = self._perpendicular(start, end)
        product = float(np.linalg.norm(end - start) * np.linalg.norm(across[1] - across[0]))
        return Bidirectional(
            (self._pixel(start), self._pixel(end)), (self._pixel(across[0]), self._pixel(across[1])), product
        )

    def _pixel(self, mm: Points) -> Points:
        return mm @ self._to_pixels - self._pad

    def _inside(self, mm: Points) -> NDArray[np.float32]:
        """The smoothed mask at places (..., 2) in mm."""
        from scipy.ndimage import map_coordinates

        where = np.moveaxis(mm @ self._to_pixels, -1, 0)
        values: NDArray[np.float32] = map_coordinates(self._smooth, where, order=1, mode="constant")
        return values

    def _longest(self, longer_than: float) -> Ends | None:
        corners = self._hull
        i, j = _pairs_by_length(corners, most=1)
        start, end = corners[i[0]], corners[j[0]]
        if np.linalg.norm(end - start) < longer_than:
            return None
        if self._stays(start[None], end[None])[0]:
            return start, end
        thinned = self._points[:: -(-len(self._points) // _MOST_POINTS)]
        i, j = _pairs_by_length(thinned, longer_than)
        for k in range(0, len(i), _CHUNK):
            starts, ends = thinned[i[k : k + _CHUNK]], thinned[j[k : k + _CHUNK]]
            stays = self._stays(starts, ends)
            if stays.any():
                first = int(np.argmax(stays))
                return starts[first], ends[first]
        return None if longer_than else (start, end)  # nothing but specks of a pixel

    def _stays(self, starts: Points, ends: Points) -> NDArray[np.bool_]:
        """Which of the chords (n, 2), (n, 2) stay inside the mask: a coarse look at all, a fine one at what remains."""
        stays = np.ones(len(starts), dtype=np.bool_)
        lengths = np.linalg.norm(ends - starts, axis=1)
        for samples in (8, max(8, int(lengths.max(initial=0) / (2 * self._step)))):
            left = np.flatnonzero(stays)
            if not len(left):
                break
            t = np.linspace(0, 1, samples + 2)[1:-1, None]
            along = starts[left, None] + t * (ends - starts)[left, None]
            stays[left] = (self._inside(along) >= _LEAVES).all(axis=1)
        return stays

    def _perpendicular(self, start: Points, end: Points) -> Ends:
        """From points along the chord walk both ways at a right angle until the mask ends."""
        length = float(np.linalg.norm(end - start))
        if length == 0:
            return start, end
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        feet = start + np.linspace(0, length, max(3, int(length / self._step) + 1))[:, None] * along
        reach = float(np.ptp(self._points @ across)) + 2 * self._step
        ups, downs = (self._walk(feet, sign * across, reach) for sign in (1, -1))
        best = int(np.argmax(ups + downs))
        return feet[best] - downs[best] * across, feet[best] + ups[best] * across

    def _walk(self, feet: Points, direction: Points, reach: float) -> NDArray[np.float64]:
        """How far in mm one gets from each of the feet (n, 2) before the mask falls below 0.5."""
        steps = np.arange(0, reach + self._step, self._step)
        values = self._inside(feet[:, None] + steps[None, :, None] * direction)
        values[:, -1] = 0
        out = np.argmax(values < _LEVEL, axis=1)
        rows = np.arange(len(feet))
        before, after = values[rows, np.maximum(out - 1, 0)], values[rows, out]
        part = np.where(out > 0, (before - _LEVEL) / np.maximum(before - after, 1e-6), 0)
        return np.where(out > 0, (out - 1 + part) * self._step, 0.0)


def outline(mask: Mask, sides: NDArray[np.float64]) -> Outline:
    """The outline of ``mask`` (rows, columns), which has at least one pixel; ``sides`` as in :class:`Outline`.

    A speck too small to outlast the smoothing keeps its unsmoothed shape.
    """
    from scipy.ndimage import gaussian_filter

    pad = 4
    whole = np.pad(mask, pad).astype(np.float32)
    smooth = gaussian_filter(whole, SIGMA_PX)
    return Outline(smooth if smooth.max() > _LEVEL else whole, pad, sides)


def _hull(points: Points) -> tuple[Points, float]:
    """Corners of the convex hull (n, 2), and its area."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(points)
    return points[hull.vertices], float(hull.volume)


def _pairs_by_length(
    points: Points, longer_than: float = 0.0, most: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of points (n, 2) further apart than that, the furthest first (at most so many): first and second index."""
    from scipy.spatial.distance import pdist

    apart = pdist(points)
    wanted = np.flatnonzero(apart >= longer_than) if most is None else np.array([np.argmax(apart)])
    order = wanted[np.argsort(-apart[wanted], kind="stable")]
    first, second = np.triu_indices(len(points), 1)
    return first[order], second[order]
