"""Images and labels that hide in 3D, where surfaces stand for them, and come back in 2D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_brainseg.display.layers import INFO
from napari_brainseg.display.region_layer import PARKED, apply_region_view, region_view, set_visible

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer


class HiddenVolumes:
    """Remembers which layers of ours were visible before they were hidden."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._hidden: dict[Layer, bool] = {}

    def hide(self, labels: Labels | None) -> None:
        """Hide all layers of ours; the visibility of ``labels`` is that of its regions' view."""
        for layer in self._viewer.layers:
            if INFO in layer.metadata and layer not in self._hidden:
                self._hidden[layer] = layer.visible
                layer.metadata[PARKED] = True
                set_visible(layer, False)
                if layer is labels and region_view(layer).visible != self._hidden[layer]:
                    apply_region_view(layer, region_view(layer).with_visible(self._hidden[layer]))

    def restore(self, labels: Labels | None) -> None:
        """Show again what was visible."""
        for layer, visible in self._hidden.items():
            layer.metadata.pop(PARKED, None)
            if layer in self._viewer.layers:
                set_visible(layer, region_view(layer).visible if layer is labels else visible)
        self._hidden.clear()

    def forget(self, layer: Layer) -> None:
        """That layer was removed from the viewer."""
        self._hidden.pop(layer, None)
