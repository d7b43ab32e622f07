"""Diameters of lesions on the slices as acquired, as the RANO criteria measure them, and in three dimensions.

Sources: Wen et al. 2010 (RANO, doi:10.1200/JCO.2009.26.3541) and Wen et al. 2023 (RANO 2.0, doi:10.1200/JCO.23.01059). The
definitions, for each lesion of a region (:func:`brainseg_engine.scores.lesions.lesions` says what one lesion is):

1. In each slice as acquired the lesion's outline is the contour at 0.5 of its mask after a Gaussian of 0.7 pixels, which
   puts it where the partial volume would (without the smoothing, discs measure 0.4 mm too long).
2. The *longest diameter* is that of the outline's convex hull; where this chord leaves the mask (rings, crescents), it is
   the longest chord that stays inside: cavity, cyst and necrosis are left out of the enhancing tumour's.
3. The *perpendicular* is the longest chord inside the mask that crosses the longest diameter at a right angle.
4. The lesion's slice is the one with the largest *product* of the two. It is *measurable* when both are at least 10 mm.
5. The *sum of products* is taken over the largest measurable lesions: at most two by RANO, at most three by RANO 2.0.
6. The *largest diameter in 3D* is the largest distance between two points of the lesions' surface, which is the same
   contour taken in three dimensions.

All lengths are in mm in the patient, so oblique grids and unequal spacings need no care; end points are RAS mm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import GeometryError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Mask, Region, region_mask
from brainseg_engine.core.morphology import mesh
from brainseg_engine.scores.lesions import lesions
from brainseg_engine.scores.planar import outline
from brainseg_engine.scores.volumes import axial_axis

MEASURABLE_MM = 10.0
RANO_TARGETS, RANO2_TARGETS = 2, 3

_BLOCK = 256
_THICK = 1.2  # slices this much further apart than pixels tell by themselves in which plane a series was acquired

Point = tuple[float, float, float]
"""A place in the patient, RAS mm."""


@dataclass(frozen=True)
class Chord:
    """A straight line between two places in the patient (RAS mm)."""

    start: Point
    end: Point

    @property
    def mm(self) -> float:
        """The chord's length in mm."""
        return float(np.linalg.norm(np.subtract(self.end, self.start)))


@dataclass(frozen=True)
class Lesion:
    """One lesion: its volume, and its two diameters in the slice ``index`` across the voxel axis ``axis``.

    ``edited``: a person has moved an end of one of them.
    """

    volume_ml: float
    axis: int
    index: int
    longest: Chord
    perpendicular: Chord
    edited: bool = False

    @property
    def product_mm2(self) -> float:
        """Longest diameter times perpendicular."""
        return self.longest.mm * self.perpendicular.mm

    @property
    def measurable(self) -> bool:
        """Both diameters are at least 10 mm."""
        return min(self.longest.mm, self.perpendicular.mm) >= MEASURABLE_MM


@dataclass(frozen=True)
class Diameters:
    """The lesions of one region, largest product first, and the largest diameter in 3D (None where there is no lesion)."""

    region: Region
    lesions: tuple[Lesion, ...]
    largest_3d: Chord | None

    def targets(self, most: int = RANO_TARGETS) -> tuple[Lesion, ...]:
        """The largest measurable lesions, at most so many."""
        return tuple(lesion for lesion in self.lesions if lesion.measurable)[:most]

    def sum_of_products_mm2(self, most: int = RANO_TARGETS) -> float:
        """Over the target lesions; 0 where none is measurable."""
        return sum(lesion.product_mm2 for lesion in self.targets(most))


def diameters(
    labels: LabelArray, grid: Grid, regions: Iterable[Region] = tuple(Region), axis: int | None = None
) -> dict[Region, Diameters]:
    """Region → its lesions' diameters, of canonical labels (X, Y, Z).

    ``axis`` is the voxel axis across which the slices were acquired; by default :func:`slice_axis`. Raises GeometryError
    where the voxel sizes are not known.
    """
    if not grid.calibrated:
        raise GeometryError("The voxel sizes of this image are not known, so nothing in it can be measured in mm.")
    across = slice_axis(grid) if axis is None else axis
    by_region: dict[Region, Diameters] = {}
    for region in regions:
        mask = region_mask(labels, region)
        same = next((d for r, d in by_region.items() if np.array_equal(mask, region_mask(labels, r))), None)
        by_region[region] = replace(same, region=region) if same else _of_region(mask, grid, region, across)
    return by_region


def slice_axis(grid: Grid) -> int:
    """The voxel axis across which slices were acquired: the one of thick slices, else the one nearest to the body's axis."""
    spacing = grid.spacing
    widest = int(np.argmax(spacing))
    others = max(s for i, s in enumerate(spacing) if i != widest)
    return widest if spacing[widest] > _THICK * others else axial_axis(grid)


def _of_region(mask: Mask, grid: Grid, region: Region, axis: int) -> Diameters:
    from scipy.ndimage import find_objects

    numbered, _ = lesions(mask, grid.spacing)
    boxes = find_objects(numbered.astype(np.int32))
    measured = [_measured(numbered[box] == n, [s.start for s in box], grid, axis) for n, box in enumerate(boxes, 1)]
    measured.sort(key=lambda lesion: (-lesion.product_mm2, -lesion.volume_ml))
    return Diameters(region, tuple(measured), largest_diameter(numbered > 0, grid))


def _measured(mask: Mask, start: Sequence[int], grid: Grid, axis: int) -> Lesion:
    """The diameters of one lesion: ``mask`` is its box, which begins at the grid's voxel ``start``."""
    first, second = (a for a in range(3) if a != axis)
    flats = np.moveaxis(mask, axis, 0)
    sides = _plane_basis(grid, first, second)
    outlines = [(i, outline(flat, sides)) for i, flat in enumerate(flats) if flat.any()]
    # no product is larger than twice the hull's area (the chords' ends span half their product): most slices can be skipped
    outlines.sort(key=lambda pair: -pair[1].hull_area)
    index, best = outlines[0][0], outlines[0][1].bidirectional()
    assert best is not None
    for i, flat_outline in outlines[1:]:
        if 2 * flat_outline.hull_area <= best.product:
            break
        pair = flat_outline.bidirectional(more_than=best.product)
        if pair is not None and pair.product > best.product:
            index, best = i, pair

    def place(pixel: NDArray[np.float64]) -> Point:
        x, y, z = grid.to_world(np.array(start) + np.insert(pixel, axis, index))
        return float(x), float(y), float(z)

    longest, across = (Chord(place(a), place(b)) for a, b in (best.longest, best.perpendicular))
    volume = float(np.count_nonzero(mask)) * float(grid.voxel_ml or 0)
    return Lesion(volume, axis, index + int(start[axis]), longest, across)


def _plane_basis(grid: Grid, first: int, second: int) -> NDArray[np.float64]:
    """2×2: in-plane pixel steps (rows: first, second axis) in mm of an orthonormal basis of the slice."""
    a, b = grid.affine[:3, first], grid.affine[:3, second]
    along = a / np.linalg.norm(a)
    rest = b - (b @ along) * along
    return np.array([[np.linalg.norm(a), 0.0], [b @ along, np.linalg.norm(rest)]])


def largest_diameter(mask: Mask, grid: Grid) -> Chord | None:
    """The longest line between two points of the surface of ``mask`` (X, Y, Z), whether or not it stays inside."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import cdist

    vertices, _ = mesh(mask, sigma=0.7)
    if not len(vertices):
        return None
    points = grid.to_world(vertices)
    corners = points[ConvexHull(points).vertices]
    longest, i, j = -1.0, 0, 0
    for start in range(0, len(corners), _BLOCK):  # a round body's hull has thousands of corners
        apart = cdist(corners[start : start + _BLOCK], corners)
        if apart.max() > longest:
            row, j = (int(v) for v in np.unravel_index(int(apart.argmax()), apart.shape))
            longest, i = float(apart.max()), start + row
    (a, b, c), (d, e, f) = corners[i].tolist(), corners[j].tolist()
    return Chord((a, b, c), (d, e, f))


def to_json(measured: Mapping[Region, Diameters]) -> dict[str, Any]:
    """The records as a JSON object: lengths to 0.01 mm, end points to 0.001 mm."""
    return {region.value: _region_json(d) for region, d in measured.items()}


def _region_json(d: Diameters) -> dict[str, Any]:
    targets = d.targets(RANO2_TARGETS)
    return {
        "lesion_count": len(d.lesions),
        "measurable_count": sum(lesion.measurable for lesion in d.lesions),
        "sum_of_products_rano_mm2": round(d.sum_of_products_mm2(RANO_TARGETS), 2),
        "sum_of_products_rano2_mm2": round(d.sum_of_products_mm2(RANO2_TARGETS), 2),
        "largest_3d": None if d.largest_3d is None else _chord_json(d.largest_3d),
        "lesions": [
            {
                "volume_ml": round(lesion.volume_ml, 3),
                "slice_axis": lesion.axis,
                "slice_index": lesion.index,
                "longest": _chord_json(lesion.longest),
                "perpendicular": _chord_json(lesion.perpendicular),
                "product_mm2": round(lesion.product_mm2, 2),
                "measurable": lesion.measurable,
                "target_rano": lesion in targets[:RANO_TARGETS],
                "target_rano2": lesion in targets,
                "edited": lesion.edited,
            }
            for lesion in d.lesions
        ],
    }


def _chord_json(chord: Chord) -> dict[str, Any]:
    return {"mm": round(chord.mm, 2), "ends_ras_mm": [[round(v, 3) for v in p] for p in (chord.start, chord.end)]}


def from_json(content: Mapping[str, Any]) -> dict[Region, Diameters]:
    """What :func:`to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
    return {Region(name): _region_from(Region(name), d) for name, d in content.items()}


def _region_from(region: Region, content: Mapping[str, Any]) -> Diameters:
    lesions = tuple(
        Lesion(
            float(lesion["volume_ml"]), int(lesion["slice_axis"]), int(lesion["slice_index"]),
            _chord(lesion["longest"]), _chord(lesion["perpendicular"]), bool(lesion["edited"]),
        )
        for lesion in content["lesions"]
    )  # fmt: skip
    return Diameters(region, lesions, None if content["largest_3d"] is None else _chord(content["largest_3d"]))


def _chord(content: Mapping[str, Any]) -> Chord:
    (a, b, c), (d, e, f) = content["ends_ras_mm"]
    return Chord((float(a), float(b), float(c)), (float(d), float(e), float(f)))
