"""Results in other programs' formats: DICOM objects, meshes, BIDS derivatives."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import region_mask
from brainseg_engine.core.paths import atomic, check_writable
from brainseg_engine.report import bids, dicom_seg, documents, meshes, rtstruct, sr
from brainseg_engine.report import record as records
from brainseg_engine.report.sources import Result
from brainseg_engine.report.writing import file_stem, pictures_of

DICOM = {
    "seg": "DICOM SEG, one segment a class and region",
    "labelmap": "DICOM label map SEG, small, for viewers that know it",
    "rtstruct": "DICOM RT Structure Set, contours of the regions",
    "sr": "DICOM structured report (TID 1500) with the numbers; with its SEG",
    "pdf": "DICOM encapsulated PDF of the report",
    "sc": "DICOM secondary captures of the key images",
}
FORMATS = DICOM | {
    "stl": "a mesh a region", "ply": "a mesh a region", "obj": "a mesh a region", "bids": "BIDS derivative",
}  # fmt: skip
"""Format → what it is."""

NEED_BYTES = 32 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Onto:
    """The DICOM series that objects are made on: a folder, and which series of it ("" for the one with the mask's voxels)."""

    folder: Path
    series: str = ""


def check_formats(formats: Sequence[str]) -> None:
    """Raise InputError for a format there is not, or a DICOM format whose libraries are missing."""
    unknown = next((f for f in formats if f not in FORMATS), None)
    if unknown is not None:
        raise InputError(f"There is no format '{unknown}'; there are: {', '.join(FORMATS)}.")
    if any(f in DICOM for f in formats):
        from brainseg_engine.io.derived import needed

        needed.highdicom()


def export(result: Result, formats: Sequence[str], out: Path, onto: Onto | None = None) -> list[Path]:
    """Write a result in the formats into the folder ``out``, which is made; returns the files, each whole or absent.

    DICOM formats need ``onto``. Raises InputError, OutputError.
    """
    check_formats(formats)
    check_writable(out, NEED_BYTES)
    record = records.build(result.segmentation, result.study, id=result.id, sidecar=result.sidecar)
    name = file_stem(result.id)
    written: list[Path] = []
    if any(f in DICOM for f in formats):
        for ending, dataset in _dicom(result, record, formats, _needed(onto)):
            path = out / f"{name}_{ending}.dcm"
            with atomic(path) as part:
                dataset.save_as(part, enforce_file_format=True)
            written.append(path)
    for kind in (f for f in formats if f in meshes.FORMATS):
        written += _write_meshes(result, kind, out, name)
    if "bids" in formats:
        written += bids.write_bids(result, out, record, probabilities_beside(result))
    return written


def probabilities_beside(result: Result) -> dict[str, Path]:
    """Region → its probability image ``<id>_prob-<region>.nii.gz`` beside the mask, where there is one."""
    path = result.segmentation.path
    if path is None:
        return {}
    names = {r.value: path.with_name(f"{result.id}_prob-{r}.nii.gz") for r in result.segmentation.regions}
    return {region: p for region, p in names.items() if p.is_file()}


def _needed(onto: Onto | None) -> Onto:
    if onto is None:
        raise InputError(
            "A DICOM object stands on the DICOM series that was segmented. Name the folder of that series (--onto)."
        )
    return onto


def _dicom(result: Result, record: records.Record, formats: Sequence[str], onto: Onto) -> Iterator[tuple[str, Any]]:
    """(name's ending, dataset) of each object asked for."""
    from brainseg_engine.io.derived import source as sources
    from brainseg_engine.report import identity

    found = sources.listed(onto.folder)
    if not found:
        raise InputError(f"{onto.folder} holds no DICOM series whose slices form a stack. Name the series' folder.")
    series = sources.fitting(found, result.segmentation, onto.series)
    made = dicom_seg.Made.of(record)
    seg = dicom_seg.write_seg(result.segmentation, series, made) if {"seg", "sr"} & set(formats) else None
    if seg is not None:
        yield "seg", seg  # a report refers to it: it comes along
    if "labelmap" in formats:
        yield "labelmap", dicom_seg.write_seg(result.segmentation, series, made, labelmap=True)
    if "rtstruct" in formats:
        yield "rtstruct", rtstruct.write_rtstruct(result.segmentation, series, made)
    if "sr" in formats:
        yield "sr", sr.write_sr(record, series, seg, made)
    if not {"pdf", "sc"} & set(formats):
        return
    pictures = pictures_of(result, record)
    if "pdf" in formats:
        shown = {**record, "identity": identity.shown(series)}  # it goes where the identity is anyway
        yield (
            "report",
            documents.encapsulated_pdf(
                documents.report_pdf(shown, pictures), series, {k: v for k, v in record.items() if k != "created"}
            ),
        )
    if "sc" in formats:
        for number, capture in enumerate(documents.secondary_captures(pictures, series), 1):
            yield f"key-{number}", capture


def _write_meshes(result: Result, kind: str, out: Path, name: str) -> list[Path]:
    seg, written = result.segmentation, []
    if not seg.grid.calibrated:
        raise InputError(f"The voxel sizes of '{result.id}' are not known, so it has no shape in mm.")
    for region in seg.regions:
        shape = meshes.closed_mesh(region_mask(seg.labels, region), seg.grid)
        if not len(shape[0]):
            _log.warning("%s of %s is empty: no mesh of it.", region, result.id)
            continue
        path = out / f"{name}_{region}.{kind}"
        with atomic(path) as part:
            part.write_bytes(meshes.FORMATS[kind](shape, region.value))
        written.append(path)
    return written
