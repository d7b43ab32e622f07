"""Where the other planes cut the one that a canvas shows: two thin lines that leave their crossing free."""

from __future__ import annotations

from typing import Any

import numpy as np

COLOUR = (0.45, 0.75, 0.95, 0.75)
_LONG_MM, _FREE_MM = 2000.0, 6.0


class Crosshair:
    """Lines on one of napari's canvases (its vispy side). ``close`` takes them away."""

    def __init__(self, canvas: Any) -> None:
        from vispy.scene.visuals import Line

        self._line = Line(pos=np.zeros((2, 2)), color=COLOUR, connect="segments", parent=canvas.view.scene)
        self._line.order = 10_000  # over all layers
        self._line.set_gl_state("translucent", depth_test=False)
        self._line.visible = False
        self._at: tuple[float, float] | None = None

    @property
    def at(self) -> tuple[float, float] | None:
        """(down, right) in world mm where it stands; None where it is hidden."""
        return self._at if self._line.visible else None

    def show(self, down: float, right: float) -> None:
        """Cross at that place of the plane shown, in world mm."""
        if self._at != (down, right):
            self._at, far, free = (down, right), _LONG_MM, _FREE_MM
            x, y = right, down
            self._line.set_data(
                pos=np.array(
                    [
                        (x - far, y), (x - free, y), (x + free, y), (x + far, y),
                        (x, y - far), (x, y - free), (x, y + free), (x, y + far),
                    ],
                    dtype=np.float32,
                )
            )  # fmt: skip
        self._line.visible = True

    def hide(self) -> None:
        """Show no lines."""
        self._line.visible = False

    def close(self) -> None:
        """Take the lines off the canvas."""
        self._line.parent = None
