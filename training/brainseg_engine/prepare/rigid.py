"""Rigid motions between the spaces of two series, the files that ITK reads them from, and images carried along them.

All matrices are 4×4 float64 and map RAS millimetres to RAS millimetres. ITK's world is LPS; only the two functions that
read and write its files know that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.core.paths import atomic

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_FWHM = 2.355


@dataclass(frozen=True, eq=False)
class Rigid:
    """Where a point of the reference series lies in another series: ``matrix`` maps RAS mm of the first to the second."""

    matrix: Affine

    @classmethod
    def identity(cls) -> Rigid:
        """No motion: the positions in the headers hold."""
        return cls(np.eye(4))

    @property
    def inverse(self) -> Rigid:
        """From the other series to the reference."""
        return Rigid(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

    @property
    def angle_deg(self) -> float:
        """How far it turns, in degrees."""
        cosine = (float(np.trace(self.matrix[:3, :3])) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))

    def shift_mm(self, at: ArrayLike) -> float:
        """How far it moves the point ``at`` (RAS mm)."""
        point = np.asarray(at, dtype=np.float64)
        return float(np.linalg.norm(self.apply(point) - point))

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """RAS mm (..., 3) of the reference → RAS mm (..., 3) of the other series."""
        p = np.asarray(points, dtype=np.float64)
        return p @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def carry(self, grid: Grid) -> Grid:
        """A grid of the other series, its affine in the reference's world (RAS mm)."""
        return Grid(grid.shape, self.inverse.matrix @ grid.affine, grid.calibrated)


def write_transform(rigid: Rigid, path: Path, centre: ArrayLike = (0.0, 0.0, 0.0)) -> None:
    """Write it as a ``.tfm`` that ITK, Slicer and ANTs read: it resamples the other series onto the reference.

    ``centre`` (RAS mm, of the reference) is the centre of rotation in the file. Raises OutputError.
    """
    import SimpleITK as sitk

    lps = _LPS @ rigid.matrix @ _LPS
    at = _LPS[:3, :3] @ np.asarray(centre, dtype=np.float64)
    transform = sitk.Euler3DTransform()
    transform.SetCenter(at.tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist(), 1e-4)
    transform.SetTranslation((lps[:3, 3] + lps[:3, :3] @ at - at).tolist())
    with atomic(path) as part:
        try:
            sitk.WriteTransform(transform, str(part))
        except RuntimeError as e:
            raise OutputError(f"Cannot write {path}. Choose another place.") from e


def read_transform(path: Path) -> Rigid:
    """A rigid transform in a file of ITK's (``.tfm``, ``.txt``, ``.h5``, ``.mat``). Raises InputError."""
    import SimpleITK as sitk

    if not path.is_file():
        raise InputError(f"There is no transform {path}. Check the path.")
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as e:
        raise InputError(f"{path} is no transform that ITK reads. Give a rigid one as .tfm.") from e
    if not transform.IsLinear() or transform.GetDimension() != 3:
        raise InputError(f"{path} bends space or is not 3D, and a rigid transform is expected. Give a rigid one.")
    corners = np.vstack([np.zeros(3), 100 * np.eye(3)])
    moved = np.array([transform.TransformPoint(c.tolist()) for c in corners])
    lps = np.eye(4)
    lps[:3, :3] = (moved[1:] - moved[0]).T / 100
    lps[:3, 3] = moved[0]
    if not np.allclose(lps[:3, :3] @ lps[:3, :3].T, np.eye(3), atol=1e-3) or np.linalg.det(lps[:3, :3]) < 0:
        raise InputError(f"{path} scales, shears or mirrors, and a rigid transform is expected. Give a rigid one.")
    return Rigid(_LPS @ lps @ _LPS)


def carried(
    data: NDArray[Any], source: Grid, target: Grid, rigid: Rigid | None = None, *, smooth: bool = True
) -> NDArray[np.float32]:
    """``data`` (X, Y, Z) on ``source`` → float32 on ``target``, linear; 0 beyond the source's outermost voxels.

    ``rigid`` maps the target's world to the source's. With ``smooth``, axes that are sampled more finely than the target
    are averaged to its spacing first, so that no noise is picked out of them.
    """
    from scipy.ndimage import affine_transform, gaussian_filter1d

    values = np.asarray(data, dtype=np.float32)
    if smooth:
        for axis, ratio in enumerate(min(target.spacing) / np.array(source.spacing)):
            if ratio > 1.2:
                values = gaussian_filter1d(values, np.sqrt(ratio**2 - 1) / _FWHM, axis=axis, mode="nearest")
    index = between(source, target, rigid)
    out = np.empty(target.shape, dtype=np.float32)
    affine_transform(
        values, index[:3, :3], index[:3, 3], output=out, output_shape=target.shape, order=1, mode="nearest"
    )
    out[~covered(source, target, rigid)] = 0
    return out


def covered(source: Grid, target: Grid, rigid: Rigid | None = None) -> NDArray[np.bool_]:
    """Which voxel centres of ``target`` lie within the voxels of ``source``: its field of view."""
    index = between(source, target, rigid)
    i, j, k = np.ogrid[tuple(slice(n) for n in target.shape)]
    inside = np.ones(target.shape, dtype=np.bool_)
    for row, n in zip(index, source.shape, strict=False):
        at = row[0] * i + row[1] * j + (row[2] * k + row[3])
        inside &= (at >= -0.5) & (at <= n - 0.5)
    return inside


def between(source: Grid, target: Grid, rigid: Rigid | None = None) -> Affine:
    """4×4: voxel indices of ``target`` → voxel indices of ``source``; ``rigid`` maps target's world to source's."""
    motion = np.eye(4) if rigid is None else rigid.matrix
    return np.linalg.inv(source.affine) @ motion @ target.affine
