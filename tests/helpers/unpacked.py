"""Phantoms in the layouts whose series lie in folders of their own: Kaggle's unpacked archives, the Erasmus Glioma Database."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainseg_engine.core.study import Modality
from brainseg_engine.io import save_segmentation, save_volume
from helpers.small_study import make_study

KAGGLE = {
    Modality.T1: "{id}_t1.nii/{inner}_brain_t1.nii",
    Modality.T1CE: "{id}_t1ce.nii/{inner}_brain_t1ce.nii",
    Modality.T2: "{id}_t2.nii/{inner}_brain_t2.nii",
    Modality.FLAIR: "{id}_flair.nii/{inner}_brain_flair.nii",
    "mask": "{id}_seg.nii/{inner}_final_seg.nii",
}
EGD = {
    Modality.T1: "1_T1/NIFTI/T1.nii.gz",
    Modality.T1CE: "2_T1GD/NIFTI/T1GD.nii.gz",
    Modality.T2: "3_T2/NIFTI/T2.nii.gz",
    Modality.FLAIR: "4_FLAIR/NIFTI/FLAIR.nii.gz",
    "mask": "5_MASK/NIFTI/MASK.nii.gz",
}


def write_case(root: Path, id_: str, layout, coding: str, seed: int = 0, inner: str = "00000057") -> Path:
    study = make_study(seed, id=id_)
    folder = root / id_
    for kind, form in layout.items():
        path = folder / form.format(id=id_, inner=inner)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind != "mask":
            save_volume(study.volumes[kind].data, study.volumes[kind].grid, path)
        elif coding == "1=TUMOUR":
            save_volume((study.segmentation.labels > 0).astype(np.uint8), study.segmentation.grid, path)
        else:
            save_segmentation(study.segmentation, path, coding=coding)
    return folder
