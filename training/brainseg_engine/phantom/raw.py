"""The phantom as a scanner sees it: skull and scalp on, each series in thick slices, the head moved between them.

Skull and scalp are shells round the stripped brain: nothing of a face, no neck.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from brainseg_engine.phantom.clinical import thick_grid

SLICE_MM = 5.0
MOST_DEG, MOST_MM = 6.0, 5.0
_PAD = 14
_SUB = 4
_SCALP = {Modality.T1: 1.7, Modality.T1CE: 1.7, Modality.T2: 0.8, Modality.FLAIR: 0.8}
"""How bright the scalp is, in units of the brain's median."""


def raw_head(study: Study, seed: int = 0) -> tuple[Study, Segmentation]:
    """The four series of a stripped, aligned phantom as acquired (without their mask), and the truth in T1ce's world.

    T1ce lies still; each other series is turned by up to MOST_DEG about each axis and shifted by up to MOST_MM.
    """
    from scipy import ndimage

    truth = study.segmentation
    assert truth is not None
    rng = np.random.default_rng(seed)
    grid = study.reference.grid.crop((-_PAD,) * 3, tuple(n + 2 * _PAD for n in study.reference.grid.shape))  # type: ignore[arg-type]
    brain = ndimage.binary_fill_holes(np.pad(np.any([v.data != 0 for v in study.volumes.values()], axis=0), _PAD))
    away = ndimage.distance_transform_edt(~brain)
    scalp = (away > 3) & (away <= 9)
    volumes = {}
    for modality, volume in study.volumes.items():
        data = np.pad(np.asarray(volume.data, np.float32), _PAD)
        level = float(np.median(data[brain]))
        data[scalp] = _SCALP[modality] * level
        data += np.abs(rng.normal(0, 0.02 * level, data.shape)).astype(np.float32)
        still = modality is Modality.T1CE
        turned = np.zeros(3) if still else rng.uniform(-MOST_DEG, MOST_DEG, 3)
        shift = np.zeros(3) if still else rng.uniform(-MOST_MM, MOST_MM, 3)
        own = thick_grid(grid, SLICE_MM, float(rng.uniform(0, 8)))
        volumes[modality] = Volume(_sliced(data, grid, own, turned, shift), own, modality)
    return Study(study.id, volumes), Segmentation(np.pad(truth.labels, _PAD), grid, made_by=truth.made_by)


def _sliced(
    data: NDArray[np.float32], grid: Grid, own: Grid, turned: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float32]:
    """``data`` of a head that moved, in slices that are means over their thickness."""
    from scipy.ndimage import affine_transform
    from scipy.spatial.transform import Rotation

    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_euler("xyz", turned, degrees=True).as_matrix()
    moved[:3, 3] = centre + shift - moved[:3, :3] @ centre
    total = np.zeros(own.shape, np.float32)
    for n in range(_SUB):
        part = own.affine.copy()
        part[:3, 3] += own.affine[:3, 2] * ((n + 0.5) / _SUB - 0.5)
        both = np.linalg.inv(grid.affine) @ np.linalg.inv(moved) @ part
        total += affine_transform(data, both[:3, :3], both[:3, 3], own.shape, order=1)
    return total / np.float32(_SUB)
