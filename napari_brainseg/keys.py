"""The keys of the canvas: one table that the panel lists and that is bound to the viewer.

napari ignores the key bindings of a manifest, so they are bound on the viewer here. A layer's own bindings win over a
viewer's: none of ours is one of napari's for the viewer, images, labels or surfaces (a test holds that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel

KEYS: tuple[tuple[str, str], ...] = (
    ("A", "axial plane through the cursor"),
    ("S", "sagittal plane through the cursor"),
    ("D", "coronal plane through the cursor"),
    ("T", "3D and back"),
    ("Home", "fit: the head fills the canvas"),
    ("N", "next modality"),
    ("Shift-N", "previous modality"),
    ("H", "hide or show the segmentation"),
    ("U", "outlines or filled areas"),
    ("W", "next window preset (standard, narrow, wide)"),
    ("Q", "paint: next region (or class) to paint"),
    ("Shift-Q", "paint: previous region (or class) to paint"),
    ("R", "paint: threshold brush on or off"),
    ("I", "paint: interpolate between the painted slices"),
    ("G", "paint: grow from the point under the mouse"),
    ("K", "paint: relabel the part under the mouse"),
    ("Shift-K", "paint: erase the part under the mouse"),
    ("J", "next doubtful slice"),
    ("Shift-J", "previous doubtful slice"),
    ("Shift-H", "where the model doubts"),
    ("Shift-U", "outlines of what was changed"),
    ("Control-Enter", "accept the correction"),
    ("Control-J", "next study of the queue"),
)
"""Key → what it does, in the order to list them."""

NAPARI_KEYS: tuple[tuple[str, str], ...] = (
    ("P, E", "brush, eraser (labels layer chosen)"),
    ("F, 3", "fill, polygon"),
    ("Z, Space", "move the image; Space as long as it is held"),
    ("[, ]", "smaller brush, larger brush"),
    ("Ctrl-Z", "undo"),
    ("Ctrl-Shift-Z", "redo"),
)
"""napari's own keys for the labels layer, to list with ours."""

UNDO_KEYS = ("Control-Z", "Control-Shift-Z")
"""napari binds them on the labels layer; here they work whichever layer is chosen."""

MOUSE: tuple[tuple[str, str], ...] = (
    ("Ctrl + drag", "window (left–right) and level (up–down), with the left button"),
    ("Middle drag", "the same, without a key"),
    ("Ctrl + wheel", "through the slices"),
)
"""Gesture → what it does, in the order to list them."""


class Keys:
    """Binds the keys to a viewer; ``close`` takes them away. ``commands``: key → what it does; a key without one does nothing."""

    def __init__(self, viewer: ViewerModel, commands: Mapping[str, Callable[[], object]]) -> None:
        self._viewer = viewer
        self._commands = commands
        for key in self._all:
            viewer.bind_key(key, self._binding(key), overwrite=True)

    def close(self) -> None:
        """Unbind everything."""
        for key in self._all:
            self._viewer.bind_key(key, None)

    _all = (*(key for key, _ in KEYS), *UNDO_KEYS)

    def _binding(self, key: str) -> Callable[[ViewerModel], None]:
        def run(viewer: ViewerModel) -> None:
            self._commands.get(key, lambda: None)()

        return run
