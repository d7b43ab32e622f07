"""Diameters as lines over the image, each in its own slice; a person moves their ends with napari's own tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg_engine.core.geometry import Grid
from napari_brainseg.display.axes import axis_order, placement

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Shapes

NAME = "Diameters"
_WIDE_MM = 0.8


def add_lines(viewer: ViewerModel, grid: Grid, ends: Sequence[ArrayLike], names: Sequence[str]) -> Shapes:
    """A layer of one line for each pair of ends (2, 3) in RAS mm, ``names`` at them; it lies on the grid's voxels."""
    from napari.layers import Shapes

    layer = Shapes(
        [to_shown(grid, pair) for pair in ends],
        shape_type="line",
        ndim=3,
        name=NAME,
        edge_color="white",
        edge_width=_WIDE_MM / max(grid.spacing),
        features={"name": list(names)},
        text={"string": "{name}", "size": 9, "color": "white", "anchor": "upper_left"},
        **placement(grid),
    )
    viewer.add_layer(layer)
    return layer


def ends_of(layer: Shapes, grid: Grid) -> list[NDArray[np.float64]]:
    """The lines as they are now: (2, 3) in RAS mm each."""
    return [to_ras(grid, line) for line in layer.data]


def to_shown(grid: Grid, ras: ArrayLike) -> NDArray[np.float64]:
    """RAS mm (..., 3) → indices of the array as the canvas has it."""
    index: NDArray[np.float64] = grid.to_index(ras)[..., list(axis_order(grid.affine))]
    return index


def to_ras(grid: Grid, shown: ArrayLike) -> NDArray[np.float64]:
    """The inverse of :func:`to_shown`."""
    indices = np.asarray(shown, dtype=np.float64)
    return grid.to_world(indices[..., np.argsort(axis_order(grid.affine))])
