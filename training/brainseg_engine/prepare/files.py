"""A prepared study on the disk: its images, its brain mask, its transforms, and ``prepare.json`` with every choice.

::

    <id>/<id>_t1.nii.gz …        aligned, brain only, 1 mm: what predict, train and other tools read
    <id>/<id>_brainmask.nii.gz
    <id>/<id>_t2_from_t1ce.tfm   what ITK, Slicer or ANTs resample the T2 series onto the T1ce with
    <id>/prepare.json            choices, versions, quality, each series' own grid

Nothing in it names a source file, a person or a date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.names import inside
from brainseg_engine.core.paths import check_writable, part_folder
from brainseg_engine.core.records import read_json
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.io import load_study, read_image, save_volume
from brainseg_engine.io.image import in_words
from brainseg_engine.prepare.prepared import Prepared
from brainseg_engine.prepare.quality import Quality
from brainseg_engine.prepare.rigid import Rigid, read_transform, write_transform

RECORD = "prepare.json"
FORMAT = 1
NEED_BYTES = 200 * 2**20


def save(prepared: Prepared, out: Path, identity: Mapping[str, Any] | None = None) -> Path:
    """Write it into the folder ``out/<id>``, all or nothing, in place of an older one; returns the folder.

    ``identity`` is kept in the record: what it was made from and how (see :mod:`brainseg_engine.prepare.many`). Raises
    OutputError.
    """
    check_writable(out, NEED_BYTES)
    try:
        target = inside(out, prepared.study.id)
    except ValueError as e:
        raise OutputError(f"The study's id cannot name a folder in {out}: {e}. Rename the study.") from e
    if target.exists() and not (target / RECORD).is_file():
        raise OutputError(f"{target} exists and is no prepared study. Move it away, or choose another --out folder.")
    try:
        with part_folder(out) as part:  # for its owner alone until all is there
            new = part / "new"
            new.mkdir()
            _write(prepared, new, identity or {})
            _swap(new, target, part / "old")
    except OSError as e:
        raise OutputError(f"Cannot write {target}: {e.strerror or e}. Free some space or choose another place.") from e
    return target


@in_words
def load(folder: Path, study: Study | None = None) -> Prepared:
    """A prepared study as :func:`save` wrote it; ``study``: its images, where they are read already. Raises InputError."""
    record = read_record(folder)
    try:
        study = study or load_study(folder, id=str(record["id"]), segmentation=False)
        reference = Modality(record["reference"])
        series = {Modality(name): entry for name, entry in record["series"].items()}
        rigids = {
            m: read_transform(inside(folder, entry["transform"])) if entry["transform"] else Rigid.identity()
            for m, entry in series.items()
        }
        grids = {m: Grid(tuple(entry["shape"]), np.array(entry["affine"])) for m, entry in series.items()}
        quality = {m: Quality(**entry["quality"]) for m, entry in series.items() if entry["quality"]}
        brain = read_image(inside(folder, f"{record['id']}_brainmask.nii.gz")).data > 0
        return Prepared(
            study, brain, reference, rigids, grids, quality, tuple(record["warnings"]), record["choices"],
            record["seconds"], bool(record["untouched"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
        raise InputError(f"{folder / RECORD} is damaged or of another version. Prepare the study again.") from e


def read_record(folder: Path) -> Mapping[str, Any]:
    """The record of a prepared study. Raises InputError where there is none."""
    path = folder / RECORD
    try:
        record = read_json(path)
    except FileNotFoundError as e:
        raise InputError(f"{folder} holds no prepared study: it has no {RECORD}. Prepare the study first.") from e
    except (OSError, ValueError) as e:
        raise InputError(f"{path} cannot be read. Prepare the study again.") from e
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path} is of another version of this program. Prepare the study again.")
    return record


def record_of(prepared: Prepared, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What ``prepare.json`` holds."""
    series = {}
    for modality, grid in prepared.grids.items():
        quality = prepared.quality.get(modality)
        series[modality.value] = {
            "shape": list(grid.shape),
            "spacing_mm": [round(s, 4) for s in grid.spacing],
            "affine": np.asarray(grid.affine).tolist(),
            "transform": _transform_name(prepared, modality),
            "quality": None if quality is None else {k: v for k, v in quality.to_dict().items() if k != "good"},
            "good": None if quality is None else quality.good,
        }
    return {
        "format": FORMAT,
        "id": prepared.study.id,
        "reference": prepared.reference.value,
        "untouched": prepared.untouched,
        "series": series,
        "brain_ml": round(float(np.count_nonzero(prepared.brain)) * (prepared.grid.voxel_ml or 0), 1),
        "choices": dict(prepared.choices),
        "warnings": list(prepared.warnings),
        "seconds": dict(prepared.seconds),
        "made_from": dict(identity),
        "note": "for research use only",
    }


def _write(prepared: Prepared, folder: Path, identity: Mapping[str, Any]) -> None:
    study: Study = prepared.study
    for modality, volume in study.volumes.items():
        save_volume(volume.data, volume.grid, folder / f"{study.id}_{modality.value}.nii.gz")
    save_volume(prepared.brain, prepared.grid, folder / f"{study.id}_brainmask.nii.gz")
    grid = prepared.grids[prepared.reference]
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    for modality, rigid in prepared.rigids.items():
        if name := _transform_name(prepared, modality):
            write_transform(rigid, folder / name, centre)
    text = json.dumps(record_of(prepared, identity), indent=1, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def _transform_name(prepared: Prepared, modality: Modality) -> str:
    if modality is prepared.reference:
        return ""
    return f"{prepared.study.id}_{modality.value}_from_{prepared.reference.value}.tfm"


def _swap(new: Path, target: Path, old: Path) -> None:
    """Put ``new`` where ``target`` is, and that, where it is there, to ``old``."""
    replaces = target.exists()
    if replaces:
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if replaces:
            old.rename(target)
        raise
