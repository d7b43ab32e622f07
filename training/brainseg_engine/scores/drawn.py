"""What a person draws to measure: a ruler, the two diameters of a lesion, a region of interest; in mm in the patient.

All points are RAS mm, so that lengths are right in any plane and off isotropic spacing. The statistics of a region of interest
are over the voxels whose centres lie in the ellipse, in the one slice that it was drawn in; its volume is their number times
the volume of a voxel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Volume
from brainseg_engine.scores.diameters import Chord


class DrawnKind(StrEnum):
    """What was drawn."""

    RULER = "ruler"
    DIAMETERS = "diameters"
    ROI = "roi"


@dataclass(frozen=True)
class Statistics:
    """Of the voxels of one series in a region of interest; ``sd`` is the sample's."""

    mean: float
    sd: float
    low: float
    high: float
    voxels: int


@dataclass(frozen=True)
class Drawn:
    """One measurement. Of a ruler ``first`` is the line; of two diameters the longest, ``second`` the perpendicular; of a region
    of interest they are the two axes of its ellipse, ``ml`` its volume and ``statistics`` series → numbers.
    """

    kind: DrawnKind
    first: Chord
    second: Chord | None = None
    ml: float | None = None
    statistics: Mapping[str, Statistics] = field(default_factory=dict)

    @property
    def product_mm2(self) -> float | None:
        """Longest diameter times perpendicular, where both were drawn."""
        return self.first.mm * self.second.mm if self.kind is DrawnKind.DIAMETERS and self.second else None

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of the first line, RAS mm."""
        return np.asarray(np.mean([self.first.start, self.first.end], axis=0))


def chord(start: ArrayLike, end: ArrayLike) -> Chord:
    """Between two points, RAS mm."""
    (a, b, c), (d, e, f) = np.asarray(start, float).tolist(), np.asarray(end, float).tolist()
    return Chord((a, b, c), (d, e, f))


def ruler(start: ArrayLike, end: ArrayLike) -> Drawn:
    """A length between two points, RAS mm."""
    return Drawn(DrawnKind.RULER, chord(start, end))


def with_perpendicular(longest: Drawn, start: ArrayLike, end: ArrayLike) -> Drawn:
    """Two diameters: the first, and of the line from ``start`` to ``end`` what is at a right angle to it, where it crosses."""
    a, b = np.asarray(longest.first.start), np.asarray(longest.first.end)
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    p, q = np.asarray(start, float), np.asarray(end, float)
    foot = a + float(np.clip((((p + q) / 2 - a) @ along), 0, np.linalg.norm(b - a))) * along
    across = [foot + (x - a) - ((x - a) @ along) * along for x in (p, q)]
    return Drawn(DrawnKind.DIAMETERS, longest.first, chord(*across))


def roi(corner: ArrayLike, opposite: ArrayLike, grid: Grid, axis: int, volumes: Iterable[Volume] = ()) -> Drawn:
    """The ellipse in the box between two corners (RAS mm) in a slice across the voxel axis ``axis`` of the grid, with the
    statistics of those volumes that lie on the grid.
    """
    a, b = grid.to_index(corner), grid.to_index(opposite)
    b[axis] = a[axis] = np.round(a[axis])
    middle, half = (a + b) / 2, np.abs(b - a) / 2
    lines = []
    for one in [i for i in range(3) if i != axis]:
        step = np.zeros(3)
        step[one] = half[one]
        lines.append(chord(grid.to_world(middle - step), grid.to_world(middle + step)))
    return measured_roi(Drawn(DrawnKind.ROI, lines[0], lines[1]), grid, volumes)


def measured_roi(drawn: Drawn, grid: Grid, volumes: Iterable[Volume]) -> Drawn:
    """With its volume and the statistics of those volumes that lie on the grid."""
    mask = ellipse(drawn, grid)
    n = int(np.count_nonzero(mask))
    found = {}
    for volume in volumes:
        if volume.grid.same_as(grid) and n:
            values = volume.data[mask].astype(np.float64)
            sd = float(values.std(ddof=1)) if n > 1 else 0.0
            found[volume.modality.value] = Statistics(
                float(values.mean()), sd, float(values.min()), float(values.max()), n
            )
    ml = None if grid.voxel_ml is None else n * grid.voxel_ml
    return replace(drawn, ml=ml, statistics=found)


def ellipse(drawn: Drawn, grid: Grid) -> Mask:
    """Boolean (X, Y, Z): the voxels of the grid whose centres lie in the ellipse, in its slice."""
    mask = np.zeros(grid.shape, dtype=np.bool_)
    if drawn.second is None:
        return mask
    one, two = (np.stack([grid.to_index(c.start), grid.to_index(c.end)]) for c in (drawn.first, drawn.second))
    middle, axes = one.mean(axis=0), np.stack([(one[1] - one[0]) / 2, (two[1] - two[0]) / 2])
    reach = np.sqrt((axes**2).sum(axis=0))
    low = np.maximum(np.floor(middle - reach).astype(int), 0)
    high = np.minimum(np.ceil(middle + reach).astype(int) + 1, grid.shape)
    if (low >= high).any():
        return mask
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    at = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), axis=-1) - middle
    normal = np.cross(axes[0], axes[1])
    size = np.linalg.norm(normal)
    if size < 1e-6:
        return mask
    share = np.linalg.lstsq(axes.T, at.reshape(-1, 3).T, rcond=None)[0]
    off = np.abs(at.reshape(-1, 3) @ (normal / size))
    mask[box] = (((share**2).sum(axis=0) <= 1 + 1e-6) & (off < 0.5)).reshape(at.shape[:-1])
    return mask


def to_json(drawn: Sequence[Drawn]) -> list[dict[str, Any]]:
    """The measurements as JSON: lengths to 0.01 mm, points to 0.001 mm."""
    return [
        {
            "kind": d.kind.value,
            "first": _chord_json(d.first),
            "second": None if d.second is None else _chord_json(d.second),
            "product_mm2": None if d.product_mm2 is None else round(d.product_mm2, 2),
            "volume_ml": None if d.ml is None else round(d.ml, 4),
            "statistics": {
                name: {"mean": round(s.mean, 4), "sd": round(s.sd, 4), "min": s.low, "max": s.high, "voxels": s.voxels}
                for name, s in d.statistics.items()
            },
        }
        for d in drawn
    ]


def from_json(content: Any) -> list[Drawn]:
    """What :func:`to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
    return [
        Drawn(
            DrawnKind(d["kind"]),
            chord(*d["first"]["ends_ras_mm"]),
            None if d["second"] is None else chord(*d["second"]["ends_ras_mm"]),
            None if d["volume_ml"] is None else float(d["volume_ml"]),
            {
                str(n): Statistics(float(s["mean"]), float(s["sd"]), float(s["min"]), float(s["max"]), int(s["voxels"]))
                for n, s in d["statistics"].items()
            },
        )
        for d in content
    ]


def _chord_json(line: Chord) -> dict[str, Any]:
    return {"mm": round(line.mm, 2), "ends_ras_mm": [[round(v, 3) for v in p] for p in (line.start, line.end)]}
