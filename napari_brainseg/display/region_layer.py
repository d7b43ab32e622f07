"""How a labels layer shows a :class:`RegionView`: colours, opacities, outlines, hidden or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_brainseg.display.region_style import RegionView, label_styles, outline_of

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

VIEW = "brainseg_view"
"""Key of the :class:`RegionView` in a labels layer's metadata."""

PARKED = "brainseg_parked"
"""Set in a layer's metadata while 3D hides it: its visibility is then not the user's."""


def region_view(layer: Labels) -> RegionView:
    """The view last applied to the layer, else the default one."""
    view = layer.metadata.get(VIEW)
    return view if isinstance(view, RegionView) else RegionView()


def set_visible(layer: Layer, on: bool) -> None:
    """Show or hide a layer. Nothing is set that is so already: hiding a hidden layer has napari forget the tool in hand."""
    if layer.visible != on:
        layer.visible = on


def colormap_of(view: RegionView) -> Any:
    """The view as a napari DirectLabelColormap: RGBA per label, everything else transparent."""
    from napari.utils.colormaps import DirectLabelColormap

    styles = label_styles(view)
    colours: dict[int | None, Any] = {None: (0.0, 0.0, 0.0, 0.0), 0: (0.0, 0.0, 0.0, 0.0)}
    for label, style in styles.items():
        # A line is thin: it is drawn nearly opaque where an area of that opacity would let the image through.
        alpha = min(1.0, 0.35 + style.opacity) if view.outline else style.opacity
        colours[int(label)] = (*style.colour, alpha)
    return DirectLabelColormap(color_dict=colours)


def apply_region_view(layer: Labels, view: RegionView) -> None:
    """Show the layer as the view says; its event ``colormap`` tells surfaces and panels that the view changed.

    The overlay as a whole is hidden or shown when the view says something new about that, so that napari's eye button
    keeps its word otherwise. In 3D, where surfaces stand in, the layer stays hidden.
    """
    old = region_view(layer)
    layer.metadata = {**layer.metadata, VIEW: view}
    outline_by_region(layer)
    if view.visible != old.visible and PARKED not in layer.metadata:
        set_visible(layer, view.visible)
    layer.contour = 1 if view.outline else 0
    layer.colormap = colormap_of(view)


def outline_by_region(layer: Labels) -> None:
    """Make the layer's contours follow the regions shown, not every border between labels.

    Replaces a private method of this one layer: napari outlines each label by itself, which would draw the border of a
    hidden core inside the whole tumour.
    """
    if "_calculate_contour" in vars(layer):
        return
    background = 0

    def contour(labels: NDArray[np.integer], data_slice: tuple[slice, ...]) -> NDArray[np.integer] | None:
        if layer.contour < 1 or labels.ndim > 2:
            return None
        ranks = np.zeros(256, dtype=np.uint8)
        for label, style in label_styles(region_view(layer)).items():
            ranks[int(label)] = style.rank
        halo = tuple(slice(max(s.start - layer.contour, 0), s.stop + layer.contour) for s in data_slice)
        around = labels[halo]
        drawn = np.where(outline_of(around, ranks, layer.contour), around, background).astype(labels.dtype)
        inner = tuple(slice(s.start - h.start, s.stop - h.start) for s, h in zip(data_slice, halo, strict=True))
        return drawn[inner]

    layer._calculate_contour = contour
