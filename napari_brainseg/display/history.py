"""Edits of a labels layer: one way to make a large one undoable, and one event for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.labels import LabelArray

if TYPE_CHECKING:
    from napari.layers import Labels

_EVENT = "content_edited"


def announce_edits(layer: Labels) -> Any:
    """The event emitter that fires after every edit of the layer: strokes, fills, replacements, undo and redo.

    napari itself says nothing of an undo on a hidden layer, and otherwise only what every change of slice says too.
    An edit by code outside ``block_history`` is announced before it is written: look at the data a moment later.
    """
    from napari.utils.events import Event

    if _EVENT not in layer.events.emitters:
        layer.events.add(**{_EVENT: Event})
        emitter = layer.events.emitters[_EVENT]
        layer.events.paint.connect(lambda event: emitter())
        layer.events.data.connect(lambda event: emitter())
        for name in ("undo", "redo"):
            setattr(layer, name, _announced(getattr(layer, name), emitter))
    return layer.events.emitters[_EVENT]


def _announced(method: Any, emitter: Any) -> Any:
    def run() -> None:
        method()
        emitter()

    return run


def in_stroke(layer: Labels) -> bool:
    """True while the mouse is painting: wait with results until the stroke is over."""
    return bool(layer._block_history)


def apply_edit(layer: Labels, key: tuple[slice, ...], mask: NDArray[np.bool_], values: LabelArray) -> None:
    """Write ``values[mask]`` into ``layer.data[key]`` (all of one shape) as one item of the undo history.

    napari's public ``data_setitem`` keeps index arrays, six times the memory of its own masked atoms. Those are
    private; a test holds this to what napari does.
    """
    from napari.layers.labels.labels import _MaskedPaintAtom

    view = layer.data[key]
    with layer.block_history():  # so that the paint event comes after the write
        layer._save_history(_MaskedPaintAtom(key, mask, view[mask], values[mask]))
        view[mask] = values[mask]
    layer.refresh(extent=False)
