"""Masks as closed contours along the edges of their pixels, holes included.

A contour through pixel centres loses the outer half pixel when another program fills it; these run along the edges, so
their area is the mask's and every pixel centre lies clearly inside or outside. A hole is joined to its outer contour by a
channel without width ("keyhole", DICOM PS3.3 C.8.8.6.3): programs that unite overlapping contours and programs that
subtract them fill it alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask

Polygon = NDArray[np.float64]
"""Corners (n, 2) in pixel indices (pixel centres at whole numbers), not closed by a repeated first one."""

_Corner = tuple[int, int]


def contours(mask: Mask) -> list[Polygon]:
    """The contours of ``mask`` (rows, columns): one for each 4-connected part, with its holes joined to it."""
    loops = _loops(mask)
    outer = [loop for loop in loops if _area(loop) > 0]
    holes: dict[int, list[Polygon]] = {}
    for loop in loops:
        if _area(loop) < 0:
            holes.setdefault(_owner(loop, outer), []).append(loop)
    return [_without_straight(_keyholed(loop, holes.get(i, []))) for i, loop in enumerate(outer)]


def filled(polygons: list[Polygon], shape: tuple[int, int]) -> Mask:
    """The pixels (rows, columns) whose centres lie in an odd number of contours."""
    out: Mask = np.zeros(shape, dtype=np.bool_)
    columns = np.arange(shape[1])
    for polygon in polygons:
        a, b = polygon, np.roll(polygon, -1, axis=0)
        low, high = np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 0], b[:, 0])
        for row in range(max(0, int(np.ceil(low.min()))), min(shape[0], int(np.floor(high.max())) + 1)):
            crosses = (a[:, 0] <= row) != (b[:, 0] <= row)
            start, end = a[crosses], b[crosses]
            at = np.sort(start[:, 1] + (row - start[:, 0]) / (end[:, 0] - start[:, 0]) * (end[:, 1] - start[:, 1]))
            out[row] ^= np.searchsorted(at, columns, side="left") % 2 == 1
    return out


def _loops(mask: Mask) -> list[Polygon]:
    """Closed chains of pixel edges, the mask always on the same side: outer ones have a positive area, holes a negative one."""
    padded = np.pad(mask.astype(np.int8), 1)
    leaving: dict[_Corner, list[_Corner]] = {}
    down = np.diff(padded, axis=1)  # vertical edges; corner (r, c) is the upper left one of pixel (r, c)
    for r, c in np.argwhere(down[1:-1]).tolist():
        a, b = (r, c), (r + 1, c)
        start, end = (a, b) if down[r + 1, c] > 0 else (b, a)
        leaving.setdefault(start, []).append(end)
    across = np.diff(padded, axis=0)
    for r, c in np.argwhere(across[:, 1:-1]).tolist():
        a, b = (r, c), (r, c + 1)
        start, end = (b, a) if across[r, c + 1] > 0 else (a, b)
        leaving.setdefault(start, []).append(end)
    loops = []
    while leaving:
        first = min(leaving)  # the topmost corner never joins two parts
        loop, here = [first], _next(leaving, first, None)
        while here != first:
            loop.append(here)
            here = _next(leaving, here, loop[-2])
        loops.append(np.array(loop, dtype=np.float64) - 0.5)
    return loops


def _next(leaving: dict[_Corner, list[_Corner]], here: _Corner, before: _Corner | None) -> _Corner:
    """Follow an edge. Where two pixels touch by a corner only, turn so that they stay two parts."""
    ways = leaving[here]
    chosen = ways[0]
    if before is not None and len(ways) > 1:
        came = (here[0] - before[0], here[1] - before[1])
        turned = (-came[1], came[0])
        chosen = next(w for w in ways if (w[0] - here[0], w[1] - here[1]) == turned)
    ways.remove(chosen)
    if not ways:
        del leaving[here]
    return chosen


def _area(loop: Polygon) -> float:
    r, c = loop[:, 0], loop[:, 1]
    return float((r * np.roll(c, -1) - np.roll(r, -1) * c).sum() / 2)


def _owner(hole: Polygon, outer: list[Polygon]) -> int:
    """The smallest outer contour that holds the hole."""
    inside = hole[0] + (hole[1] - hole[0]) / 2  # the middle of an edge lies on no other contour
    holding = [i for i, loop in enumerate(outer) if _holds(loop, inside)]
    return min(holding, key=lambda i: _area(outer[i]))


def _holds(loop: Polygon, point: Polygon) -> bool:
    a, b = loop, np.roll(loop, -1, axis=0)
    r, c = point + 1e-3 * np.array([1.0, 0.7])
    crosses = (a[:, 0] <= r) != (b[:, 0] <= r)
    return bool((a[crosses, 1] < c).sum() % 2)


def _keyholed(loop: Polygon, holes: list[Polygon]) -> Polygon:
    """The loop with each hole joined to it at their nearest corners, there and back."""
    from scipy.spatial.distance import cdist

    left = list(holes)
    while left:
        gaps = [cdist(loop, hole) for hole in left]
        k = int(np.argmin([gap.min() for gap in gaps]))
        i, j = np.unravel_index(int(gaps[k].argmin()), gaps[k].shape)
        hole = np.roll(left.pop(k), -int(j), axis=0)
        loop = np.concatenate([loop[: i + 1], hole, hole[:1], loop[i:]])
    return loop


def _without_straight(loop: Polygon) -> Polygon:
    """Without the corners at which the contour goes straight on."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    turns = (before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] != 0) | ((before * after).sum(axis=1) < 0)
    corners: Polygon = loop[turns]
    return corners
