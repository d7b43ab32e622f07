"""Results to report on or to export: which mask, with what was recorded beside it, over which images."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.study import Segmentation, Study
from brainseg_engine.io import find_series, find_studies, load_segmentation, load_study, require_on_grid
from brainseg_engine.io.derived.reading import is_derived, read_derived
from brainseg_engine.io.naming import is_image, stem
from brainseg_engine.io.sidecars import read_sidecar
from brainseg_engine.studies.incoming import find_study, is_export


@dataclass(frozen=True)
class ReportSource:
    """One result yet to be read: its mask (None: the one found in the study), and its images (None: not given)."""

    id: str
    mask: Path | None
    study: Path | None


@dataclass(frozen=True)
class Result:
    """A segmentation, its images (None where they were not given) and what was written beside its mask."""

    id: str
    segmentation: Segmentation
    study: Study | None
    sidecar: Mapping[str, Any]


def find_results(paths: Sequence[Path], images: Path | None = None) -> list[ReportSource]:
    """What the paths stand for: masks, folders of masks ``<id>_seg``, studies with a mask in them, or folders of such.

    ``images`` is a study, or a folder of studies with the masks' ids. Raises InputError for what is not there or holds
    no result, and for two results of one id.
    """
    studies = _by_id(images) if images is not None else {}
    sources: list[ReportSource] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {path}. Check the path.")
        sources += _in_folder(path, studies) if path.is_dir() else [_mask(path, studies)]
    seen: dict[str, ReportSource] = {}
    for source in sources:
        other = seen.setdefault(source.id, source)
        if other is not source:
            raise InputError(f"Two results have the id '{source.id}'. Write their reports into two folders.")
    return sources


def load_result(source: ReportSource, coding: str | None = None) -> Result:
    """Read a mask and its images. Raises InputError, GeometryError or CodingError, naming the file."""
    if source.mask is None:
        assert source.study is not None
        study = load_study(find_study(source.study), coding=coding)
        if study.segmentation is None:
            raise InputError(
                f"{source.study} holds no mask. Segment the study first (napari-brainseg predict), and name the mask."
            )
        sidecar = read_sidecar(study.segmentation.path) if study.segmentation.path else {}
        return Result(study.id, study.segmentation, study, sidecar)
    study_of = load_study(find_study(source.study), segmentation=False) if source.study is not None else None
    implied = study_of.coding if study_of is not None and study_of.coding else None
    if source.study is not None and is_export(source.study) and is_derived(source.mask):
        mask = read_derived(source.mask, images=source.study)
    else:
        mask = load_segmentation(source.mask, coding=coding, implied=implied)
    if study_of is not None:
        require_on_grid(mask, study_of.volumes.values())
        if not mask.grid.same_as(study_of.reference.grid):
            study_of = None  # made on another series: its numbers hold, pictures over the reference would not
    return Result(source.id, mask, study_of, read_sidecar(source.mask))


def study_with_mask(place: Path) -> Study:
    """The study at that place with its mask: of DICOM the newest SEG or RTSTRUCT in the folder that is drawn on one of its
    series, best on its reference series. Raises InputError where there is no study."""
    study = load_study(find_study(place))
    if study.segmentation is not None or not place.is_dir() or not is_export(place):
        return study
    found: list[Segmentation] = []
    files = [p for p in place.rglob("*") if p.is_file() and is_derived(p)]
    for path in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True):
        with contextlib.suppress(BrainsegError):  # of something else, or on images that are not here
            found.append(read_derived(path, images=place))
    fitting = [m for m in found if m.grid.same_as(study.reference.grid)] or found
    return replace(study, segmentation=fitting[0]) if fitting else study


def _by_id(images: Path) -> dict[str, Path]:
    """Study id → its folder; "" → the study, where there is but one."""
    if is_export(images):  # DICOM, a CD, an archive: one study
        return {"": images}
    if not images.is_dir():
        raise InputError(f"There is no folder {images}. Name the folder that holds the images.")
    studies = find_studies(images)
    if not studies:
        raise InputError(f"{images} holds no study. Name the folder that holds the images.")
    named = {_study_id(s): s for s in studies}
    return named | ({"": studies[0]} if len(studies) == 1 else {})


def _study_id(study: Path) -> str:
    return find_series(study).id if study.is_dir() else stem(study.name)


def _in_folder(folder: Path, studies: Mapping[str, Path]) -> list[ReportSource]:
    masks = [p for p in sorted(folder.iterdir()) if is_image(p) and _is_result(p)]
    within = find_studies(folder)
    if within and within != [folder]:
        return [ReportSource(_study_id(s), None, s) for s in within] + [_mask(p, studies) for p in masks]
    if within and (find_series(folder).segmentation is not None or not masks):
        return [ReportSource(_study_id(folder), None, folder)]
    if not masks:
        raise InputError(f"{folder} holds no study and no mask <id>_seg.nii.gz. Name the masks that 'predict' wrote.")
    return [_mask(p, studies) for p in masks]


def _mask(path: Path, studies: Mapping[str, Path]) -> ReportSource:
    if not is_image(path) and not is_derived(path):
        raise InputError(f"{path} is no mask: give a NIfTI or MetaImage file, a DICOM SEG or an RTSTRUCT.")
    id_ = stem(path.name).removesuffix(".dcm").removesuffix("_seg").removesuffix("-seg")
    study = studies.get(id_) or studies.get("")
    if study is None and find_studies(path.parent) == [path.parent] and find_series(path.parent).files:
        study = path.parent
    return ReportSource(id_, path, study)


def _is_result(path: Path) -> bool:
    return stem(path.name).endswith(("_seg", "-seg"))
