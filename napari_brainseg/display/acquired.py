"""A series as it was acquired, on the canvas along its own planes, with labels that were carried onto it.

These layers are no part of the study that is open: what is painted on them is told to its labels, which count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from napari_brainseg.display.axes import axis_order, display_affine, placement, to_display, world_to_voxel
from napari_brainseg.display.history import history_of
from napari_brainseg.display.layers import ACQUIRED, INFO, LayerInfo, layer_study_id
from napari_brainseg.display.planes import Plane
from napari_brainseg.display.region_layer import apply_region_view, region_view, set_visible
from napari_brainseg.display.windows import Window, brain_window, full_range

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer


def window_of(aligned: Study, modality: Modality) -> Window:
    """The values shown black and white, taken from the brain that the aligned study has cut out: by the whole head, a bright
    scalp would leave the brain dark."""
    return brain_window(aligned.volumes[modality].data, modality=modality)


def add_series(viewer: ViewerModel, volume: Volume, name: str, window: Window) -> Image:
    """The series on top of the layers that are there, from black to white as ``window`` says."""
    from napari.layers import Image

    view, _ = to_display(volume.data, volume.grid.affine)
    layer = Image(
        view,
        name=name,
        colormap="gray",
        contrast_limits=window,
        metadata={ACQUIRED: volume.modality},
        **placement(volume.grid),
    )
    low, high = full_range(view)
    layer.contrast_limits_range = (min(low, window[0]), max(high, window[1]))
    viewer.add_layer(layer)
    return layer


def show_labels(
    viewer: ViewerModel, own: list[Layer], view: NDArray[np.uint8], volume: Volume, like: Labels
) -> tuple[Layer, Labels]:
    """``view`` (I, P, L) as labels over the series ``own[0]``, shown as the layer ``like`` shows its own; both layers. Nothing of
    the labels that it takes the place of can be undone any more."""
    from napari.layers import Labels

    if len(own) > 1 and own[1] in viewer.layers:
        made: Labels = own[1]
        made.data = view
        set_visible(made, region_view(like).visible)
    else:
        grid = volume.grid
        info = LayerInfo(f"{layer_study_id(like)} as acquired", grid, reference=volume)
        made = Labels(view, name=f"{like.name} on {own[0].name}", opacity=1.0, metadata={INFO: info}, **placement(grid))
        viewer.add_layer(made)
        step_by_slices(viewer, grid)
    history_of(made)
    made._reset_history()
    apply_region_view(made, region_view(like))
    return own[0], made


def display_of(segmentation: Segmentation) -> NDArray[np.uint8]:
    """The labels as the canvas wants them (I, P, L): an array of its own."""
    return shown_as(segmentation.labels, segmentation.grid)


def shown_as(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """An array (X, Y, Z) on ``grid`` in the axes of the canvas: a copy."""
    return np.array(to_display(array, grid.affine)[0], order="C")


def plane_of_series(grid: Grid) -> Plane:
    """The plane that the slices of a series lie in: across its longest voxel side; axial where the sides are equal."""
    sides = [grid.spacing[k] for k in axis_order(grid.affine)]
    if max(sides) < 1.2 * min(sides):
        return Plane.AXIAL
    return (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)[int(np.argmax(sides))]


def step_by_slices(viewer: ViewerModel, grid: Grid) -> None:
    """Let the slider step from slice to slice of that grid: napari takes the finest of all layers' voxels, also of hidden
    ones."""
    from napari.components.dims import RangeTuple

    affine = display_affine(grid)
    shape = [grid.shape[k] for k in axis_order(grid.affine)]
    ranges: list[Any] = []
    for axis, n in enumerate(shape):
        ends = sorted((affine[axis, 3], affine[axis, 3] + affine[axis, axis] * (n - 1)))
        ranges.append(RangeTuple(ends[0], ends[1], abs(affine[axis, axis])))
    point = viewer.dims.point
    viewer.dims.range = tuple(ranges)
    viewer.dims.point = point


def voxel_at(grid: Grid, world: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (fractional) voxel in file order that is shown at that point of the canvas' world, within the grid."""
    return np.clip(world_to_voxel(grid, world), 0, np.array(grid.shape) - 1)
