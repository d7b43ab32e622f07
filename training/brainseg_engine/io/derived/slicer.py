"""3D Slicer's segmentations (``.seg.nrrd``): each segment tells its name, its value and the layer it lies in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from brainseg_engine.core.errors import CodingError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io import nrrd
from brainseg_engine.io.derived.reading import part_of, segmentation_of

ENDING = ".seg.nrrd"
_NEAR = 0.25  # of a voxel


def is_slicer(path: Path) -> bool:
    """True for a file of that ending."""
    return path.name.lower().endswith(ENDING)


def read_slicer(path: Path) -> Segmentation:
    """The parts of a tumour that the segments' names tell, on the file's grid; other segments are left out.

    Raises InputError for a damaged file, CodingError where no segment's name tells a part.
    """
    header, layers, segments = nrrd.read_segments(path)
    masks: dict[str, Mask] = {}
    other = []
    for segment in segments:
        part = part_of(segment.name, ())
        if not part or not 0 <= segment.layer < layers.shape[0]:
            other.append(segment.name)
            continue
        whole = masks.setdefault(part, np.zeros(header.shape, dtype=np.bool_))
        whole |= layers[segment.layer] == segment.value
    if not masks:
        held = ", ".join(name[:40] for name in other[:12]) or "none"
        raise CodingError(f"{path} names no part of a brain tumour; its segments are: {held}. Name them in Slicer, say necrosis, "
                          "oedema, enhancing tumour, or whole tumour, and save again.")  # fmt: skip
    return segmentation_of(masks, header.grid, "", path)


def placed(seg: Segmentation, grid: Grid) -> Segmentation:
    """The segmentation on the voxels of its images: Slicer saves no more of them than its segments need.

    As it is where it does not lie on these voxels, or reaches beyond them.
    """
    start = grid.to_index(seg.grid.to_world((0, 0, 0)))
    first = np.rint(start).astype(int)
    far = first + np.array(seg.grid.shape)
    same_axes = np.abs(seg.grid.affine[:3, :3] - grid.affine[:3, :3]).max() * max(seg.grid.shape) <= grid.tolerance_mm
    if not same_axes or np.abs(start - first).max() > _NEAR or first.min() < 0 or (far > np.array(grid.shape)).any():
        return seg
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[tuple(slice(a, b) for a, b in zip(first, far, strict=True))] = seg.labels
    return replace(seg, labels=labels, grid=grid)
