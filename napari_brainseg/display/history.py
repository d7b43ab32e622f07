"""Edits of a labels layer: its undo history, packed; one way to make a large edit undoable; one event for all edits.

napari keeps a masked copy of every dab of the brush. Here the dabs of a stroke are joined into one :class:`UndoStep` as soon as
it is committed: where voxels changed (a bit each, compressed) and their old and new labels (compressed). Undo and redo
stay napari's own; steps are unpacked for them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Label, LabelArray, Mask
from brainseg_engine.edits import changes

if TYPE_CHECKING:
    from napari.layers import Labels

PROPAGATED, DRAFT = "propagate", "draft"
"""What an accepted proposal, and a draft that was put onto the canvas, are called in the log and in the history."""

MOST_BYTES = 400 * 2**20
MOST_STEPS = 1000

Box = tuple[slice, ...]


class Moved(StrEnum):
    """Which way a step was taken."""

    DONE = "done"
    UNDONE = "undo"
    REDONE = "redo"


@dataclass(frozen=True, eq=False)
class UndoStep:
    """One undoable step: what changed in ``box`` (slices of the layer's data), by which tool, on which target.

    ``axis`` and ``index`` tell the slice (in the layer's axes) it was painted in; None where it is three-dimensional.
    """

    box: Box
    voxels: int
    tool: str
    target: str
    axis: int | None
    index: int | None
    _where: bytes
    _old: bytes
    _new: bytes

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return len(self._where) + len(self._old) + len(self._new) + 500

    @property
    def mask(self) -> Mask:
        """The changed voxels, in the box."""
        shape = tuple(s.stop - s.start for s in self.box)
        bits = np.frombuffer(zlib.decompress(self._where), dtype=np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).astype(np.bool_).reshape(shape)

    @property
    def old(self) -> LabelArray:
        """The labels under the mask before the step, in scan order."""
        return np.frombuffer(zlib.decompress(self._old), dtype=np.uint8)

    @property
    def new(self) -> LabelArray:
        """The labels under the mask after the step, in scan order."""
        return np.frombuffer(zlib.decompress(self._new), dtype=np.uint8)

    def changed(self, moved: Moved = Moved.DONE) -> dict[Label, int]:
        """Label → voxels gained by taking the step that way."""
        before, after = (self.new, self.old) if moved is Moved.UNDONE else (self.old, self.new)
        return changes(before, after)

    def atoms(self) -> list[Any]:
        """The step as napari's undo takes it."""
        from napari.layers.labels.labels import _MaskedPaintAtom

        return [_MaskedPaintAtom(self.box, self.mask, self.old, self.new)]


Listener = Callable[[UndoStep, Moved], None]
Described = Callable[[Box], tuple[str, str, int | None, int | None]]


class History:
    """Takes over the history of one layer (which is empty from then on). ``listeners`` are called with every step done, undone or
    redone, once the labels hold it; ``describe`` says by which tool, on which target, in which slice a box was changed.
    """

    def __init__(self, layer: Labels, most_bytes: int = MOST_BYTES) -> None:
        self._layer = layer
        self._most_bytes = most_bytes
        self.version = 0
        """Grows with every step, whichever way."""
        self.listeners: list[Listener] = []
        self.describe: Described = lambda box: ("result", "", None, None)
        self._named: tuple[str, str] | None = None
        self._append_inner = layer._append_to_undo_history
        self._load_inner = layer._load_history
        layer._append_to_undo_history = self._append
        layer._load_history = self._load
        layer._history_limit = MOST_STEPS
        layer._reset_history()

    @property
    def done(self) -> list[UndoStep]:
        """What can be undone, oldest first."""
        return list(self._layer._undo_history)

    @property
    def undone(self) -> list[UndoStep]:
        """What can be redone, next last."""
        return list(self._layer._redo_history)

    @property
    def size(self) -> int:
        """Bytes all steps take."""
        return sum(step.size for step in (*self.done, *self.undone))

    @contextmanager
    def naming(self, tool: str, target: str) -> Iterator[None]:
        """What is committed in here was done by that tool."""
        self._named = (tool, target)
        try:
            yield
        finally:
            self._named = None

    def _append(self, atoms: list[Any]) -> None:
        """napari commits an item: keep it packed, as long as there is room. What changed nothing is no step."""
        packed = _merged(self._layer.data, atoms)
        if packed is None:
            return
        box, mask, old, new = packed
        tool, target, axis, index = (*self._named, None, None) if self._named else self.describe(box)
        step = UndoStep(box, len(old), tool, target, axis, index, _pack(np.packbits(mask)), _pack(old), _pack(new))
        self._append_inner(step)
        history = self._layer._undo_history
        while len(history) > 1 and self.size > self._most_bytes:
            history.popleft()
        self._announce(step, Moved.DONE)

    def _load(self, before: Any, after: Any, undoing: bool = True) -> None:
        """napari undoes or redoes: unpack the step for it, and put it back as it was."""
        if not before:
            return
        step = before[-1]
        before[-1] = step.atoms()
        self._load_inner(before, after, undoing)
        after[-1] = step
        self._announce(step, Moved.UNDONE if undoing else Moved.REDONE)

    def _announce(self, step: UndoStep, moved: Moved) -> None:
        self.version += 1
        for callback in self.listeners:
            callback(step, moved)


_HELD_AS = "_brainseg_history"
"""Where a layer holds its history, so that one goes with the other: what held a history elsewhere would hold its layer too."""


def history_of(layer: Labels) -> History:
    """The packed history of a layer; made when it is first asked for."""
    if not hasattr(layer, _HELD_AS):
        setattr(layer, _HELD_AS, History(layer))
    history: History = getattr(layer, _HELD_AS)
    return history


def _merged(data: LabelArray, atoms: list[Any]) -> tuple[Box, Mask, LabelArray, LabelArray] | None:
    """All atoms of an item as one: box, changed voxels in it, their labels before and after.

    From the atoms alone, so that it does not matter whether the data hold the change already.
    """
    parts = [_part(atom) for atom in atoms]
    if not parts:
        return None
    starts = np.min([[s.start for s in key] for key, *_ in parts], axis=0)
    stops = np.max([[s.stop for s in key] for key, *_ in parts], axis=0)
    box = tuple(slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))
    before, after = np.array(data[box]), np.array(data[box])
    for key, mask, old, _ in reversed(parts):
        _put(before, _inside(key, starts), mask, old)
    for key, mask, _, new in parts:
        _put(after, _inside(key, starts), mask, new)
    changed = before != after
    if not changed.any():
        return None
    return box, changed, before[changed], after[changed]


def _part(atom: Any) -> tuple[Box, Mask, Any, Any]:
    """(box, mask or index, old, new) of one of napari's atoms of either kind."""
    if hasattr(atom, "slice_key"):
        mask = atom.mask if atom.mask is not None else np.ones(np.shape(atom.old_values), dtype=np.bool_)
        old = atom.old_values if atom.mask is not None else atom.old_values.ravel()
        return atom.slice_key, mask, old, atom.new_value
    indices, old, new = atom
    index = [np.asarray(i) for i in indices]
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in index)
    return box, tuple(i - s.start for i, s in zip(index, box, strict=True)), old, new  # type: ignore[return-value]


def _put(array: LabelArray, box: Box, where: Any, values: Any) -> None:
    array[box][where] = values


def _inside(key: Box, starts: NDArray[np.int_]) -> Box:
    return tuple(slice(s.start - int(o), s.stop - int(o)) for s, o in zip(key, starts, strict=True))


def _pack(array: NDArray[np.uint8]) -> bytes:
    return zlib.compress(array.tobytes(), 1)


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
