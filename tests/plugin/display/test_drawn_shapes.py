"""Shapes that were drawn to measure: a press never meets a chosen shape that is not in the slice."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Shapes

from brainseg_engine.core.geometry import Grid
from brainseg_engine.scores.drawn import Drawn, DrawnKind, chord
from napari_brainseg.display import drawn_shapes
from napari_brainseg.display.mirrors import Mirror


class Press:
    """A press of the left button at one place, as napari's events tell it."""

    def __init__(self, position: tuple[float, ...]) -> None:
        self.position, self.modifiers, self.type, self.button = position, (), "mouse_press", 1


def pressed(layer: Shapes) -> None:
    """All that napari calls for a press, in its order; each up to where it waits for the mouse to move."""
    for callback in layer.mouse_drag_callbacks:
        waiting = callback(layer, Press((5.0, 5.0, 5.0)))
        if waiting is not None:
            next(waiting, None)


def shown(mirrored: bool) -> Shapes:
    viewer = ViewerModel()
    grid = Grid((20, 20, 20), np.diag([-1.0, -1.0, 1.0, 1.0]))
    drawn = Drawn(DrawnKind.RULER, chord((-5.0, -5.0, 5.0), (-9.0, -5.0, 5.0)))
    layer = drawn_shapes.show(viewer, grid, [drawn], ["4 mm"], None)
    if not mirrored:
        return layer
    other = ViewerModel()
    mirror = Mirror(layer, other.dims, lambda dims: None)  # type: ignore[arg-type, return-value]
    other.add_layer(mirror.layer)
    return mirror.layer


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("mode", ["select", "direct"])
def test_a_press_where_a_chosen_shape_is_seen_end_on(mode, mirrored):
    layer = shown(mirrored)
    layer.mode = mode
    layer.selected_data = {0}
    layer._selected_box = None  # as when it is not in view
    pressed(layer)
    assert not layer.selected_data or layer._selected_box is not None
