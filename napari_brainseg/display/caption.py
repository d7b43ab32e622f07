"""What the canvas says about the picture: study and series, slice and window, and what the colours of lines and clouds mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brainseg_engine.core.palette import RGB
from napari_brainseg.display import outlines, preview
from napari_brainseg.display.layers import layer_info

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

_SIDES = ("SI", "AP", "RL")
"""World axis → the patient's side at its low and at its high end."""
_TEXT = "#d8dce2"
_SIZE, _SMALL = 10, 8
_CHARACTER_PX = 9
"""How wide a character of the larger size is, about."""


class Caption:
    """Two texts at the left of the canvas (its vispy side is ``canvas``) and a legend at its right; ``close`` takes them away."""

    def __init__(self, viewer: ViewerModel, small: bool = False, canvas: Any = None) -> None:
        self._viewer, self._canvas = viewer, canvas
        self._size = _SMALL if small else _SIZE
        self._tiling = viewer.canvas.overlay_tiling.top_right
        viewer.canvas.overlay_tiling.top_right = "vertical"  # the legend as a list
        self._top = self._overlay("brainseg_caption_top", "top_left", _TEXT)
        self._bottom = self._overlay("brainseg_caption_bottom", "bottom_left", _TEXT)
        self._legend: dict[str, object] = {}

    def _overlay(self, name: str, position: str, colour: object) -> object:
        from napari.components.overlays import TextOverlay

        made = TextOverlay(text="", position=position, font_size=self._size, box=False, color=colour)
        self._viewer.canvas.overlays[name] = made
        return made

    @property
    def words(self) -> tuple[str, str]:
        """What stands at the top and at the bottom."""
        return self._top.text, self._bottom.text  # type: ignore[attr-defined]

    @property
    def legend(self) -> list[str]:
        """The entries of the legend."""
        return list(self._legend)

    def show(self, top: str, bottom: str) -> None:
        """Write that text on the canvas."""
        if (top, bottom) == self.words:
            return
        for overlay, text in ((self._top, top), (self._bottom, bottom)):
            if overlay.text != text:  # type: ignore[attr-defined]
                overlay.text, overlay.visible = text, bool(text)  # type: ignore[attr-defined]
        if self._canvas is not None:
            self._canvas._update_overlay_canvas_positions()  # else napari does it after it has drawn, and draws once more

    def show_legend(self) -> None:
        """Name the colours of what lies over the images now."""
        wanted = dict(legend_of(self._viewer))
        for text in [t for t in self._legend if t not in wanted]:
            del self._viewer.canvas.overlays[_key(text)]
            del self._legend[text]
        for text, colour in wanted.items():
            if text not in self._legend:
                self._legend[text] = self._overlay(_key(text), "top_right", colour)
                self._legend[text].text = f"■ {text}"  # type: ignore[attr-defined]
                self._legend[text].visible = True  # type: ignore[attr-defined]

    def close(self) -> None:
        """Take the texts away."""
        self._viewer.canvas.overlay_tiling.top_right = self._tiling
        for name in ("brainseg_caption_top", "brainseg_caption_bottom", *(_key(t) for t in self._legend)):
            if name in self._viewer.canvas.overlays:
                del self._viewer.canvas.overlays[name]
        self._legend = {}


def _key(text: str) -> str:
    return "brainseg_legend_" + text.replace(" ", "_")


def legend_of(viewer: ViewerModel) -> list[tuple[str, RGB | str]]:
    """What lies over the images besides the regions: (what it is, its colour)."""
    entries: list[tuple[str, RGB | str]] = []
    doubt = outlines.beside(viewer, outlines.DOUBT)
    if doubt is not None and doubt.visible:
        entries.append(("model doubts", outlines.DOUBT_COLOUR))
    drawn = [outlines.beside(viewer, kind) for kind in (outlines.PROPOSAL, outlines.CHANGES)]
    if any(layer is not None and layer.visible for layer in drawn):
        for value, word in (
            (outlines.ADDED, "added"),
            (outlines.REMOVED, "removed"),
            (outlines.RENAMED, "another class"),
        ):
            entries.append((word, outlines.COLOURS[value]))
    if any(layer.name == preview.NAME and layer.visible for layer in viewer.layers):
        entries.append(("may be painted", preview.COLOUR))
    return entries


def place_of(viewer: ViewerModel, image: Image) -> str:
    """The slice as it is said: plane, number of how many (in the file's order), and below it where it lies in mm."""
    axis = int(viewer.dims.order[0])
    index = round(float(np.asarray(image.world_to_data(viewer.dims.point))[axis])) + 1
    plane = ("Axial", "Coronal", "Sagittal")[axis]
    info = layer_info(image)
    where = ""
    if info is None or info.grid.calibrated:
        mm = float(viewer.dims.point[axis])
        where = f"\n{_SIDES[axis][mm > 0]} {abs(mm):.1f} mm"
    return f"{plane} {index}/{image.data.shape[axis]}{where}"


def short_place_of(viewer: ViewerModel, image: Image, total: bool = True) -> str:
    """:func:`place_of` for a small canvas, with the number of how many or without."""
    plane, _, rest = place_of(viewer, image).partition(" ")
    number, newline, where = rest.partition("\n")
    return f"{plane[:3]} {number if total else number.partition('/')[0]}{newline}{where}"


def elided(words: str, width: float) -> str:
    """As much of the words as stands at the left of a canvas that is so many pixels wide, free of the letter in its middle."""
    most = max(int((width / 2 - 30) / _CHARACTER_PX), 6)
    return words if len(words) <= most else f"{words[: most - 1]}…"


def window_of(image: Image) -> str:
    """Window and level: the width of the range of greys, and its middle."""
    low, high = image.contrast_limits
    return f"W {_short(high - low)}  L {_short((low + high) / 2)}"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.3g}"
