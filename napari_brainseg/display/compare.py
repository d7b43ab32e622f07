"""Two series in one picture, to see whether they lie on each other: computed slice by slice, when it is looked at.

napari takes anything with a shape and ``__getitem__`` for an image, and asks for the slice that it shows: so a series that is
moved by hand costs one slice (some 10 ms) and never a volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.core.study import Modality, Volume
from napari_brainseg.display.axes import axis_order
from napari_brainseg.display.windows import Window, brain_window

if TYPE_CHECKING:
    from brainseg_engine.prepare.rigid import Rigid

TILE_MM = 24.0
_LINE = (245, 215, 110)
_EDGE = (255, 140, 0)
_LEAST_EDGE, _EDGES = 0.03, 82
"""Of the window's range a pixel; and the percentile of the slopes from which on they are drawn."""


class Mix(StrEnum):
    """How the two are shown together."""

    SWIPE = "swipe"
    CHECKER = "checker"
    EDGES = "edges"
    ALTERNATE = "alternate"


@dataclass(frozen=True)
class CompareLook:
    """``where`` the line of the swipe lies (0 left … 1 right); ``second``: the turn of the series in alternating."""

    mix: Mix = Mix.SWIPE
    where: float = 0.5
    second: bool = False


class ComparedSeries:
    """The reference and a series on ``grid`` as an RGB image (I, P, L, 3), uint8, in the axes of the canvas."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        grid: Grid,
        reference: Volume,
        series: Volume,
        rigid: Rigid,
        windows: Mapping[Modality, Window] | None = None,
    ) -> None:
        """``windows``: modality → its black and white, where the images themselves are not to decide."""
        self.grid, self.look = grid, CompareLook()
        self._order = axis_order(grid.affine)
        self.shape = (*(grid.shape[k] for k in self._order), 3)
        self._reference, self._series = (_Sampled(v, (windows or {}).get(v.modality)) for v in (reference, series))
        self._rigid = rigid
        self._kept: tuple[Any, NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def size(self) -> int:
        """How many values the picture has."""
        return int(np.prod(self.shape))

    def place(self, rigid: Rigid) -> None:
        """The series lies so from now on (the reference's world → the series')."""
        self._rigid, self._kept = rigid, None

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """What napari asks for: indices or slices of the three axes."""
        picked = tuple(key[:3]) if isinstance(key, tuple) else (key,)
        picked += (slice(None),) * (3 - len(picked))
        picked = tuple(k if isinstance(k, slice) else int(k) for k in picked)
        a, b = self._both(picked)
        return mixed(a, b, self.look)

    def _both(self, picked: tuple[int | slice, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        said = str(picked)
        if self._kept is None or self._kept[0] != said:
            indices = [
                np.arange(n)[k] if isinstance(k, slice) else np.array([k])
                for k, n in zip(picked, self.shape, strict=False)
            ]
            at = np.stack(np.meshgrid(*indices, indexing="ij"), axis=-1).astype(np.float64)
            index = np.empty_like(at)
            index[..., list(self._order)] = at
            from brainseg_engine.prepare.rigid import Rigid  # brings torch

            flat = tuple(0 if isinstance(k, int) else slice(None) for k in picked)
            a = self._reference.at(index[flat], self.grid, Rigid.identity())
            b = self._series.at(index[flat], self.grid, self._rigid)
            self._kept = (said, a, b)
        return self._kept[1], self._kept[2]


class _Sampled:
    """One series, its window from black (0) to white (1)."""

    def __init__(self, volume: Volume, window: Window | None) -> None:
        black, white = window or brain_window(volume.data, modality=volume.modality)
        self._data = (np.asarray(volume.data, np.float32) - black) / np.float32(white - black)
        self._grid = volume.grid

    def at(self, index: NDArray[np.float64], grid: Grid, rigid: Rigid) -> NDArray[np.float32]:
        """The values at voxel indices (..., 3) of ``grid``; 0 where the series does not reach."""
        from scipy.ndimage import map_coordinates

        from brainseg_engine.prepare.rigid import between  # brings torch

        to: Affine = between(self._grid, grid, rigid)
        where = np.moveaxis(index @ to[:3, :3].T + to[:3, 3], -1, 0)
        values = map_coordinates(self._data, where, output=np.float32, order=1, mode="grid-constant", cval=0.0)
        return np.asarray(np.clip(values, 0, 1), np.float32)


def mixed(a: NDArray[np.float32], b: NDArray[np.float32], look: CompareLook) -> NDArray[np.uint8]:
    """Two pictures (..., rows, columns) of 0 … 1 as one, RGB (..., rows, columns, 3): by a swipe, in
    squares, by edges or in turn, as ``look`` says."""
    rows, columns = a.shape[-2:]
    line = None
    if look.mix is Mix.SWIPE:
        line = round(look.where * (columns - 1))
        grey = np.where(np.arange(columns) < line, a, b)
    elif look.mix is Mix.CHECKER:
        tile = np.arange(rows)[:, None] // TILE_MM + np.arange(columns)[None] // TILE_MM
        grey = np.where(tile % 2 == 0, a, b)
    else:
        grey = b if look.mix is Mix.ALTERNATE and look.second else a
    out = np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=-1)
    if line is not None:
        out[..., line, :] = _LINE
    if look.mix is Mix.EDGES:
        out[edges(b)] = _EDGE
    return out


def edges(picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a picture of 0 … 1 is steepest, one pixel wide."""
    from scipy.ndimage import gaussian_gradient_magnitude, maximum_filter

    slope = gaussian_gradient_magnitude(picture, 1.2)
    inside = slope > _LEAST_EDGE
    if not inside.any():
        return np.asarray(inside)
    steep = slope >= max(float(np.percentile(slope[inside], _EDGES)), _LEAST_EDGE)
    crest: NDArray[np.bool_] = steep & (slope >= 0.9 * maximum_filter(slope, 3))
    return crest
