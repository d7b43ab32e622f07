"""Two series in one picture."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.raw_study import rigid_motion, thick_grid

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.prepare.rigid import Rigid, carried
from napari_brainseg.display.axes import to_display
from napari_brainseg.display.compare import ComparedSeries, CompareLook, Mix, mixed

GRID = Grid((40, 44, 36), np.array([[-1.0, 0, 0, 20], [0, -1, 0, 22], [0, 0, 1, -18], [0, 0, 0, 1]]))


def head(grid: Grid) -> np.ndarray:
    at = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))
    return (1000 * np.exp(-((at / [9, 12, 8]) ** 2).sum(-1)) + 40 * (at[..., 0] > 0)).astype(np.float32)


@pytest.fixture(scope="module")
def pair():
    thick = thick_grid(GRID, (1.0, 1.0, 3.0))
    rigid = rigid_motion((4, -3, 5), (3, 2, -2), (0, 0, 0))
    still, moved = Volume(head(GRID), GRID, Modality.T1CE), head(GRID)
    series = Volume(carried(moved, GRID, thick, rigid.inverse, smooth=False), thick, Modality.T2)
    return still, series, rigid


def test_each_slice_is_that_of_both_series_in_the_axes_of_the_canvas(pair):
    still, series, rigid = pair
    picture = ComparedSeries(GRID, still, series, rigid)
    assert picture.shape == (36, 44, 40, 3)
    whole, _ = to_display(still.data, GRID.affine)
    picture.look = CompareLook(Mix.ALTERNATE)
    grey = np.stack([picture[i, :, :] for i in range(36)])[..., 0]
    assert np.corrcoef(grey.ravel(), np.clip(whole, 0, np.percentile(whole, 99)).ravel())[0, 1] > 0.93
    picture.look = CompareLook(Mix.ALTERNATE, second=True)
    other = np.stack([picture[:, :, k] for k in range(40)], axis=2)[..., 0]
    assert np.corrcoef(grey.ravel(), other.ravel())[0, 1] > 0.95  # aligned, they are one head
    picture.place(Rigid.identity())
    apart = picture[18, :, :][..., 0]
    assert np.abs(apart.astype(int) - grey[18]).mean() > np.abs(other[18].astype(int) - grey[18]).mean()


def test_the_ways_to_mix():
    a, b = np.full((60, 80), 1.0, np.float32), np.zeros((60, 80), np.float32)
    swiped = mixed(a, b, CompareLook(Mix.SWIPE, 0.25))
    assert (swiped[:, :20] == 255).all() and (swiped[:, 21:] == 0).all() and (swiped[:, 20] == swiped[0, 20]).all()
    assert (mixed(a, b, CompareLook(Mix.SWIPE, 1.0))[:, :79] == 255).all()
    checked = mixed(a, b, CompareLook(Mix.CHECKER))[..., 0]
    assert checked[0, 0] == 255 and checked[0, 30] == 0 and checked[30, 30] == 255
    b[20:40, 30:50] = 1
    outlined = mixed(np.zeros_like(b), b, CompareLook(Mix.EDGES))
    drawn = (outlined != 0).any(-1)
    assert drawn[18:22, 35:45].any() and not drawn[28:32, 38:42].any() and not drawn[:10].any()
