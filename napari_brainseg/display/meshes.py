"""The meshes of the 3D view. Knows no napari: everything here may run in a background thread."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.core.labels import Label, LabelArray
from brainseg_engine.core.morphology import Mesh, components, mesh
from napari_brainseg.display.axes import display_affine
from napari_brainseg.display.windows import foreground

Key = frozenset[Label]
"""A surface is known by the labels it encloses: the enhancing tumour is one in both schemes."""

_BRAIN_STEP_MM = 2.0
_SMOOTHING_MM = 0.8


@dataclass(frozen=True)
class Built:
    """Meshes in world mm (None: nothing there), the labels they were made of, and the surfaces that these labels put
    out of date and that are not wanted now.
    """

    meshes: Mapping[Key, Mesh | None]
    labels: LabelArray
    outdated: frozenset[Key]


def build(
    labels: LabelArray, grid: Grid, wanted: Set[Key], current: Set[Key] = frozenset(), before: LabelArray | None = None
) -> Built:
    """Mesh what is ``wanted`` of ``labels`` (display order, on the true ``grid``).

    Those in ``current`` that ``before`` made already are left out unless a label of theirs gained or lost a voxel.
    """
    affine = display_affine(grid)
    changed = touched(labels, before)
    meshes = {
        key: world_mesh(np.isin(labels, [int(v) for v in key]), affine)
        for key in wanted
        if key not in current or not changed.isdisjoint(key)
    }
    return Built(meshes, labels, frozenset(key for key in current - wanted if not changed.isdisjoint(key)))


def world_mesh(mask: NDArray[np.bool_], affine: Affine, sigma_mm: float = _SMOOTHING_MM) -> Mesh | None:
    """The surface of a mask in display order: vertices (n, 3) in world mm and faces wound outwards; None if empty.

    ``affine`` is the diagonal display affine of the mask.
    """
    vertices, faces = mesh(mask, Grid(mask.shape, affine), sigma=sigma_mm)
    if not len(faces):
        return None
    sides = np.diag(affine)[:3]
    placed = (vertices * sides + affine[:3, 3]).astype(np.float32)
    return placed, np.ascontiguousarray(faces[:, ::-1] if np.prod(sides) < 0 else faces)


def brain_mesh(data: NDArray[Any], grid: Grid) -> Mesh | None:
    """The surface of the head or brain in an image in display order on ``grid`` (its true one), at 2 mm or coarser."""
    from scipy.ndimage import binary_closing, binary_fill_holes

    affine = display_affine(grid)
    steps = [max(1, round(_BRAIN_STEP_MM / abs(s))) for s in np.diag(affine)[:3]]
    inside = binary_fill_holes(binary_closing(np.pad(foreground(data[tuple(slice(None, None, s) for s in steps)]), 2)))
    labelled, n = components(inside)
    if n > 1:
        inside = labelled == 1 + int(np.argmax(np.bincount(labelled.ravel())[1:]))
    coarse = affine.copy()
    coarse[:3, :3] = affine[:3, :3] @ np.diag(steps)
    coarse[:3, 3] -= coarse[:3, :3] @ np.full(3, 2.0)  # the padding
    return world_mesh(inside, coarse, sigma_mm=2.0)


def touched(labels: LabelArray, before: LabelArray | None) -> set[int]:
    """The labels that gained or lost voxels since ``before`` (all present ones when there is none to compare)."""
    if before is None or before.shape != labels.shape:
        return {int(v) for v in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:]) + 1}
    changed = labels != before
    values = np.concatenate([labels[changed], before[changed]])
    return {int(v) for v in np.flatnonzero(np.bincount(values, minlength=256))} - {0}
