"""Small images and studies as files, whole or broken on purpose."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from brainseg_engine.core.study import Modality

SHAPE = (7, 6, 5)
BRATS2021 = {Modality.T1: "_t1", Modality.T1CE: "_t1ce", Modality.T2: "_t2", Modality.FLAIR: "_flair"}
BRATS2023 = {Modality.T1: "-t1n", Modality.T1CE: "-t1c", Modality.T2: "-t2w", Modality.FLAIR: "-t2f"}
VSD = {
    Modality.T1: "VSD.Brain.XX.O.MR_T1.54513.mha",
    Modality.T1CE: "VSD.Brain.XX.O.MR_T1c.54514.mha",
    Modality.T2: "VSD.Brain.XX.O.MR_T2.54515.mha",
    Modality.FLAIR: "VSD.Brain.XX.O.MR_Flair.54512.mha",
}


def affine_of(codes: str, shape=SHAPE, spacing=(1.0, 1.0, 1.0), origin=(3.0, -20.0, 7.5), angle: float = 0.0):
    """Voxel → RAS mm of an array whose axes run along ``codes``, turned by ``angle`` degrees about an odd axis."""
    to_codes = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    affine = np.diag([1.0, 1.0, 1.0, 1.0]) @ inv_ornt_aff(to_codes, shape)
    affine[:3, :3] = affine[:3, :3] * np.array(spacing)
    turn = np.eye(4)
    if angle:
        axis = np.array([1.0, 2.0, -1.5]) / np.linalg.norm([1.0, 2.0, -1.5])
        cross = np.cross(np.eye(3), axis)
        a = np.radians(angle)
        turn[:3, :3] = np.eye(3) * np.cos(a) - np.sin(a) * cross + (1 - np.cos(a)) * np.outer(axis, axis)
    affine = turn @ affine
    affine[:3, 3] = origin
    return affine


def image(seed: int = 0, shape=SHAPE, dtype=np.int16):
    """Positive noise, different for every seed."""
    return np.random.default_rng(seed).integers(1, 100, size=shape).astype(dtype)


def write(path: Path, data, affine=None) -> Path:
    """Write NIfTI by nibabel, which is not what the engine writes with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine_of("LPS") if affine is None else affine), path)
    return path


def write_mha(path: Path, data, affine=None) -> Path:
    import SimpleITK as sitk

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ (affine_of("LPS") if affine is None else affine)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    out = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    out.SetSpacing(spacing.tolist())
    out.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    out.SetOrigin(affine[:3, 3].tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(out, str(path), useCompression=True)
    return path


def write_series(
    folder: Path, names: Mapping[Modality, str] = BRATS2021, id: str = "Case_7", ending: str = ".nii.gz", affine=None
) -> dict[Modality, Path]:
    """Four different images; endings that already are whole file names are taken as they are."""
    out = {}
    for seed, (m, name) in enumerate(names.items()):
        if name.endswith(".mha"):
            out[m] = write_mha(folder / name, image(seed), affine)
        else:
            out[m] = write(folder / f"{id}{name}{ending}", image(seed), affine)
    return out


def write_mask(path: Path, values=(1, 2, 4), affine=None, shape=SHAPE, dtype=np.uint8) -> Path:
    """A mask that holds 0 and the values."""
    data = np.zeros(shape, dtype=dtype)
    for value, index in zip(values, itertools.product(range(2), range(shape[1] - 1), range(1, 4)), strict=False):
        data[index] = value
    return write_mha(path, data, affine) if path.suffix == ".mha" else write(path, data, affine)
