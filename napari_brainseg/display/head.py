"""A small head in a corner of the canvas in 3D, turned as the patient is: at a glance one knows from where one looks.

It is a picture made here and shown as any image is: a mesh with a camera of its own on napari's canvas is more than some drivers
stand.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from napari.components import ViewerModel

SIDE = 64
"""Pixels of the picture, each way."""
_SHOWN, _EDGE = 84, 8
"""Pixels on the canvas at most, and from its corner."""
_PART = 0.25
"""Of the canvas's shorter side, at most."""
SKIN, DARK, NOSE = (0.80, 0.74, 0.68), (0.16, 0.17, 0.20), (0.96, 0.84, 0.43)
_REACH = 1.75
"""Half of what the picture shows; the skull is about 1 wide each way from its centre."""
_PARTS = (
    ((-0.10, 0.05, 0.0), (0.90, 1.00, 0.78), SKIN, 9000),
    ((0.40, -0.30, 0.0), (0.75, 0.62, 0.58), SKIN, 6000),
    ((1.05, 0.20, 0.0), (0.60, 0.42, 0.42), SKIN, 4000),
    ((0.30, -0.98, 0.0), (0.26, 0.28, 0.13), NOSE, 1200),
    ((0.22, 0.08, 0.80), (0.27, 0.16, 0.09), SKIN, 1000),
    ((0.22, 0.08, -0.80), (0.27, 0.16, 0.09), SKIN, 1000),
    ((0.05, -0.86, 0.27), (0.10, 0.08, 0.14), DARK, 600),
    ((0.05, -0.86, -0.27), (0.10, 0.08, 0.14), DARK, 600),
    ((0.72, -0.88, 0.0), (0.05, 0.06, 0.22), DARK, 600),
)
"""Ellipsoids, in world axes (inferior, posterior, left): centre, half axes, colour, points on it."""


@lru_cache(maxsize=1)
def _cloud() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Points on the head, the directions they face, and their colours: each (N, 3)."""
    points, normals, colours = [], [], []
    for centre, axes, colour, n in _PARTS:
        down = 1 - 2 * (np.arange(n) + 0.5) / n
        turn = np.pi * (1 + 5**0.5) * np.arange(n)
        round_ = np.sqrt(1 - down**2)
        ball = np.stack([down, round_ * np.cos(turn), round_ * np.sin(turn)], axis=1)
        across = ball / np.array(axes)
        points.append(np.array(centre) + ball * np.array(axes))
        normals.append(across / np.linalg.norm(across, axis=1, keepdims=True))
        colours.append(np.tile(colour, (n, 1)))
    return np.concatenate(points), np.concatenate(normals), np.concatenate(colours)


def picture(view: ArrayLike, up: ArrayLike, right: ArrayLike) -> NDArray[np.float32]:
    """The head as seen along ``view``, with ``up`` and ``right`` on the canvas (unit vectors in world axes): RGBA in 0…1,
    (:data:`SIDE`, :data:`SIDE`, 4)."""
    points, normals, colours = _cloud()
    into = np.asarray(view, dtype=np.float64)
    facing = -(normals @ into)
    front = facing > 0
    points, facing, colours = points[front], facing[front], colours[front]
    order = np.argsort(-(points @ into))  # the nearest last: they stay
    points, facing, colours = points[order], facing[order], colours[order]
    scale = SIDE / 2 / _REACH
    column = np.round(SIDE / 2 + scale * (points @ np.asarray(right))).astype(int).clip(0, SIDE - 1)
    row = np.round(SIDE / 2 - scale * (points @ np.asarray(up))).astype(int).clip(0, SIDE - 1)
    made = np.zeros((SIDE, SIDE, 4), dtype=np.float32)
    made[row, column, :3] = colours * (0.35 + 0.65 * facing[:, None])
    made[row, column, 3] = 0.95
    return made


class SmallHead:
    """The head on one of napari's canvases (its vispy side). ``close`` takes it away."""

    def __init__(self, canvas: Any) -> None:
        from vispy.scene.visuals import Image
        from vispy.visuals.transforms import STTransform

        self._canvas, self._seen = canvas, b""
        self._image = Image(np.zeros((SIDE, SIDE, 4), np.float32), interpolation="linear", parent=canvas.view)
        self._image.order = 10_000
        self._image.set_gl_state("translucent", depth_test=False)
        self._image.transform = STTransform()
        self._image.visible = False
        canvas.view.events.resize.connect(self._place)
        self._place()

    @property
    def shown(self) -> bool:
        """Whether it is on the canvas."""
        return bool(self._image.visible)

    def show(self, viewer: ViewerModel) -> None:
        """As the camera of the viewer sees the patient, at the lower left."""
        camera = viewer.scene.camera
        view, up = (np.asarray(d, dtype=np.float64) for d in (camera.view_direction, camera.up_direction))
        key = np.round([view, up], 3).tobytes()
        if key != self._seen:
            self._seen = key
            self._image.set_data(picture(view, up, np.cross(view, up)))
        self._image.visible = True

    def hide(self) -> None:
        """Off the canvas."""
        self._image.visible = False

    def _place(self, event: Any = None) -> None:
        """In the corner, and smaller on a small canvas."""
        width, height = self._canvas.view.size
        side = min(_SHOWN, _PART * min(width, height))
        self._image.transform.scale = (side / SIDE, side / SIDE)
        self._image.transform.translate = (_EDGE, height - side - _EDGE)

    def close(self) -> None:
        """Take it off for good."""
        self._canvas.view.events.resize.disconnect(self._place)
        try:
            self._canvas.native.size()
        except RuntimeError:  # Qt has deleted it, as it does when an error ends the program: vispy would print one more
            return
        self._image.parent = None
