"""The 1 mm grid that a network is given: the smallest box around the brain, along the axes that make it smallest.

Turning a head by 10 or 17° costs the bundled model at most 0.01 Dice, empty voxels around the brain cost far more: so the
box decides, and no template is needed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.morphology import surface

SPACING_MM = 1.0
SMALLER = 0.98
"""Other axes than the first choice are taken only where their box is smaller than this share of its."""


def around(mask: Mask, grid: Grid, choices: Iterable[Affine] = ()) -> Grid:
    """The grid of 1 mm around ``mask`` (X, Y, Z) on ``grid``.

    Its axes are those of ``grid``, or RAS, or those of one of ``choices`` (affines), whichever gives the smallest box:
    another than the first only where it saves something, since images on their own axes need the least interpolation.
    The mask must not be empty.
    """
    points = grid.to_world(np.argwhere(surface(mask)))
    best: Grid | None = None
    for affine in (grid.affine, np.eye(4), *choices):
        box = _box(points, _axes(affine))
        if best is None or np.prod(box.shape) < SMALLER * np.prod(best.shape):
            best = box
    assert best is not None
    return best


def covering(grid: Grid) -> Grid:
    """The grid of 1 mm with the axes of ``grid`` (made right-angled) that covers all of its field of view."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * np.array(grid.shape) - 0.5
    return _box(grid.to_world(corners), _axes(grid.affine))


def _axes(affine: Affine) -> NDArray[np.float64]:
    """The nearest right-angled axes to an affine's, as the columns of a matrix."""
    left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    return left @ right  # type: ignore[no-any-return]


def _box(points: NDArray[np.float64], axes: NDArray[np.float64]) -> Grid:
    """The grid along ``axes`` that holds all points (N, 3)."""
    along = points @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    shape = np.ceil((high - low) / SPACING_MM - 1e-6).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = axes * SPACING_MM
    affine[:3, 3] = axes @ ((low + high) / 2 - (shape - 1) / 2 * SPACING_MM)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
