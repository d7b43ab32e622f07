"""Studies spoilt on disk, one way each, with the words their message must hold: the file, and what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np


def _find(folder: Path, ending: str) -> Path:
    return next(p for p in folder.iterdir() if p.name.endswith(f"-{ending}.nii.gz"))


def _change(path: Path, data=None, affine=None) -> None:
    image = nib.load(path)
    values = np.asanyarray(image.dataobj) if data is None else data(np.array(image.dataobj))
    nib.save(nib.Nifti1Image(values, image.affine if affine is None else affine(image.affine.copy())), path)


def missing_modality(folder: Path) -> None:
    _find(folder, "t2f").unlink()


def same_content_twice(folder: Path) -> None:
    _find(folder, "t2w").write_bytes(_find(folder, "t2f").read_bytes())


def other_shape(folder: Path) -> None:
    _change(_find(folder, "t2w"), data=lambda d: d[:-1])


def other_affine(folder: Path) -> None:
    def shift(affine):
        affine[0, 3] += 7
        return affine

    _change(_find(folder, "t2f"), affine=shift)


def four_dimensions(folder: Path) -> None:
    _change(_find(folder, "t1c"), data=lambda d: np.stack([d, d], axis=-1))


def truncated(folder: Path) -> None:
    path = _find(folder, "t1n")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def not_gzip(folder: Path) -> None:
    _find(folder, "t1n").write_bytes(b"this is a letter, not an image\n" * 50)


def _one_voxel(path: Path, value: float) -> None:
    def spoil(data):
        data = data.astype(np.float32)
        data[5, 5, 5] = value
        return data

    _change(path, data=spoil)


def nan_voxels(folder: Path) -> None:
    _one_voxel(_find(folder, "t2w"), np.nan)


def infinite_voxels(folder: Path) -> None:
    _one_voxel(_find(folder, "t2w"), np.inf)


def all_zero(folder: Path) -> None:
    _change(_find(folder, "t2f"), data=np.zeros_like)


def two_candidates(folder: Path) -> None:
    path = _find(folder, "t1c")
    path.with_name(path.name.replace("t1c", "t1ce")).write_bytes(path.read_bytes())


def no_images(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def unknown_mask_values(folder: Path) -> None:
    _change(_find(folder, "seg"), data=lambda d: np.where(d > 0, 7, 0).astype(np.uint8))


IMAGES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "missing_modality": (missing_modality, ("FLAIR",)),
    "other_shape": (other_shape, ("less than a brain",)),  # aligned by predict, were it a head
    "other_affine": (other_affine, ("less than a brain",)),
    "four_dimensions": (four_dimensions, ("t1c", "3D")),
    "truncated": (truncated, ("t1n",)),
    "not_gzip": (not_gzip, ("t1n", "gzip")),
    "nan_voxels": (nan_voxels, ("t2w", "NaN")),
    "infinite_voxels": (infinite_voxels, ("t2w", "infinite")),
    "all_zero": (all_zero, ("t2f", "zero")),
    "two_candidates": (two_candidates, ("t1c.", "t1ce.")),
    "no_images": (no_images, ()),
}
"""Kind → (how to spoil a study folder, words of the message): no inference is possible."""

DOUBTS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "same_content_twice": (same_content_twice, ("T2", "FLAIR")),
}
"""Kinds that a person may override."""

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
"""Root reads everything: permissions cannot be tested."""
