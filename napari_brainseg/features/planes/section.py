"""Connects the arrangement of the canvases and its verbs."""

from __future__ import annotations

from napari_brainseg.features.context import Context
from napari_brainseg.features.planes.verbs import Arrangement, PlanesVerbs
from napari_brainseg.features.planes.view import PlanesView
from napari_brainseg.qt.tiles import Tiles

ARRANGEMENTS = (
    ("1", Arrangement.ONE.value, "One canvas (Shift+T: several, and back)"),
    ("2×2", Arrangement.FOUR.value, "Axial, coronal, sagittal and 3D; a double click shows one of them alone"),
    ("1+3", Arrangement.LARGE.value, "One large canvas and three small ones"),
)
"""Text, value and tooltip of each button."""


class PlanesSection:
    """Between the view and its verbs."""

    def __init__(self, view: PlanesView, verbs: PlanesVerbs, context: Context) -> None:
        self._view, self._verbs = view, verbs
        verbs.tile = Tiles
        view.arrangement_chosen.connect(verbs.arrange)
        view.crosshair_chosen.connect(verbs.show_crosshair)
        view.link_chosen.connect(verbs.link)
        context.follow(verbs.changed, self._show)
        self._show()

    def _show(self) -> None:
        verbs = self._verbs
        several = verbs.arrangement is not Arrangement.ONE
        self._view.show_arrangement(verbs.arrangement.value, several, verbs.crosshair, verbs.linked)
