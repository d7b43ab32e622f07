"""What a person paints on a series as acquired, told on the grid of 1 mm that the model learns from.

Only what was painted is carried over: elsewhere the labels keep the finer border that they have. Every voxel of 1 mm goes
by the voxel of the series that its centre lies in, so that strokes side by side leave no seam between them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Affine, Grid, Shape3
from brainseg_engine.core.labels import LabelArray, Mask, Region, region_mask
from brainseg_engine.core.morphology import Box, bounding_box, components
from brainseg_engine.edits import Action, stroke
from brainseg_engine.prepare.back import part_of
from brainseg_engine.prepare.rigid import Rigid, between

_INSIDE_OUT = (Region.ET, Region.TC, Region.WT)


def painted_onto(
    labels: LabelArray, grid: Grid, before: LabelArray, after: LabelArray, own: Grid, rigid: Rigid | None = None
) -> LabelArray:
    """``labels`` (X, Y, Z) on ``grid`` once a person has changed ``before`` to ``after``, both on the series' grid ``own``.

    ``rigid``: where a point of ``grid``'s world lies in the series'. A new array. What was painted leaves at least a voxel a
    piece, however thin it is. Of a region that was erased nothing stays that no voxel of the series shows any more. What
    lies beyond ``grid`` cannot be told: see :func:`reach`.
    """
    out = labels.copy()
    box = bounding_box(before != after, 1)
    if box is None:
        return out
    near = own.crop((box[0].start, box[1].start, box[2].start), before[box].shape)
    part, at = part_of(near, grid, rigid)
    if part is None:
        return out
    was, now = before[box], after[box]
    to = between(own, grid, rigid)
    index, inside = _voxels_at(to, at, box)
    shown, changed = now[index], inside & (was != now)[index]
    view = out[at]
    view[changed] = shown[changed]
    _thin_pieces(out, was, now, index, changed, (to, box))
    for region in _INSIDE_OUT:
        if (region_mask(was, region) & ~region_mask(now, region)).any():
            _forget_what_is_not_shown(view, inside & region_mask(shown, region), region, at, grid)
    return out


def reach(grid: Grid, own: Grid, rigid: Rigid | None = None) -> Mask:
    """The voxels of ``own`` (X, Y, Z) whose centre lies within ``grid``: what is painted there can be told on it."""
    index = between(grid, own, rigid.inverse if rigid is not None else None)
    whole = _whole(own.shape), _whole(grid.shape)
    return _voxels_at(index, *whole)[1]


def _whole(shape: Shape3) -> Box:
    x, y, z = (slice(0, n) for n in shape)
    return x, y, z


def _voxels_at(to: Affine, part: Box, within: Box) -> tuple[tuple[NDArray[np.intp], ...], Mask]:
    """For every voxel of ``part`` the voxel that its centre lies in, counted from the start of ``within`` and kept in there,
    and whether it did lie there. Centres that lie on a border go the same way whatever the parts are."""
    i, j, k = np.ogrid[part]
    inside = np.ones(tuple(s.stop - s.start for s in part), dtype=np.bool_)
    found = []
    for row, s in zip(to, within, strict=False):
        at = np.floor(row[0] * i + row[1] * j + (row[2] * k + row[3]) + 0.5).astype(np.intp)
        inside &= (at >= s.start) & (at < s.stop)
        found.append(np.clip(at, s.start, s.stop - 1) - s.start)
    return tuple(found), inside


def _thin_pieces(
    out: LabelArray, was: LabelArray, now: LabelArray, index: tuple[NDArray[np.intp], ...], changed: Mask,
    place: tuple[Affine, Box],
) -> None:  # fmt: skip
    """A piece that no centre lies in takes the voxel that its middle lies in."""
    pieces, n = components(was != now)
    told = np.zeros(n + 1, dtype=np.bool_)
    told[0] = True
    told[pieces[index][changed]] = True
    back, start = np.linalg.inv(place[0]), [s.start for s in place[1]]
    for piece in np.flatnonzero(~told):
        members = np.argwhere(pieces == piece)
        middle = members[np.argmin(((members - members.mean(axis=0)) ** 2).sum(axis=1))]
        voxel = np.round(back[:3, :3] @ (middle + start) + back[:3, 3]).astype(int)
        if np.all((voxel >= 0) & (voxel < out.shape)):
            out[tuple(voxel)] = now[tuple(middle)]


def _forget_what_is_not_shown(view: LabelArray, shown: Mask, region: Region, at: Box, grid: Grid) -> None:
    """Erase the pieces of the region that lie in the part as a whole and that no voxel of the series shows.

    A cap that reaches by less than half a slice into the next one would stay when the slices that show it are erased.
    """
    pieces, n = components(region_mask(view, region))
    kept = np.zeros(n + 1, dtype=np.bool_)
    kept[0] = True
    kept[pieces[shown]] = True
    for axis, (cut, whole) in enumerate(zip(at, grid.shape, strict=True)):
        face = np.moveaxis(pieces, axis, 0)
        if cut.start > 0:
            kept[face[0]] = True
        if cut.stop < whole:
            kept[face[-1]] = True
    lost, erased = ~kept[pieces], stroke(Action.ERASE, region)
    view[lost & erased.table[view]] = erased.label
