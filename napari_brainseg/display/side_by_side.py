"""A second time point beside the first: its layers in a cell of napari's grid of their own, one camera and one slice for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Volume
from napari_brainseg.display.axes import placement, to_display
from napari_brainseg.display.region_layer import colormap_of
from napari_brainseg.display.region_style import RegionView
from napari_brainseg.display.windows import brain_window

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

PRIOR = "Prior"
_SIZE = 10


class SideBySide:
    """Shows one volume, and labels on its grid, to the left of what is there. ``close`` takes them away."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.layers: list[Layer] = []
        self._arranging = False
        viewer.layers.events.inserted.connect(self._arrange)
        viewer.layers.events.removed.connect(self._arrange)
        viewer.dims.events.ndisplay.connect(self._arrange)

    def show(self, volume: Volume, labels: LabelArray | None) -> None:
        """That image and those labels, in place of what was shown."""
        from napari.layers import Image, Labels

        self.hide()
        viewer, active = self._viewer, self._viewer.layers.selection.active
        data, _ = to_display(volume.data, volume.grid.affine)
        window = brain_window(data, modality=volume.modality)
        made: list[Layer] = [
            Image(data, name=f"{PRIOR} {volume.modality.title}", colormap="gray", contrast_limits=window,
                  interpolation2d="linear", **placement(volume.grid)),
        ]  # fmt: skip
        made[0].name_overlay.visible = True  # which of the two it is, said in its own cell
        made[0].name_overlay.font_size = _SIZE
        if labels is not None:
            shown = np.array(to_display(labels, volume.grid.affine)[0], order="C")
            made.append(Labels(shown, name=f"{PRIOR} segmentation", colormap=colormap_of(RegionView()), opacity=1.0,
                               **placement(volume.grid)))  # fmt: skip
            made[-1].editable = False
        self._arranging = True
        for layer in made:
            viewer.add_layer(layer)
        self._arranging = False
        self.layers = made
        viewer.layers.selection.active = active
        self._arrange()

    def hide(self) -> None:
        """Take it away: one study fills the canvas."""
        layers, self.layers = self.layers, []
        self._viewer.canvas.grid.enabled = False
        self._arranging = True
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._arranging = False

    def close(self) -> None:
        """Follow the viewer no more."""
        self.hide()
        for signal in (
            self._viewer.layers.events.inserted,
            self._viewer.layers.events.removed,
            self._viewer.dims.events.ndisplay,
        ):
            signal.disconnect(self._arrange)

    def _arrange(self, event: Any = None) -> None:
        """All of the prior's layers in one cell, all others in the other, whatever comes and goes."""
        if self._arranging or not self.layers:
            return
        viewer, grid = self._viewer, self._viewer.canvas.grid
        flat = viewer.dims.ndisplay == 2
        self._arranging = True
        try:
            self.layers = [layer for layer in self.layers if layer in viewer.layers]
            others = [layer for layer in viewer.layers if layer not in self.layers]
            for layer in self.layers:
                layer.visible = flat
                viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
            grid.stride = max(len(others), len(self.layers), 1)
            grid.shape = (1, 2)
            grid.enabled = bool(flat and self.layers)
        finally:
            self._arranging = False
