"""A result on one grid, told on another: region by region, so that nesting holds and thin parts stay.

Each region is carried as a share of every target voxel (averaged over its whole volume, not picked at its centre). Of
every connected piece of the region, those voxels are set that hold most of it, as many as the piece's volume needs: a
rim thinner than a slice does not vanish, and no volume is lost or made. ET comes first, and is
part of TC, TC of WT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid, Shape3
from brainseg_engine.core.labels import Label, LabelArray, Mask, Region, labels_from_regions, region_mask
from brainseg_engine.core.morphology import Box, components
from brainseg_engine.core.study import Prediction, Segmentation
from brainseg_engine.prepare.rigid import Rigid, between, carried

_Share = NDArray[np.float32]
_MARGIN = 2
_FINEST_MM = 1.0
_LEAST_SHARE = 0.02


def segmentation_onto(
    segmentation: Segmentation,
    target: Grid,
    rigid: Rigid | None = None,
    probabilities: Mapping[Region, NDArray[np.float16]] | None = None,
) -> Segmentation:
    """``segmentation`` on ``target``; ``rigid`` maps the target's world to the segmentation's.

    ``probabilities`` (region → (X, Y, Z) on the segmentation's grid) place the borders more finely than its voxels; which
    voxels belong to the region is what the segmentation says.
    """
    if rigid is None and segmentation.grid.same_as(target):
        return replace(segmentation, grid=target)
    regions = [r for r in Region if r in segmentation.regions]
    masks: dict[Region, Mask] = {}
    for region in reversed(regions):  # ET first: what is inside belongs to what is around it
        inside = region_mask(segmentation.labels, region)
        field = _field(inside, (probabilities or {}).get(region))
        inner = next(reversed(masks.values()), None)
        masks[region] = region_onto(field, inside, segmentation.grid, target, rigid, inner)
    labels = _labels(masks, segmentation, target)
    cavity = segmentation.labels == Label.RC
    if cavity.any():
        at = region_onto(_field(cavity, None), cavity, segmentation.grid, target, rigid)
        labels[at & (labels == 0)] = Label.RC
    return replace(segmentation, labels=labels, grid=target, path=None)


def probability_onto(
    probability: NDArray[np.float16], source: Grid, target: Grid, rigid: Rigid | None = None
) -> _Share:
    """A region's probability (X, Y, Z) on ``target``, float32: the mean over each of its voxels."""
    return _averaged(np.asarray(probability, np.float32), source, target, rigid)


def region_onto(
    field: _Share, inside: Mask, source: Grid, target: Grid, rigid: Rigid | None = None, inner: Mask | None = None
) -> Mask:
    """The voxels of ``target`` that stand for the region ``inside`` (X, Y, Z) on ``source``; see the module.

    ``field`` is above 0.5 where ``inside`` is set and tells how the border runs between voxels. ``inner`` is the region
    within, on ``target`` already: its voxels come first, and count towards the volume.
    """
    out = np.zeros(target.shape, dtype=np.bool_) if inner is None else inner.copy()
    pieces, n = components(inside)
    for piece, found in enumerate(_boxes(pieces, n), start=1):
        box = _grown(found, inside.shape)
        own = pieces[box] == piece
        near = source.crop((box[0].start, box[1].start, box[2].start), own.shape)
        part, at = part_of(near, target, rigid)
        if part is None:
            continue
        volume = _averaged(own.astype(np.float32), near, part, rigid)
        if volume.max() > _LEAST_SHARE:  # else it lies beyond the target
            alone = np.where(own | ~inside[box], field[box], np.float32(0))
            rank = _averaged(alone, near, part, rigid)
            out[at] |= _fullest(rank if inner is None else rank + inner[at], volume)
    return out


def _fullest(rank: _Share, volume: _Share) -> Mask:
    """The voxels that rank highest, as many as the shares of ``volume`` add up to (at least one).

    Of equal ones those whose neighbours rank higher: grids that lie half a voxel apart have many.
    """
    from scipy.ndimage import uniform_filter

    held = np.flatnonzero(volume > _LEAST_SHARE)
    count = max(1, round(float(volume.sum(dtype=np.float64))))
    own, around = (np.round(a.ravel()[held], 4) for a in (rank, uniform_filter(rank, 3)))
    out = np.zeros(rank.size, dtype=np.bool_)
    out[held[np.lexsort((-around, -own))[:count]]] = True
    return out.reshape(rank.shape)


def _field(inside: Mask, probability: NDArray[np.float16] | None) -> _Share:
    """How the region's border runs: the probability, kept on the segmentation's side of one half; else the mask itself."""
    if probability is None:
        return inside.astype(np.float32)
    p = np.asarray(probability, np.float32)
    field: _Share = np.where(inside, np.maximum(p, np.float32(0.55)), np.minimum(p, np.float32(0.45)))
    return field


def part_of(source: Grid, target: Grid, rigid: Rigid | None) -> tuple[Grid | None, Box]:
    """The part of ``target`` that ``source`` reaches, and where it begins and ends; None where they are apart."""
    corners = (
        np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(source.shape) + 1.0) - 1.0
    )
    inverse = np.linalg.inv(between(source, target, rigid))
    at = corners @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.clip(np.floor(at.min(axis=0)).astype(int), 0, target.shape)
    high = np.clip(np.ceil(at.max(axis=0)).astype(int) + 1, 0, target.shape)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    box = (x, y, z)
    if np.any(high <= low):
        return None, box
    start, shape = tuple(int(a) for a in low), tuple(int(n) for n in high - low)
    return target.crop((start[0], start[1], start[2]), (shape[0], shape[1], shape[2])), box


def _averaged(field: _Share, source: Grid, target: Grid, rigid: Rigid | None) -> _Share:
    """``field`` on ``target``, the mean over as many points of each of its voxels as are no further than 1 mm apart."""
    many = tuple(max(1, int(np.ceil(s / _FINEST_MM - 0.05))) for s in target.spacing)
    fine = finer(target, many)  # type: ignore[arg-type]
    values = carried(field, source, fine, rigid, smooth=False)
    x, y, z = target.shape
    blocks = values.reshape(x, many[0], y, many[1], z, many[2])
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def finer(grid: Grid, many: Shape3) -> Grid:
    """The grid whose voxels are those of ``grid`` cut into ``many`` along each axis."""
    affine = grid.affine.copy()
    affine[:3, :3] /= np.array(many)
    affine[:3, 3] = grid.to_world((1 / np.array(many) - 1) / 2)
    x, y, z = (n * m for n, m in zip(grid.shape, many, strict=True))
    return Grid((x, y, z), affine, grid.calibrated)


def _labels(masks: Mapping[Region, Mask], segmentation: Segmentation, target: Grid) -> LabelArray:
    empty = np.zeros(target.shape, dtype=np.bool_)
    if set(masks) == {Region.WT}:
        unknown = Label.TUMOUR if (segmentation.labels == Label.TUMOUR).any() else Label.ED
        return np.where(masks[Region.WT], np.uint8(unknown), np.uint8(0))
    return labels_from_regions(*(masks.get(r, empty) for r in (Region.WT, Region.TC, Region.ET)))


def _boxes(pieces: NDArray[np.uint32], n: int) -> list[tuple[slice, slice, slice]]:
    from scipy import ndimage

    return ndimage.find_objects(pieces.astype(np.int32), n) if n else []


def _grown(box: tuple[slice, slice, slice], shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    x, y, z = (slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) for s, n in zip(box, shape, strict=True))
    return x, y, z


def probabilities_onto(prediction: Prediction, target: Grid, rigid: Rigid | None = None) -> dict[Region, _Share]:
    """Region → its probability on ``target``; empty where the prediction holds none."""
    grid = prediction.segmentation.grid
    return {r: probability_onto(p, grid, target, rigid) for r, p in (prediction.probabilities or {}).items()}
