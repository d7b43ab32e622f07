"""Shapes of masks: bounding boxes, connected components, surfaces and meshes.

Everything works on the bounding box of what is set: a tumour fills a few percent of a volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask

Box = tuple[slice, slice, slice]
Mesh = tuple[NDArray[np.float32], NDArray[np.int32]]

_ISO = 0.5  # the level of the surface in the smoothed mask: half in, half out


def bounding_box(mask: Mask, margin: int = 0) -> Box | None:
    """The smallest box of slices that holds every set voxel of ``mask`` (X, Y, Z), grown by ``margin`` voxels.

    The box is clipped to the array. None for an empty mask.
    """
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        if not len(hit):
            return None
        box.append(slice(max(int(hit[0]) - margin, 0), min(int(hit[-1]) + 1 + margin, mask.shape[axis])))
    return box[0], box[1], box[2]


def union_box(a: Mask, b: Mask) -> Box | None:
    """The bounding box of two masks of one shape together; None when both are empty."""
    boxes = [box for box in (bounding_box(a), bounding_box(b)) if box is not None]
    if not boxes:
        return None
    x, y, z = (slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
    return x, y, z


def components(mask: Mask) -> tuple[NDArray[np.uint32], int]:
    """The 26-connected components of ``mask`` (X, Y, Z): an array of the same shape, 0 outside, 1…n, and n.

    Numbering follows the scan order, so equal masks are numbered alike.
    """
    import cc3d

    out = np.zeros(mask.shape, dtype=np.uint32)
    box = bounding_box(mask)
    if box is None:
        return out, 0
    padded = np.pad(np.asarray(mask[box], dtype=np.bool_), 1)  # cc3d 4.1 fails on arrays that are one voxel thin
    labelled, n = cc3d.connected_components(np.asfortranarray(padded), connectivity=26, return_N=True)
    out[box] = labelled[1:-1, 1:-1, 1:-1]
    return out, int(n)


def depth(mask: Mask, sides: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """How deep each voxel of ``mask`` (X, Y, Z) lies under its surface, in the unit of a voxel's ``sides``; 0 outside.

    What lies beyond the border of the array is not known, and does not count as outside.
    """
    from scipy.ndimage import distance_transform_edt

    out = np.zeros(mask.shape)
    box = bounding_box(mask, 1)  # the nearest voxel outside is never further off than the box's own border
    if box is not None:
        out[box] = distance_transform_edt(mask[box], sampling=sides)
    return out


def surface(mask: Mask) -> Mask:
    """The voxels of ``mask`` (X, Y, Z) that touch the outside by a face: the mask minus its 6-neighbour erosion.

    What lies beyond the border of the array counts as outside.
    """
    out = np.zeros(mask.shape, dtype=np.bool_)
    box = bounding_box(mask)
    if box is not None:
        out[box] = _surface(mask[box])
    return out


def _surface(inside: Mask) -> Mask:
    """``surface`` of a crop that holds the whole mask."""
    padded = np.pad(np.asarray(inside, dtype=np.bool_), 1)
    core = padded[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for step in (slice(None, -2), slice(2, None)):
            index = [slice(1, -1)] * 3
            index[axis] = step
            core &= padded[tuple(index)]
    return padded[1:-1, 1:-1, 1:-1] & ~core


def mesh(mask: Mask, grid: Grid | None = None, sigma: float = 0.8, level: float = _ISO) -> Mesh:
    """A smooth closed surface around ``mask`` (X, Y, Z).

    Returns vertices (n, 3) float32 in voxel indices of the array (voxel centres at whole numbers) and faces (m, 3)
    int32, wound so that normals point outwards in the array's frame. Both are empty for an empty mask.

    ``sigma`` is the smoothing in voxels, or in mm where a grid is given, so that anisotropic voxels are smoothed alike.
    ``level`` of the smoothed mask is where the surface runs: lower ones lie further out.
    A component too small to outlast the smoothing keeps its unsmoothed shape: whatever has a volume can be seen.
    """
    empty: Mesh = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    box = bounding_box(mask)
    if box is None:
        return empty
    from scipy.ndimage import gaussian_filter
    from skimage.measure import marching_cubes

    sigmas = [sigma / s for s in grid.spacing] if grid is not None else [sigma] * 3
    pad = [int(np.ceil(3 * s)) + 1 for s in sigmas]
    inside = np.pad(np.asarray(mask[box], dtype=np.bool_), [(p, p) for p in pad])
    smooth = gaussian_filter(inside.astype(np.float32), sigmas, truncate=3.0)
    smooth[_lost(inside, smooth, level)] = 1.0
    vertices, faces, _, _ = marching_cubes(smooth, level)
    start = np.array([s.start - p for s, p in zip(box, pad, strict=True)], dtype=np.float32)
    outwards = faces[:, ::-1]  # marching_cubes winds towards the brighter side
    return (vertices + start).astype(np.float32), np.ascontiguousarray(outwards, dtype=np.int32)


def _lost(inside: Mask, smooth: NDArray[np.float32], level: float) -> Mask:
    """The components of ``inside`` that nowhere exceed the level of the surface after smoothing."""
    labelled, n = components(inside)
    kept = np.zeros(n + 1, dtype=np.bool_)
    kept[np.unique(labelled[smooth > level])] = True
    kept[0] = True
    return ~kept[labelled]
