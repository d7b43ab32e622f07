"""Grids: where the voxels of an array are in the patient. Mathematics only; ``resample`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Affine = NDArray[np.float64]
Shape3 = tuple[int, int, int]

SLICES_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Of pictures of axial slices: columns run to the patient's left, rows to the back (as radiologists look at them), slices
upwards; sides of 1 voxel."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape (X, Y, Z) and the 4×4 float64 affine from voxel indices to RAS millimetres.

    ``calibrated`` is False where the voxel sizes are not known (slices that were saved as pictures): the affine then tells
    the directions of the axes only, with sides of 1, and nothing can be given in mm or mL.
    """

    shape: Shape3
    affine: Affine
    calibrated: bool = True

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-22:
            raise ValueError(f"not an invertible 4×4 affine: {affine.tolist()}")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"not a 3D shape: {self.shape}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(s) for s in self.shape))

    @property
    def key(self) -> tuple[Shape3, bytes, bool]:
        """Equal for equal grids, and hashable."""
        return self.shape, self.affine.tobytes(), self.calibrated

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides in mm; 1 where they are not known."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float | None:
        """Volume of one voxel in millilitres; None where it is not known."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0 if self.calibrated else None

    @property
    def diagonal_mm(self) -> float:
        """Length of the grid's diagonal in mm (the HD95 of a missed region)."""
        return float(np.linalg.norm(np.array(self.shape) * np.array(self.spacing)))

    @property
    def orientation(self) -> str:
        """The closest axis codes, like ``"RAS"`` or ``"LPS"``."""
        return "".join("RAS"[w] if f > 0 else "LPI"[w] for w, f in self._axes())

    @property
    def obliquity_deg(self) -> float:
        """The largest angle between a voxel axis and its closest anatomical axis, in degrees."""
        cosines = self.affine[:3, :3] / np.array(self.spacing)
        best = [abs(cosines[w, i]) for i, (w, _) in enumerate(self._axes())]
        return float(np.degrees(np.arccos(np.clip(min(best), -1, 1))))

    def _axes(self) -> list[tuple[int, int]]:
        """Per voxel axis: (world axis it runs along, sign)."""
        from nibabel.orientations import io_orientation

        return [(int(w), int(f)) for w, f in io_orientation(self.affine)]

    @property
    def tolerance_mm(self) -> float:
        """How far corners of equal grids may lie apart: a quarter of the smallest voxel side, 0.1 mm at least.

        What rounding of headers leaves (origins to 0.1 mm, angles to 1e-4, dropped shears) is within, and no voxel has
        another nearest one.
        """
        return max(0.1, min(self.spacing) / 4)

    def same_as(self, other: Grid, tolerance_mm: float | None = None) -> bool:
        """True when the shapes are equal and no corner lies further apart than the tolerance (None: :attr:`tolerance_mm`).

        Where one of the two is not calibrated, its places mean nothing: then the axes must run the same way.
        """
        if self.shape != other.shape:
            return False
        if self.calibrated and other.calibrated:
            return self.corner_distance(other) <= (self.tolerance_mm if tolerance_mm is None else tolerance_mm)
        return self.orientation == other.orientation

    def corner_distance(self, other: Grid) -> float:
        """The largest distance in mm between corresponding corners (inf when shapes differ)."""
        return float("inf") if self.shape != other.shape else max(self._corner_moves(other).values())

    def difference(self, other: Grid) -> str:
        """In words, how this grid differs from the other: in voxels, in where the whole of it lies, or in which corner."""
        if self.shape != other.shape:
            return " and ".join(f"{'×'.join(map(str, g.shape))}" for g in (self, other)) + " voxels"
        if np.abs(self.affine[:3, :3] - other.affine[:3, :3]).max() * max(self.shape) <= self.tolerance_mm:
            ways = zip(
                self.affine[:3, 3] - other.affine[:3, 3],
                ("left", "back", "down"),
                ("right", "front", "up"),
                strict=True,
            )
            moves = [f"{abs(mm):.3g} mm {ahead if mm > 0 else behind}" for mm, behind, ahead in ways if abs(mm) >= 0.05]
            return f"equal voxels, placed {', '.join(moves) or 'a little'} further"
        moved = self._corner_moves(other)
        index = max(moved, key=lambda corner: moved[corner])
        return f"equal numbers of voxels, but the corner {index} lies {moved[index]:.3g} mm away"

    def _corner_moves(self, other: Grid) -> dict[tuple[int, int, int], float]:
        """Corner (voxel indices) → its distance in mm from the other's."""
        corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(self.shape) - 1)
        apart = np.linalg.norm(self.to_world(corners) - other.to_world(corners), axis=1)
        return {(int(i), int(j), int(k)): float(mm) for (i, j, k), mm in zip(corners, apart, strict=True)}

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices (..., 3) → RAS mm (..., 3)."""
        i = np.asarray(index, dtype=np.float64)
        return i @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, world: ArrayLike) -> NDArray[np.float64]:
        """RAS mm (..., 3) → voxel indices (..., 3), fractional."""
        w = np.asarray(world, dtype=np.float64) - self.affine[:3, 3]
        return w @ np.linalg.inv(self.affine[:3, :3]).T

    def crop(self, start: Shape3, shape: Shape3) -> Self:
        """The grid of ``array[start : start + shape]``; a negative start or a longer shape pads."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(start)
        return type(self)(shape, affine, self.calibrated)
