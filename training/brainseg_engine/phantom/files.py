"""Phantoms as files: a study folder named and coded as in BraTS 2023, whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from brainseg_engine import __version__
from brainseg_engine.core import paths
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.io import save_segmentation
from brainseg_engine.io.nifti import encode

ENDINGS: Mapping[Modality, str] = {
    Modality.T1: "t1n",
    Modality.T1CE: "t1c",
    Modality.T2: "t2w",
    Modality.FLAIR: "t2f",
}
MIB = 2**20
STUDY_BYTES = 12 * MIB
"""Room that a full-size phantom needs on disk, and some more."""


def write_study(study: Study, folder: Path, *, overwrite: bool = False) -> Path:
    """Write ``<folder>/<id>/<id>-t1n.nii.gz`` … ``-seg.nii.gz`` (int16 images; seg 1/2/3); returns ``<folder>/<id>``.

    That folder appears as a whole: it is made under another name and renamed. Raises OutputError when it is there
    already and ``overwrite`` is not set, or when nothing can be written.
    """
    target = folder / study.id
    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there already. Choose another folder, or add --overwrite to replace it.")
    if _is_foreign(target):
        raise OutputError(f"{target} is no phantom, and would be lost. Choose another folder.")
    paths.check_writable(folder)
    paths.sweep(folder)
    with paths.part_folder(folder) as part:
        part.chmod(0o755)
        for modality, volume in study.volumes.items():
            whole = np.asarray(volume.data, dtype=np.int16)
            with paths.atomic(part / f"{study.id}-{ENDINGS[modality]}.nii.gz") as file:
                file.write_bytes(encode(whole, volume.grid, volume.header, compress=True))
        if study.segmentation is not None:
            save_segmentation(study.segmentation, part / f"{study.id}-seg.nii.gz", coding="brats2023")
        _replace(part, target)
    return target


def image_files(folder: Path) -> dict[Modality, Path]:
    """Modality → file of the phantom in that folder, there or not."""
    return {m: folder / f"{folder.name}-{ending}.nii.gz" for m, ending in ENDINGS.items()}


def mask_file(folder: Path) -> Path:
    """The file of the truth of the phantom in that folder."""
    return folder / f"{folder.name}-seg.nii.gz"


def cached(name: str, make: Callable[[], Study]) -> Path:
    """The folder of a study in the user's folder, made when it is not there. Another version makes its own."""
    samples: Path = paths.home() / "samples" / __version__
    if not complete(samples / name):
        study = make()
        if not complete(samples / name):  # another process may have been faster
            write_study(study, samples, overwrite=True)
    return samples / name


def complete(folder: Path) -> bool:
    """True when the folder holds the phantom's images and its truth."""
    return all(f.is_file() for f in (*image_files(folder).values(), mask_file(folder)))


def _is_foreign(target: Path) -> bool:
    """Whether something lies there that is no phantom: what was asked to be replaced is one."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        return True
    return target.is_dir() and any(target.iterdir()) and not any(f.is_file() for f in image_files(target).values())


def _replace(part: Path, target: Path) -> None:
    """Put the folder ``part`` in the place of ``target``; what lay there is removed when the new one is in place."""
    try:
        if target.exists():
            with paths.part_folder(target.parent) as old:
                target.replace(old / target.name)
                try:
                    part.replace(target)
                except OSError:
                    (old / target.name).replace(target)
                    raise
        else:
            part.replace(target)
    except OSError as e:
        raise OutputError(f"Cannot write {target}: {e.strerror or e}. Choose another folder.") from e
