"""A study on disk whose names and headers tell the patient, and corrections of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from brainseg_engine.core.study import Segmentation, Study
from brainseg_engine.io import load_study, save_segmentation, save_volume
from helpers.small_study import make_study

SECRET = "Mueller_Anna_19540302"


def on_disk(folder: Path, id: str = SECRET, seed: int = 0) -> Study:
    """A study read from files in a folder with the patient's name, whose headers tell it too."""
    study = make_study(seed, shape=(12, 14, 10), id=id)
    place = folder / id
    place.mkdir(parents=True)
    for m, v in study.volumes.items():
        import nibabel

        header = nibabel.Nifti1Header()
        header.set_data_shape(v.grid.shape)
        header.set_sform(v.grid.affine, code=1)
        header["descrip"], header["db_name"], header["aux_file"] = SECRET.encode(), b"Mueller_Anna", b"Mueller.dcm"
        save_volume(v.data, v.grid, place / f"{id}_{m}.nii.gz", header=header)
    save_segmentation(study.segmentation, place / f"{id}_seg.nii.gz", coding="brats2021")
    return load_study(place)


def changed(study: Study, seed: int = 1, by: int = 40) -> Segmentation:
    """The study's mask with a few voxels painted."""
    rng = np.random.default_rng(seed)
    labels = study.segmentation.labels.copy()
    labels.ravel()[rng.choice(labels.size, by, replace=False)] = rng.integers(0, 4, by)
    return replace(study.segmentation, labels=labels)


def spoil_mask(made, study):
    made.mask.chmod(0o644)
    raw = bytearray(made.mask.read_bytes())
    raw[-20] ^= 1
    made.mask.write_bytes(raw)
