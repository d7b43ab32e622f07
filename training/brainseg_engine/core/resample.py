"""Moving arrays between grids that share their axes: reorientation, and separable linear or nearest resampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid, Shape3

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]


def to_axes(grid: Grid, axes: str = "RAS") -> tuple[NDArray[np.float64], Grid]:
    """The orientation transform that brings the grid's axes nearest to R, A, S (or to other ``axes``), and the grid after
    it."""
    transform = ornt_transform(io_orientation(grid.affine), axcodes2ornt(axes))
    shape = tuple(int(grid.shape[int(np.flatnonzero(transform[:, 0] == new)[0])]) for new in range(3))
    affine = grid.affine @ inv_ornt_aff(transform, grid.shape)
    return transform, Grid(shape, affine, grid.calibrated)  # type: ignore[arg-type]


def reorient(array: Array, transform: NDArray[np.float64]) -> Array:
    """Apply an orientation transform to (X, Y, Z); a view."""
    return apply_orientation(array, transform)  # type: ignore[no-any-return]


def invert_orientation(transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """The transform that undoes ``transform``."""
    inverse = np.empty_like(transform)
    for old, (new, flip) in enumerate(transform):
        inverse[int(new)] = (old, flip)
    return inverse


def with_spacing(grid: Grid, spacing_mm: float) -> Grid:
    """The grid with the same axes and centre and isotropic voxels; the same grid when it is within 1 % already.

    A grid without known voxel sizes stays as it is: nobody knows what it would take to bring it to that spacing.
    """
    spacing = np.array(grid.spacing)
    if not grid.calibrated or np.all(np.abs(spacing / spacing_mm - 1) < 0.01):
        return grid
    shape = np.maximum(1, np.round(np.array(grid.shape) * spacing / spacing_mm)).astype(int)
    affine = grid.affine.copy()
    affine[:3, :3] *= spacing_mm / spacing
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def with_shape(grid: Grid, shape: Shape3) -> Grid:
    """The grid that covers the same box with ``shape`` voxels; the same grid when it has that shape."""
    if grid.shape == tuple(shape):
        return grid
    ratio = np.array(grid.shape) / np.array(shape)
    affine = grid.affine.copy()
    affine[:3, :3] *= ratio
    affine[:3, 3] = grid.to_world((ratio - 1) / 2)
    return Grid(shape, affine, grid.calibrated)


def linear(array: torch.Tensor, source: Grid, target: Grid) -> torch.Tensor:
    """(C, X, Y, Z) float on ``source`` → on ``target`` (same axis directions), by separable triangle kernels.

    Down-sampling widens the kernel by the factor, so that it averages instead of skipping voxels. Outside the source the
    nearest voxel counts.
    """
    import torch

    for axis in range(3):
        matrix = _weights(source, target, axis)
        if matrix is not None:
            array = torch.tensordot(array, matrix.to(array), dims=([axis + 1], [1])).movedim(-1, axis + 1)
    return array.contiguous()


def majority(array: Array, source: Grid, target: Grid) -> Array:
    """(X, Y, Z) labels on ``source`` → on ``target`` (same axis directions): the label with the largest share.

    The shares are those of :func:`linear`, so that labels and images stay in step. The nearest voxel would not do: where
    a target's centre lies half-way between two voxels, as in halving, it takes the same side everywhere, which moves all
    labels by half a voxel.
    """
    import torch

    values = np.unique(array)
    out: Array = np.full(target.shape, values[0], dtype=array.dtype)
    most: torch.Tensor | None = None
    for value in values:
        share = linear(torch.from_numpy((array == value).astype(np.float32))[None], source, target)[0]
        if most is not None:
            more = share > most
            out[more.numpy()] = value
        most = share if most is None else torch.maximum(most, share)
    return out


def _positions(source: Grid, target: Grid, axis: int) -> NDArray[np.float64]:
    """Source indices along ``axis`` of the target's voxel centres."""
    start = source.to_index(target.to_world((0, 0, 0)))[axis]
    return start + np.arange(target.shape[axis]) * (target.spacing[axis] / source.spacing[axis])  # type: ignore[no-any-return]


def _weights(source: Grid, target: Grid, axis: int) -> torch.Tensor | None:
    """(n_target, n_source) interpolation matrix, or None when nothing moves."""
    import torch

    position = _positions(source, target, axis)
    n = source.shape[axis]
    if target.shape[axis] == n and np.allclose(position, np.arange(n), atol=1e-3):
        return None
    width = max(1.0, target.spacing[axis] / source.spacing[axis])
    position = np.clip(position, 0, n - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(n)[None]) / width)
    return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True))


def crop_or_pad(array: torch.Tensor, start: Shape3, shape: Shape3, outside: float = 0.0) -> torch.Tensor:
    """(C, X, Y, Z) → (C, *shape), beginning at ``start``, which may be negative; what lies beyond is ``outside``."""
    out = array.new_full((array.shape[0], *shape), outside)
    source, target = [slice(None)], [slice(None)]
    for s, n, size in zip(start, shape, array.shape[1:], strict=True):
        low, high = max(0, s), min(size, s + n)
        if low >= high:
            return out
        source.append(slice(low, high))
        target.append(slice(low - s, high - s))
    out[tuple(target)] = array[tuple(source)]
    return out
