"""A layer of napari's viewer once more, on another canvas: the same array, the same look, and what is painted on it is painted on
the layer itself.

One layer object can stand in one viewer only (the state of its slice is its own). A mirror follows its source by one
connection to all of the source's events; it goes the other way for what a hand does on its canvas alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from napari_brainseg.display.drawn_shapes import keep_presses_sound
from napari_brainseg.display.region_layer import outline_by_region, set_visible

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Layer

Painting = Callable[["Dims"], AbstractContextManager[None]]
"""``with painting(dims):`` what is painted in here is painted in the slice that those dims show."""

_PLACE = ("scale", "affine", "translate", "rotate", "shear", "units")
_LOOK = ("visible", "opacity", "blending")
_OF_KIND = {
    "Image": ("contrast_limits_range", "contrast_limits", "colormap", "gamma", "interpolation2d"),
    "Labels": (
        "contour",
        "colormap",
        "selected_label",
        "brush_size",
        "n_edit_dimensions",
        "preserve_labels",
        "contiguous",
        "show_selected_label",
        "mode",
    ),
}
_BACK = {"Image": ("contrast_limits",), "Labels": ("brush_size", "selected_label"), "Shapes": ("data",)}
"""What a hand on the mirror's canvas changes: it holds for the source, too."""
_MOVING = ("select", "direct")
"""The modes in which shapes and their corners are moved."""
_DRAWN_FOR = {"polygon": "polygon", "brush_stroke": "paint"}
"""What napari draws for a tool → the tool's mode: made when that is first in hand, since it takes 0.1 s."""
_ONE_HISTORY = (
    "block_history",
    "_begin_stroke",
    "_commit_stroke",
    "_abort_stroke",
    "data_setitem",
    "undo",
    "redo",
)


def kind_of(layer: Layer) -> str:
    """Image, Labels, Shapes, …"""
    from napari.layers import Image, Labels, Shapes

    return next((kind.__name__ for kind in (Labels, Image, Shapes) if isinstance(layer, kind)), type(layer).__name__)


class Mirror:
    """``layer`` shows on a canvas with those ``dims`` what ``source`` shows on napari's. ``close`` ends it."""

    def __init__(self, source: Layer, dims: Dims, painting: Painting) -> None:
        from napari.layers import Layer

        self.source, self._dims, self._painting = source, dims, painting
        self.layer = Layer.create(*source.as_layer_data_tuple())
        self.layer.name = source.name
        self.layer._update_thumbnail = lambda: None  # nobody sees it, and it costs as much as the slice
        self._kind = kind_of(source)
        self._busy = False
        if self._kind == "Labels":
            self._take_over()
        if self._kind == "Shapes":
            keep_presses_sound(self.layer)
        for name in _OF_KIND.get(self._kind, ()):  # not all of it is in the tuple
            if name != "mode":
                self.follow(name)
        self._back = [(name, getattr(self.layer.events, name)) for name in _BACK.get(self._kind, ())]
        for _, event in self._back:
            event.connect(self._to_source)

    @property
    def copied(self) -> bool:
        """Whether it can follow its source; another kind of layer is made anew where something of it has changed."""
        return self._kind in _OF_KIND

    @property
    def in_hand(self) -> bool:
        """Whether tools work on it: they paint on labels, and move shapes."""
        return self._kind == "Labels" or (self._kind == "Shapes" and str(self.source.mode) in _MOVING)

    def settle(self) -> None:
        """What is set only once the layer lies in its viewer: the tool in hand."""
        if self._kind in ("Labels", "Shapes"):
            self.follow("mode")

    def _take_tool(self) -> None:
        mode = str(self.source.mode)
        if self._kind == "Shapes":
            self.layer.mode = mode if mode in _MOVING else "pan_zoom"
            return
        for name, needed_for in _DRAWN_FOR.items():
            if mode == needed_for:
                self.layer._overlays[name].visible = True
        if str(self.layer.mode) != mode:
            self.layer.mode = mode

    def follow(self, name: str) -> None:
        """That property of the source has changed."""
        if self._busy:
            return
        source, layer = self.source, self.layer
        self._busy = True
        try:
            if name in (*_PLACE, *_LOOK, *_OF_KIND.get(self._kind, ())) or name == "data":
                layer.metadata = dict(source.metadata)
            if name == "visible":
                set_visible(layer, source.visible)
                self._busy = False
                self.settle()
            elif name == "mode":
                if self._kind in ("Labels", "Shapes"):
                    self._take_tool()
            elif name in (*_PLACE, *_LOOK, *_OF_KIND.get(self._kind, ())) or (name == "data" and self.copied):
                setattr(layer, name, getattr(source, name))
        finally:
            self._busy = False

    def refresh(self) -> None:
        """What the array holds has changed."""
        self.layer.refresh(extent=False, thumbnail=False, highlight=False)

    def close(self) -> None:
        """Follow nothing more."""
        for _, event in self._back:
            event.disconnect(self._to_source)
        self._back = []
        for name in ("_paint_region_with_mask", *_ONE_HISTORY, "_calculate_contour", "_update_thumbnail"):
            vars(self.layer).pop(name, None)

    def _to_source(self, event: Any) -> None:
        if self._busy:
            return
        name = event.type
        if self._kind == "Shapes" and str(getattr(event, "action", "")) != "changed":  # still in the hand
            return
        self._busy = True
        try:
            if name == "contrast_limits":
                self.source.contrast_limits_range = self.layer.contrast_limits_range
            setattr(self.source, name, getattr(self.layer, name))
        finally:
            self._busy = False

    def _take_over(self) -> None:
        """Every tool's writing, and the history, are the source's: with its rules, and undone there. Private methods of napari
        0.9, replaced on this one layer; a test paints with each tool.
        """
        source, layer = self.source, self.layer
        outline_by_region(layer)
        layer.editable = source.editable
        for name in _DRAWN_FOR:
            layer._overlays[name].visible = False

        def paint(key: Any, mask: Any, label: int, dims: Any, refresh: bool = True, region_data: Any = None) -> None:
            with self._painting(self._dims):
                source._paint_region_with_mask(key, mask, label, dims, True, region_data)

        layer._paint_region_with_mask = paint
        for name in _ONE_HISTORY:
            setattr(layer, name, _of(source, name))


def _of(source: Any, name: str) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        return getattr(source, name)(*args, **named)  # looked up then: others replace these methods, too

    return call
