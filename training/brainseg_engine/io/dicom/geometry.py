"""From the places of slices to one grid, and what is wrong with them. Positions and orientation count, nothing else:
neither the order of files, nor slice thickness, nor the spacing between slices that the header tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.io.found import Remark

GAP_SHARE, GAP_MM = 0.02, 0.02
"""A slice may lie this share of the slice distance, or this many mm (the larger counts), beside its place."""
SHEAR = 0.02
"""The slices are called sheared when each is shifted against the next by more than this share of their distance."""
PLACED_MM = 1e-3
"""What moves no voxel by more than this is rounding."""
TOLERABLE_MM = 1.0
"""Slices further from an even grid than this are not read as one."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Stack:
    """Slices on one grid: ``order`` sorts the given slices along the normal, ``places`` are their indices (in that order).

    ``missing``: indices that have no slice; ``distances``: every index's distance along the normal, in mm.
    """

    grid: Grid
    order: tuple[int, ...]
    places: tuple[int, ...]
    missing: tuple[int, ...]
    distances: tuple[float, ...]
    remarks: tuple[Remark, ...]
    letters: tuple[str, str] = ("S", "I")

    def name(self, k: int) -> str:
        """How a workstation names the place of slice ``k``, like "S 12.5 mm"."""
        return place_name(self.distances[k], self.letters)


def direction(orientation: Sequence[float]) -> NDArray[np.float64]:
    """Row direction, column direction and normal (rows of a 3×3 matrix, LPS), made orthonormal. ValueError where none."""
    row, column = np.array(orientation[:3], dtype=np.float64), np.array(orientation[3:], dtype=np.float64)
    for v in (row, column):
        if not 0.9 < np.linalg.norm(v) < 1.1:
            raise ValueError("no unit vectors")
    row /= np.linalg.norm(row)
    if abs(row @ column) > 0.01:
        raise ValueError("not perpendicular")
    column -= (row @ column) * row
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def stack(
    positions: NDArray[np.float64],
    axes: NDArray[np.float64],
    spacing: tuple[float, float],
    size: tuple[int, int],
    thickness: float | None = None,
) -> Stack:
    """The grid of slices at ``positions`` (N, 3) in LPS mm, no two at one place, in planes of the directions ``axes``.

    ``spacing`` (between rows, between columns); ``size`` (columns, rows). ``thickness`` serves a lone slice only.
    """
    along = positions @ axes[2]
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    letters = _letters(axes[2])
    places, remarks = _places(along)
    if len(along) == 1:
        step, origin = axes[2] * (thickness if thickness and thickness > 0 else 1.0), positions[0]
        remarks.append(Remark("single-slice", "error", "It is a single slice, and a volume is needed."))
    else:
        step, origin = _line(places, positions)
        step, shear = _unsheared(step, axes[2], int(places[-1]))
        remarks += shear + _beside(places, positions, origin, step, float(np.median(np.diff(along))))
    affine: Affine = np.eye(4)
    affine[:3, 0] = axes[0] * spacing[1]
    affine[:3, 1] = axes[1] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = origin
    depth = int(places[-1]) + 1
    missing = tuple(k for k in range(depth) if k not in set(places.tolist()))
    distances = tuple(float((origin + k * step) @ axes[2]) for k in range(depth))
    return Stack(
        Grid((size[0], size[1], depth), _LPS_TO_RAS @ affine),
        tuple(int(i) for i in order),
        tuple(int(k) for k in places),
        missing,
        distances,
        tuple(remarks),
        letters,
    )


def place_name(distance: float, letters: tuple[str, str]) -> str:
    """A distance along the normal with the letter of the side, like "S 12.5 mm"."""
    return f"{letters[0] if distance >= 0 else letters[1]} {abs(distance):.1f} mm"


def _letters(normal: NDArray[np.float64]) -> tuple[str, str]:
    """The patient's sides towards which distances along the normal grow and fall."""
    axis = int(np.argmax(np.abs(normal)))
    pair = ("L", "R") if axis == 0 else ("P", "A") if axis == 1 else ("S", "I")
    return pair if normal[axis] > 0 else (pair[1], pair[0])


def _places(along: NDArray[np.float64]) -> tuple[NDArray[np.int64], list[Remark]]:
    """The index of each slice: whole multiples of the usual gap where all gaps are such, else one after the other."""
    gaps = np.diff(along)
    plain = np.arange(len(along))
    if len(gaps) == 0:
        return plain, []
    for base in (float(np.median(gaps)), float(gaps.min())):
        steps = np.rint(gaps / base)
        even = np.abs(gaps - steps * base) <= np.maximum(GAP_SHARE * base * steps, GAP_MM)
        if (steps >= 1).all() and even.all():
            if steps.sum() > 2 * len(gaps) + 2:
                break
            return np.concatenate([[0], np.cumsum(steps)]).astype(np.int64), []
    return plain, [_uneven(gaps)]


def _uneven(gaps: NDArray[np.float64]) -> Remark:
    return Remark("uneven", "warning", f"Its slices are {gaps.min():.2f} to {gaps.max():.2f} mm apart, not evenly.")


def _line(places: NDArray[np.int64], positions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The step per index and the place of index 0: the straight line that fits the positions best."""
    design = np.stack([places, np.ones(len(places))], axis=1).astype(np.float64)
    fit, *_ = np.linalg.lstsq(design, positions, rcond=None)
    return fit[0], fit[1]


def _unsheared(
    step: NDArray[np.float64], normal: NDArray[np.float64], last: int
) -> tuple[NDArray[np.float64], list[Remark]]:
    """The step along the normal where what is beside it is rounding; as it is, and said, where the slices are sheared."""
    beside = step - (step @ normal) * normal
    shift, distance = float(np.linalg.norm(beside)), float(step @ normal)
    if shift * last <= PLACED_MM:
        return step - beside, []
    if shift <= SHEAR * distance:
        return step, []
    angle = np.degrees(np.arctan2(shift, distance))
    return step, [
        Remark(
            "sheared",
            "warning",
            f"Its slices are sheared by {angle:.1f}° (a tilted gantry): the grid is not rectangular.",
        )
    ]


def _beside(
    places: NDArray[np.int64], positions: NDArray[np.float64], origin: NDArray[np.float64], step: NDArray[np.float64],
    gap: float,
) -> list[Remark]:  # fmt: skip
    """What to say of slices that lie beside their places on the grid."""
    off = float(np.linalg.norm(origin + places[:, None] * step - positions, axis=1).max())
    if off <= max(GAP_SHARE * gap, GAP_MM):
        return []
    if off <= TOLERABLE_MM:
        return [
            Remark("displaced", "warning", f"On an even grid its slices lie up to {off:.2f} mm beside their places.")
        ]
    return [
        Remark("no-grid", "error", f"Its slices fit no even grid: some would lie {off:.1f} mm beside their places.")
    ]
