"""Keeps the labels layer, the surfaces and the numbers in step with the session and with the brush."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from brainseg_engine.core.study import Modality
from napari_brainseg.display import history, layers, region_layer
from napari_brainseg.display.surfaces import SurfaceManager
from napari_brainseg.features.actions import Actions
from napari_brainseg.qt.threads import Timer

if TYPE_CHECKING:
    from napari.layers import Image, Labels

QUIET_MS = 300
"""How long the labels must have been left alone before they are measured."""

_STROKE_MS = 150


class Overlay(QObject):
    """The wiring between session, labels layer and surfaces."""

    def __init__(self, actions: Actions, surfaces: SurfaceManager) -> None:
        super().__init__()
        self._actions = actions
        self._session = actions.session
        self._surfaces = surfaces
        self._layer: Labels | None = None
        self._quiet = Timer(self, QUIET_MS, actions.measure)
        self._again = Timer(self, _STROKE_MS, self._show)
        self._dropped = Timer(self, 0, actions.notice_layers)
        self._session.segmentation_changed.connect(self._show)
        self._session.study_changed.connect(self._follow)
        for event in (actions.viewer.layers.events.inserted, actions.viewer.layers.events.removed):
            event.connect(self._on_layers)
        self._follow()

    def close(self) -> None:
        """Follow nothing more."""
        for timer in (self._quiet, self._again, self._dropped):
            timer.stop()
        self._session.segmentation_changed.disconnect(self._show)
        self._session.study_changed.disconnect(self._follow)
        for event in (self._actions.viewer.layers.events.inserted, self._actions.viewer.layers.events.removed):
            event.disconnect(self._on_layers)
        self._attach(None)

    def _show(self) -> None:
        self._actions.show_segmentation(self._shown)

    def _shown(self, done: bool) -> None:
        if not done:
            self._again.start()
            return
        self._follow()
        self._quiet.start(0)

    def _follow(self) -> None:
        """Attach to the labels layer of the study that is open, and let the surfaces do the same."""
        layer = self._actions.labels
        self._attach(layer)
        self._actions.follow_labels()
        self._surfaces.follow(layer, self._brain())

    def _brain(self) -> Image | None:
        current = self._session.study
        images = layers.image_layers(self._actions.viewer, current.study.id) if current is not None else {}
        return next((images[m] for m in (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR) if m in images), None)

    def _attach(self, layer: Labels | None) -> None:
        if layer is self._layer:
            return
        if self._layer is not None:
            history.announce_edits(self._layer).disconnect(self._on_edit)
            self._layer.events.colormap.disconnect(self._on_view)
        self._layer = layer
        if layer is not None:
            history.announce_edits(layer).connect(self._on_edit)
            layer.events.colormap.connect(self._on_view)
            self._on_view()

    def _on_edit(self, event: Any = None) -> None:
        if not self._actions.changing_layers:
            self._session.dirty = True
        self._quiet.start()

    def _on_view(self, event: Any = None) -> None:
        if self._layer is not None:
            self._actions.view = region_layer.region_view(self._layer)

    def _on_layers(self, event: Any) -> None:
        if not self._actions.changing_layers and layers.layer_info(event.value) is not None:
            self._dropped.start()
