"""npe2 writer: a labels layer as NIfTI, on the grid of its images and with their header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import LABEL_NAMES, Label, LabelArray
from brainseg_engine.core.study import Segmentation, Volume


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a labels layer; returns the paths written.

    Layers of our studies go out on their true grid, in their own coding. Others (made by napari's own button, say) go
    out on the grid where they are shown, when they hold nothing but the canonical labels. Raises BrainsegError.
    """
    from brainseg_engine.io import save_segmentation

    values = np.unique(np.asarray(data))
    unknown = [int(v) for v in values if v not in set(Label)]
    if unknown:
        known = ", ".join(f"{int(label)} {LABEL_NAMES[label]}" for label in Label)
        raise InputError(
            f"The layer '{meta.get('name', 'labels')}' holds {', '.join(str(v) for v in unknown[:8])}, which "
            f"{'are' if len(unknown) > 1 else 'is'} no tumour class, so it cannot be saved as a segmentation. "
            f"The classes are: {known}."
        )
    segmentation, reference = _segmentation(np.asarray(data, dtype=np.uint8), meta)
    save_segmentation(segmentation, Path(path), reference=reference)
    return [str(path)]


def _segmentation(data: LabelArray, meta: dict[str, Any]) -> tuple[Segmentation, Volume | None]:
    """A labels layer as napari hands it to a writer → its Segmentation, and the volume whose header a file takes.

    A layer that is not ours is taken as canonical labels on the grid where it is shown. Raises InputError where that is
    no 3D grid.
    """
    from napari_brainseg.display.axes import grid_in_world, to_file
    from napari_brainseg.display.layers import INFO, LayerInfo

    info = meta.get("metadata", {}).get(INFO)
    if isinstance(info, LayerInfo):
        labels = np.array(to_file(data, info.grid.affine), order="C")
        seg = Segmentation(labels, info.grid, coding=info.coding, made_by=info.made_by, regions=info.regions)
        return seg, info.reference
    if data.ndim != 3:
        raise InputError(
            f"The layer '{meta.get('name', 'labels')}' has {data.ndim} axes, and a segmentation has three. "
            "Draw on a labels layer that covers the study."
        )
    from napari.layers import Labels

    keywords = {k: meta[k] for k in ("scale", "translate", "rotate", "shear", "affine") if k in meta}
    placed = Labels(data, **keywords)
    world = np.array([placed.data_to_world(point) for point in np.vstack([np.zeros(3), np.eye(3)])])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = (world[1:] - world[0]).T, world[0]
    canonical, grid = grid_in_world(data, affine)
    return Segmentation(np.ascontiguousarray(canonical), grid), None
