"""A phantom as a hospital has it: skull and scalp on, each series on a grid of its own, the head moved between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from brainseg_engine.phantom import phantom_study
from brainseg_engine.prepare.rigid import Rigid, carried

SHAPE = (96, 112, 88)
SCALP = {Modality.T1: 700.0, Modality.T1CE: 700.0, Modality.T2: 300.0, Modality.FLAIR: 250.0}


@dataclass(frozen=True)
class RawStudy:
    """``study`` as acquired; ``rigids``: modality → where a point of T1ce's world lies in that series' world; ``brain`` and
    ``truth`` are on ``still``, the 1 mm grid of the head in T1ce's world."""

    study: Study
    rigids: Mapping[Modality, Rigid]
    brain: Mask
    truth: Segmentation
    still: Grid


def rigid_motion(angles_deg, shift_mm, centre) -> Rigid:
    """Turned about ``centre`` (RAS mm) by Euler angles, then shifted."""
    x, y, z = np.radians(angles_deg)
    about = [
        np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]),
        np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]),
        np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]),
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = about[2] @ about[1] @ about[0]
    matrix[:3, 3] = np.asarray(centre) + shift_mm - matrix[:3, :3] @ centre
    return Rigid(matrix)


def raw_study(seed: int = 0, *, spacing=(1.0, 1.0, 4.0), move: bool = True, id: str = "Raw_1") -> RawStudy:
    """See the module. The other series are moved by up to 6° and 5 mm."""
    phantom = phantom_study(seed, SHAPE)
    grid = phantom.reference.grid.crop((-10, -10, -10), tuple(n + 20 for n in SHAPE))
    rng = np.random.default_rng(seed)
    brain = np.pad(np.any([v.data != 0 for v in phantom.volumes.values()], axis=0), 10)
    brain = ndimage.binary_fill_holes(brain)
    away = ndimage.distance_transform_edt(~brain)
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    volumes, rigids = {}, {}
    for modality, volume in phantom.volumes.items():
        whole = np.pad(volume.data, 10).astype(np.float32)
        whole[(away > 2) & (away <= 7)] = SCALP[modality]  # 2 mm of dark skull, 5 mm of bright scalp
        whole += np.abs(rng.normal(0, 4, whole.shape)).astype(np.float32)
        still = modality is Modality.T1CE or not move
        rigid = Rigid.identity() if still else rigid_motion(rng.uniform(-6, 6, 3), rng.uniform(-5, 5, 3), centre)
        own = thick_grid(grid, spacing)
        data = carried(whole, grid, own, rigid.inverse, smooth=False)
        volumes[modality] = Volume(data, own, modality, sha256=f"{modality}-{seed}")
        rigids[modality] = rigid
    truth = Segmentation(np.pad(phantom.segmentation.labels, 10), grid)
    return RawStudy(Study(id, volumes), rigids, brain, truth, grid)


def thick_grid(grid: Grid, spacing) -> Grid:
    """The same box in voxels of another size."""
    shape = np.floor(np.array(grid.shape) * grid.spacing / spacing).astype(int)
    affine = grid.affine.copy()
    affine[:3, :3] *= np.array(spacing) / grid.spacing
    affine[:3, 3] = grid.to_world((np.array(spacing) / grid.spacing - 1) / 2)
    return Grid(tuple(shape), affine)
