"""Where the model doubts, as a translucent image over the series; and what was changed since its answer, as outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray
from napari_brainseg.display.axes import axis_order, placement, to_display, voxel_to_world
from napari_brainseg.display.layers import INFO, LayerInfo
from napari_brainseg.display.region_layer import set_visible

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

KIND = "brainseg_beside"
"""Key in a layer's metadata: which of the layers beside the segmentation it is (``DOUBT``, ``CHANGES`` or ``PROPOSAL``)."""

DOUBT, CHANGES, PROPOSAL = "doubt", "changes", "proposal"

ADDED, REMOVED, RENAMED = 1, 2, 3
"""Values of the layer of changes: labelled now and not before, the other way, and another class."""

COLOURS: dict[int | None, Any] = {ADDED: "#ffffff", REMOVED: "#ff4fd8", RENAMED: "#7dff6b"}

_LEAST = 0.1  # bits: below, the image shows as it is
DOUBT_COLOUR = "#9a5cf5"
"""Violet: none of the regions' colours, of the changes' or of the preview's."""
_RAMP = (
    (0.0, 0.0, 0.0, 0.0),
    (0.30, 0.10, 0.60, 0.45),
    (0.60, 0.36, 0.96, 0.7),
    (0.80, 0.65, 1.0, 0.85),
    (0.97, 0.93, 1.0, 0.95),
)


def beside(viewer: ViewerModel, kind: str) -> Layer | None:
    """The layer of that kind, where it is in the viewer."""
    return next((x for x in viewer.layers if x.metadata.get(KIND) == kind), None)


def show_doubt(viewer: ViewerModel, map: NDArray[np.float16], grid: Grid, study_id: str) -> Image:
    """Put the map (X, Y, Z; bits) over the labels, in place of one that is there."""
    from napari.layers import Image
    from napari.utils.colormaps import Colormap

    remove(viewer, DOUBT)
    view, _ = to_display(map, grid.affine)
    layer = Image(
        np.asarray(view, dtype=np.float32),
        name="Doubt",
        colormap=Colormap(_RAMP, name="brainseg_doubt", controls=(0.0, 0.1, 0.4, 0.75, 1.0)),
        contrast_limits=(_LEAST, 1.0),
        blending="translucent_no_depth",
        metadata={INFO: LayerInfo(study_id, grid), KIND: DOUBT},
        **placement(grid),
    )
    _insert(viewer, layer)
    return layer


def show_changes(viewer: ViewerModel, changes: NDArray[np.uint8], grid: Grid, kind: str = CHANGES) -> Labels:
    """Put the outlines of the changes (in the canvas' axes, see :func:`compare`) on top: those made, or those proposed."""
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    remove(viewer, kind)
    colours: dict[int | None, Any] = {None: "transparent", 0: "transparent", **COLOURS}
    layer = Labels(
        changes,
        name=kind.title(),
        colormap=DirectLabelColormap(color_dict=colours),
        metadata={KIND: kind},
        **placement(grid),
    )
    layer.contour = 1
    _insert(viewer, layer)
    layer.editable = False
    return layer


def refresh_changes(layer: Labels, changes: NDArray[np.uint8]) -> None:
    """Show those changes instead."""
    np.copyto(layer.data, changes)
    layer.refresh(extent=False, thumbnail=False, highlight=False)


def remove(viewer: ViewerModel, kind: str) -> None:
    """Take the layer of that kind away."""
    layer = beside(viewer, kind)
    if layer is not None:
        viewer.layers.remove(layer)


def arrange_outlines(viewer: ViewerModel) -> None:
    """Show one set of outlines at a time, a proposal's before the changes, since they share their colours; and none in 3D:
    they are flat, and napari would take seconds to draw them as a volume.
    """
    flat, proposed, made = viewer.dims.ndisplay == 2, beside(viewer, PROPOSAL), beside(viewer, CHANGES)
    if proposed is not None:
        set_visible(proposed, flat)
    if made is not None:
        set_visible(made, flat and proposed is None)


def compare(now: NDArray[np.uint8], answer: LabelArray, grid: Grid) -> NDArray[np.uint8]:
    """What differs between the canvas' labels (its own axes) and the answer (X, Y, Z): see ``ADDED``; a new array."""
    before, _ = to_display(answer, grid.affine)
    out = np.zeros(now.shape, dtype=np.uint8)
    differs = now != before
    out[differs] = RENAMED
    out[differs & (before == 0)] = ADDED
    out[differs & (now == 0)] = REMOVED
    return out


def file_axis(grid: Grid, world_axis: int) -> int:
    """The file axis that runs along a world axis (0: I, 1: P, 2: L)."""
    return axis_order(grid.affine)[world_axis]


def slice_shown(viewer: ViewerModel, grid: Grid) -> tuple[int, int]:
    """(file axis, index) of the slice that the canvas shows; in 3D of the axial one."""
    world_axis = viewer.dims.order[0] if viewer.dims.ndisplay == 2 and viewer.dims.ndim == 3 else 0
    axis = file_axis(grid, world_axis)
    ends = voxel_to_world(grid, np.zeros(3)), voxel_to_world(grid, np.eye(3)[axis])
    first, side = ends[0][world_axis], ends[1][world_axis] - ends[0][world_axis]
    return axis, round(float((viewer.dims.point[world_axis] - first) / side))


def middle_of(map: NDArray[np.float16], axis: int, index: int) -> NDArray[np.intp]:
    """The voxel of that slice where the doubt is greatest."""
    flat = np.take(map, index, axis=axis)
    where = np.unravel_index(int(np.argmax(flat)), flat.shape)
    return np.insert(np.array(where), axis, index)


def _insert(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer on top (the doubt below the changes) without taking the brush from the layer that has it."""
    active, changes = viewer.layers.selection.active, beside(viewer, CHANGES)
    viewer.layers.insert(len(viewer.layers) if changes is None else viewer.layers.index(changes), layer)
    if active is not None:
        viewer.layers.selection.active = active
