"""Edits of a labels layer: one way to make a large one undoable, and one event for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import LabelArray

if TYPE_CHECKING:
    from napari.layers import Labels

_EVENT = "content_edited"


class Follower:
    """Calls ``changed`` after every edit of one layer at a time: the one last given to :meth:`follow`."""

    def __init__(self, changed: Callable[..., None]) -> None:
        self.layer: Labels | None = None
        self._changed = changed

    def follow(self, layer: Labels | None) -> None:
        """That layer from now on, and no other; None: none."""
        if layer is self.layer:
            return
        if self.layer is not None:
            announce_edits(self.layer).disconnect(self._changed)
        self.layer = layer
        if layer is not None:
            announce_edits(layer).connect(self._changed)


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
