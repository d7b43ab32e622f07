"""The keys of the canvas: one table that the panel lists and that is bound to the viewer.

napari ignores the key bindings of a manifest, so they are bound on the viewer here. A layer's own bindings win over a
viewer's: none of ours is one of napari's for the viewer, images, labels or surfaces (a test holds that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from napari_brainseg.display import preferences

if TYPE_CHECKING:
    from napari.components import ViewerModel

KEYS: tuple[tuple[str, str], ...] = (
    ("A", "axial plane through the cursor"),
    ("S", "sagittal plane through the cursor"),
    ("D", "coronal plane through the cursor"),
    ("T", "3D and back"),
    ("Shift-T", "axial, coronal, sagittal and 3D beside each other, and one canvas again"),
    ("Home", "fit: the head fills the canvas"),
    ("PageUp", "the slice before"),
    ("PageDown", "the next slice"),
    ("Up", "the slice before"),
    ("Down", "the next slice"),
    (".", "the next lesion, from the largest on"),
    (",", "the lesion before"),
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
    ("8", "paint: click to fix (Shift + click: too much)"),
    ("9", "paint: fix by a box, or by clicks and scribbles"),
    ("K", "paint: relabel the part under the mouse"),
    ("Shift-K", "paint: erase the part under the mouse"),
    ("J", "next doubtful slice"),
    ("Shift-J", "previous doubtful slice"),
    ("Control-.", "next slice in which something is proposed or was changed"),
    ("Control-,", "the changed slice before"),
    ("Shift-H", "where the model doubts"),
    ("Shift-U", "outlines of what was changed"),
    ("Control-Enter", "accept the correction"),
    ("Control-J", "next study of the queue"),
    ("F1", "this list"),
    ("F2", "open a study"),
    ("F5", "segment"),
    ("F9", "save the mask"),
)
"""Key → what it does, in the order to list them."""

NAMES: Mapping[str, str] = {
    "A": "axial", "S": "sagittal", "D": "coronal", "T": "view_3d", "Shift-T": "canvases", "Home": "fit", "PageUp": "slice_before",
    "PageDown": "slice_next", "Up": "slice_up", "Down": "slice_down", ".": "lesion_next", ",": "lesion_before",
    "N": "series_next", "Shift-N": "series_before", "H": "hide", "U": "outline", "W": "window", "Q": "target_next",
    "Shift-Q": "target_before", "R": "threshold", "I": "interpolate", "G": "grow", "8": "click", "9": "click_box",
    "K": "relabel", "Shift-K": "erase_part", "J": "doubtful_next", "Shift-J": "doubtful_before", "Control-.": "changed_next",
    "Control-,": "changed_before", "Shift-H": "doubt", "Shift-U": "changes", "Control-Enter": "accept",
    "Control-J": "queue_next", "F1": "keys", "F2": "open", "F5": "segment", "F9": "save",
}  # fmt: skip
"""Key → the name of its command among napari's preferences, where another key may be chosen for it."""

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
    ("Wheel", "through the slices; in 3D zoom"),
    ("Ctrl + wheel", "zoom"),
    ("Right drag", "window (left–right) and level (up–down); with the brush in hand it fills a shape"),
    ("Ctrl + drag", "the same, whatever tool is in hand"),
    ("Middle drag", "move the image"),
    ("Click", "with several canvases: the crosshair, and all planes, go there"),
    ("Shift + mouse", "the crosshair goes along, whatever tool is in hand"),
    ("Double click", "with several canvases: that one alone, and all again"),
)
"""Gesture → what it does, in the order to list them."""


class Keys:
    """Binds the keys to a viewer; ``close`` takes them away. ``commands``: default key → what it does; a key without one does
    nothing. Keys that a person chose among the preferences take the places of the default ones."""

    def __init__(self, viewer: ViewerModel, commands: Mapping[str, Callable[[], object]]) -> None:
        self._viewer = viewer
        self._commands = commands
        self._bound: list[str] = []
        self._drop = preferences.follow_keys(self._bind)
        self._bind()

    @property
    def listed(self) -> list[tuple[str, str]]:
        """Key → what it does, as bound: ours, napari's, the mouse."""
        chosen = self._chosen()
        return [(chosen[NAMES[key]], words) for key, words in KEYS] + [*NAPARI_KEYS, *MOUSE]

    def close(self) -> None:
        """Unbind everything."""
        self._drop()
        self._unbind()

    @staticmethod
    def _chosen() -> dict[str, str]:
        return preferences.chosen_keys({name: key for key, name in NAMES.items()})

    def _bind(self) -> None:
        self._unbind()
        chosen = self._chosen()
        for default, key in (*((key, chosen[NAMES[key]]) for key, _ in KEYS), *((key, key) for key in UNDO_KEYS)):
            self._viewer.bind_key(key, self._binding(default), overwrite=True)
            self._bound.append(key)

    def _unbind(self) -> None:
        for key in self._bound:
            self._viewer.bind_key(key, None)
        self._bound = []

    def _binding(self, key: str) -> Callable[[ViewerModel], None]:
        def run(viewer: ViewerModel) -> None:
            self._commands.get(key, lambda: None)()

        return run
