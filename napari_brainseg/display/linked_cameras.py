"""One zoom and one centre for the canvases of several planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_brainseg.display.planes import ORDERS, Box, fit_box, plane_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

_ONE_SIZE = 1.2
"""Canvases whose shorter sides differ by no more than this factor are fitted at one scale."""


class LinkedCameras:
    """The zoom of each canvas relative to what fills it. ``linked``: whether all planes have one zoom, and one centre.

    Cameras that are moved in here announce it: who follows them has to know whose doing it is.
    """

    def __init__(self) -> None:
        self.linked = True
        self._units: dict[int, float] = {}

    def fit(self, models: Sequence[ViewerModel], box: Box) -> None:
        """Have that box fill every canvas: at one scale, where they are linked and of one size."""
        for model in models:
            fit_box(model, box)
        self._units = {id(model): model.scene.camera.zoom for model in models}
        if self.linked and max(map(_size, models)) < _ONE_SIZE * min(map(_size, models)):
            self._units = dict.fromkeys(self._units, min(self._units.values()))
        for model in models:
            model.scene.camera.zoom = self._units[id(model)]

    def link(self, models: Sequence[ViewerModel], leader: ViewerModel) -> None:
        """Give the others the zoom of that one, relative to what fills them, and its centre along the axes they share."""
        plane = plane_of(leader)
        if plane is None:
            return
        camera = leader.scene.camera
        centre = dict(zip(ORDERS[plane][1:], tuple(camera.center)[-2:], strict=True))
        scale = camera.zoom / self._unit(leader)
        for other in models:
            shown = plane_of(other)
            if other is leader or shown is None:
                continue
            old = tuple(other.scene.camera.center)[-2:]
            here = [centre.get(axis, value) for axis, value in zip(ORDERS[shown][1:], old, strict=True)]
            other.scene.camera.zoom = scale * self._unit(other)
            other.scene.camera.center = (0.0, float(here[0]), float(here[1]))

    def _unit(self, model: ViewerModel) -> float:
        return self._units.get(id(model)) or _size(model)


def _size(model: ViewerModel) -> float:
    """The shorter side of the canvas in pixels."""
    return max(float(min(model.canvas.size)), 1.0)
