"""The two axis conventions, and the way between them. The only place that knows both.

World coordinates of the viewer are (I, P, L) in millimetres, each growing towards inferior, posterior and left: minus
(z, y, x) of the RAS millimetres of :class:`~brainseg_engine.core.geometry.Grid`. With napari's default camera axial, coronal
and sagittal slices are then in radiological convention and 3D is not mirrored.

Arrays are transposed to that axis order as views; flips are in a layer's affine, the voxel sides in its scale. An
oblique grid is shown straightened about its centre: napari paints into the wrong slice otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.core.study import Segmentation

AXIS_LABELS = ("inferior", "posterior", "left")
"""Names of the world axes: the direction in which each grows."""


def ras_to_world(points: ArrayLike) -> NDArray[np.float64]:
    """RAS mm (..., 3) as (x, y, z) → world mm (..., 3) as (I, P, L)."""
    return -np.asarray(points, dtype=np.float64)[..., ::-1]


def world_to_ras(points: ArrayLike) -> NDArray[np.float64]:
    """World mm (..., 3) as (I, P, L) → RAS mm (..., 3) as (x, y, z)."""
    return -np.asarray(points, dtype=np.float64)[..., ::-1]


def axis_order(affine: Affine) -> tuple[int, int, int]:
    """The file axes that run closest to I–S, P–A and L–R, in that order: the transposition of an array for display."""
    return _axis_order(np.asarray(affine, dtype=np.float64).tobytes())


@lru_cache(maxsize=64)
def _axis_order(affine: bytes) -> tuple[int, int, int]:
    """Asked dozens of times for each study, a millisecond each."""
    from nibabel.orientations import io_orientation

    towards = io_orientation(np.frombuffer(affine).reshape(4, 4))[:, 0].astype(int).tolist()
    return towards.index(2), towards.index(1), towards.index(0)


def to_display(data: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Affine]:
    """An array (X, Y, Z) in file order with its RAS affine → (view in I, P, L order, 4×4 affine index → world).

    The affine is diagonal: exact for a straight grid, straightened about the grid's centre for an oblique one.
    """
    order = axis_order(affine)
    return np.transpose(data, order), display_affine(Grid(data.shape, affine))


def to_file(shown: NDArray[Any], affine: Affine) -> NDArray[Any]:
    """An array in I, P, L order → a view (X, Y, Z) in the order of the file with that affine: :func:`to_display` undone."""
    return np.transpose(shown, np.argsort(axis_order(affine)))


def grid_in_world(data: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Grid]:
    """An array that lies in the viewer by its affine index → world, of whatever direction → (view (X, Y, Z), its grid)."""
    linear, origin = affine[:3, :3], affine[:3, 3]
    placed = np.eye(4)
    placed[:3, :3] = world_to_ras(linear.T).T[:, ::-1]
    placed[:3, 3] = world_to_ras(origin)
    return np.transpose(data), Grid((data.shape[2], data.shape[1], data.shape[0]), placed)


def laid_out(segmentation: Segmentation) -> Segmentation:
    """The same segmentation, its labels in memory as the canvas wants them.

    Comparing and copying 9 million voxels against the grain takes 50 ms, along it one: the GUI thread gets the latter.
    """
    affine = segmentation.grid.affine
    shown = np.ascontiguousarray(to_display(segmentation.labels, affine)[0])
    return replace(segmentation, labels=to_file(shown, affine))


def display_affine(grid: Grid) -> Affine:
    """The 4×4 diagonal affine from indices of the transposed array to world mm."""
    order = axis_order(grid.affine)
    linear = ras_to_world(grid.affine[:3, :3].T).T[:, list(order)]  # columns: the transposed axes, in world mm
    sides = np.sqrt((linear**2).sum(axis=0)) * np.sign(np.diag(linear))
    centre = (np.array(grid.shape) - 1) / 2
    out = np.eye(4)
    out[:3, :3] = np.diag(sides)
    out[:3, 3] = ras_to_world(grid.to_world(centre)) - sides * centre[list(order)]
    return out


def voxel_to_world(grid: Grid, index: ArrayLike) -> NDArray[np.float64]:
    """Voxel indices (..., 3) in file order → the world mm where they are shown (straightened, for an oblique grid)."""
    affine = display_affine(grid)
    shown = np.asarray(index, dtype=np.float64)[..., list(axis_order(grid.affine))]
    return np.asarray(shown * np.diag(affine)[:3] + affine[:3, 3])


def world_to_voxel(grid: Grid, world: ArrayLike) -> NDArray[np.float64]:
    """World mm (..., 3) → fractional voxel indices (..., 3) in file order, the inverse of :func:`voxel_to_world`."""
    affine = display_affine(grid)
    shown = (np.asarray(world, dtype=np.float64) - affine[:3, 3]) / np.diag(affine)[:3]
    out = np.empty_like(shown)
    out[..., list(axis_order(grid.affine))] = shown
    return out


def placement(grid: Grid) -> dict[str, Any]:
    """The keyword arguments that put a layer on a grid: scale (mm), affine (flips, position), units, axis labels."""
    affine = display_affine(grid)
    scale = np.abs(np.diag(affine)[:3])
    flips = affine.copy()
    flips[:3, :3] = np.diag(np.sign(np.diag(affine)[:3]))
    return {"scale": scale, "affine": flips, "units": ("mm",) * 3, "axis_labels": AXIS_LABELS}
