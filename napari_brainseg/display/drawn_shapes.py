"""What a person drew to measure, as shapes over the image: lines and ellipses, each in its own slice, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.scores.drawn import Drawn, DrawnKind, chord
from napari_brainseg.display.axes import placement
from napari_brainseg.display.diameter_lines import to_ras, to_shown

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Shapes

NAME = "Measurements"
_COLOUR = "#ffe14d"
_MOVED_MM = 0.01


def shapes_of(drawn: Drawn, grid: Grid) -> list[tuple[NDArray[np.float64], str]]:
    """(points in the layer's indices, kind of shape) of one measurement."""
    if drawn.kind is DrawnKind.ROI and drawn.second is not None:
        middle = drawn.centre
        a, b = (np.subtract(c.end, c.start) / 2 for c in (drawn.first, drawn.second))
        corners = np.stack([middle - a - b, middle + a - b, middle + a + b, middle - a + b])
        return [(to_shown(grid, corners), "ellipse")]
    lines = [drawn.first, *([drawn.second] if drawn.second is not None else [])]
    return [(to_shown(grid, [c.start, c.end]), "line") for c in lines]


def taken_from(drawn: Drawn, shapes: Sequence[NDArray[Any]], grid: Grid) -> Drawn:
    """The measurement as its shapes lie now."""
    ras = [to_ras(grid, s) for s in shapes]
    if drawn.kind is DrawnKind.ROI:
        (p, q, r, s), *_ = ras
        middle, a, b = (p + q + r + s) / 4, (q - p + r - s) / 4, (s - p + r - q) / 4
        return replace(drawn, first=chord(middle - a, middle + a), second=chord(middle - b, middle + b))
    first, *rest = (chord(line[0], line[1]) for line in ras)
    return replace(drawn, first=first, second=rest[0] if rest else None)


def apart(one: Drawn, other: Drawn) -> bool:
    """Whether they lie elsewhere: more than rounding apart."""

    def ends(of: Drawn) -> NDArray[np.float64]:
        return np.array([end for c in (of.first, of.second) if c is not None for end in (c.start, c.end)])

    return bool(np.abs(ends(one) - ends(other)).max() > _MOVED_MM)


def show(viewer: ViewerModel, grid: Grid, drawn: Sequence[Drawn], names: Sequence[str], old: Shapes | None) -> Shapes:
    """A layer with all of them; ``old`` is taken away. ``names`` stand at them."""
    from napari.layers import Shapes

    data, kinds, words = [], [], []
    for one, name in zip(drawn, names, strict=True):
        for i, (points, kind) in enumerate(shapes_of(one, grid)):
            data.append(points)
            kinds.append(kind)
            words.append(name if i == 0 else "")
    layer = Shapes(
        data, shape_type=kinds, ndim=3, name=NAME, edge_color=_COLOUR, face_color="transparent",
        edge_width=0.8 / max(grid.spacing), features={"name": words},
        text={"string": "{name}", "size": 9, "color": _COLOUR, "anchor": "upper_left"}, **placement(grid),
    )  # fmt: skip
    keep_presses_sound(layer)
    active = viewer.layers.selection.active
    if old is not None and old in viewer.layers:
        viewer.layers.remove(old)
    viewer.add_layer(layer)
    viewer.layers.selection.active = active if active is not old else layer
    return layer


def keep_presses_sound(layer: Shapes) -> None:
    """A chosen shape that the slice does not show is let go of before a press: napari would ask where its box is, and there is
    none (a TypeError in napari 0.9)."""

    def let_go(layer: Shapes, _: object) -> None:
        if layer.selected_data and layer._selected_box is None:
            layer.selected_data = set()

    layer.mouse_drag_callbacks.insert(0, let_go)
