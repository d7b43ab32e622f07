"""A correction from files: a mask that was edited in another program."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from brainseg_engine.core.errors import BrainsegError, CodingError, GeometryError, InputError
from brainseg_engine.core.study import Segmentation, Study
from brainseg_engine.corrections.record import BaseModel
from brainseg_engine.io import load_segmentation, load_study
from brainseg_engine.io.sidecars import read_sidecar
from brainseg_engine.studies.incoming import find_study


@dataclass(frozen=True)
class ForeignCorrection:
    """A correction made in another program, in the form that :meth:`brainseg_engine.corrections.Store.add` takes."""

    study: Study
    mask: Segmentation
    base: Segmentation | None
    model: BaseModel | None


def from_files(
    study: Path, mask: Path, base: Path | None = None, coding: str | None = None, *, empty: bool = False
) -> ForeignCorrection:
    """Read them. The mask's coding is ``coding``, else what tells it, else that of ``base``, the model's answer it began as.

    Raises InputError (an empty mask that is not meant to be, a study that cannot be read), GeometryError for a mask on another
    grid, CodingError.
    """
    read = load_study(find_study(study), segmentation=False)
    grid = read.reference.grid
    answer = None if base is None else load_segmentation(base, grid=grid, implied=read.coding or None)
    implied = (answer.coding if answer is not None else read.coding) or None
    try:
        corrected = load_segmentation(mask, coding=coding, grid=grid, implied=implied)
    except GeometryError as e:
        raise GeometryError(
            f"{mask} does not lie on the grid of {read.reference.modality.title} of '{read.id}'. Save it on that grid (in 3D "
            "Slicer: the T1ce as reference volume when exporting), or resample it."
        ) from e
    except CodingError as e:
        raise CodingError(f"{e} Name it with --coding.") from e
    if not corrected.labels.any() and not empty:
        raise InputError(f"{mask} is empty: no voxel is labelled. Say --empty if that patient has no tumour.")
    if answer is not None and bool((answer.labels == corrected.labels).all()):
        raise InputError(f"{mask} is the same as {base}, so nothing was corrected. Name the edited mask.")
    own = read.coding or (answer.coding if answer is not None else "") or corrected.coding
    return ForeignCorrection(read, replace(corrected, coding=own), answer, None if base is None else _model(base))


def _model(base: Path) -> BaseModel | None:
    """Whose answer it was, as its sidecar tells."""
    try:
        sidecar = read_sidecar(base)
    except BrainsegError:
        return None
    name, version, digest = (str(sidecar.get(k, "")) for k in ("model", "model_version", "model_sha256"))
    return BaseModel(name, version, digest) if name else None
