"""Results in other programs' formats: DICOM objects, meshes, BIDS derivatives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import region_mask
from brainseg_engine.core.paths import atomic, check_writable
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.io.derived.deidentify import Pseudonym, deidentified, marked, moved_back
from brainseg_engine.io.derived.source import SourceSeries, fitting, listed, opened, series_uid, transferred
from brainseg_engine.io.found import ImageSeries
from brainseg_engine.report import bids, dicom_seg, documents, images, meshes, pdf, rtstruct, sr
from brainseg_engine.report import record as records
from brainseg_engine.report.hidden import Deidentify, hide, moved_now
from brainseg_engine.report.identity import day_of
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
IMAGES = "images"
FORMATS = DICOM | {
    IMAGES: "the study's DICOM series themselves, de-identified",
    **dict.fromkeys(meshes.FORMATS, "a mesh a region"), meshes.TOGETHER: "all meshes in one glTF file",
    "bids": "BIDS derivative",
}  # fmt: skip
"""Format → what it is."""

NEED_BYTES = 32 << 20
_LEAST_SEEN = 0.9
"""Of the tumour's volume, on another series than the one it was drawn on."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Onto:
    """The DICOM series that objects are made on: a folder, and which series of it ("" for the one with the mask's voxels).

    ``carry``: a mask, a grid → the mask on it, for a series of other voxels that is named; without it such is refused.
    """

    folder: Path
    series: str = ""
    carry: Callable[[Segmentation, Grid], Segmentation] | None = None


def check_formats(formats: Sequence[str]) -> None:
    """Raise InputError for a format there is not, or a DICOM format whose libraries are missing."""
    unknown = next((f for f in formats if f not in FORMATS), None)
    if unknown is not None:
        raise InputError(f"There is no format '{unknown}'; there are: {', '.join(FORMATS)}.")
    if any(f in DICOM or f == IMAGES for f in formats):
        from brainseg_engine.io.derived import needed

        needed.highdicom()


def export(
    result: Result, formats: Sequence[str], out: Path, onto: Onto | None = None, deidentify: Deidentify | None = None
) -> list[Path]:
    """Write a result in the formats into the folder ``out``, which is made; returns the files, each whole or absent.

    DICOM formats need ``onto``. With ``deidentify`` nothing that is written, file names included, tells whose result it is;
    the images themselves are copied only so. Raises InputError, OutputError.
    """
    check_formats(formats)
    if IMAGES in formats and deidentify is None:
        raise InputError("Images are copied de-identified only. Add --deidentify, or leave 'images' out.")
    check_writable(out, NEED_BYTES)
    chosen = _series(result, onto) if any(f in DICOM or f == IMAGES for f in formats) else None
    probabilities, hidden = probabilities_beside(result), None
    series = None if chosen is None else opened(chosen)
    now = None
    if deidentify is not None:
        pseudonym, id_ = deidentify.of_instance(series.instances[0]) if series else deidentify.of_id(result.id)
        series, hidden = (None if series is None else _hidden_series(series, pseudonym)), pseudonym
        result, now = hide(result, id_, deidentify), moved_now(pseudonym.shift)
    record = records.build(
        result.segmentation,
        result.study,
        id=result.id,
        sidecar=result.sidecar,
        now=now,
        deidentified=now is not None,
        examined=None if series is None else day_of(series.instances[0]),
    )
    name = file_stem(result.id)
    written: list[Path] = []
    if series is not None:
        placed = _placed(result, series, onto)
        for ending, dataset in _dicom(placed, record, formats, series):
            if hidden is not None:
                moved_back(dataset, hidden)
                marked(dataset, hidden)
            written.append(_save(dataset, out / f"{name}_{ending}.dcm"))
    if IMAGES in formats and deidentify is not None and chosen is not None and onto is not None:
        written += _write_images(result, chosen, onto, deidentify, out / f"{name}_images")
    for kind in (f for f in formats if f in (*meshes.FORMATS, meshes.TOGETHER)):
        written += _write_meshes(result, kind, out, name)
    if "bids" in formats:
        written += bids.write_bids(result, out, record, probabilities)
    return written


def _save(dataset: Any, path: Path) -> Path:
    with atomic(path) as part:
        dataset.save_as(part, enforce_file_format=True)
    return path


def _placed(result: Result, series: SourceSeries, onto: Onto | None) -> Result:
    """The result with its mask on the voxels of the series that objects are made on.

    Where these are others, the scanner's coordinates place it: a person is warned. Raises InputError where they lie apart.
    """
    seg = result.segmentation
    if onto is None or onto.carry is None or transferred(seg, series.grid) is not None:
        return result
    carried = onto.carry(seg, series.grid)
    before, after = (float((s.labels > 0).sum()) * (s.grid.voxel_ml or 0) for s in (seg, carried))
    if before and after < _LEAST_SEEN * before:
        raise InputError(
            f"The series {series.description} shows only {after:.1f} of the {before:.1f} mL of the tumour. Choose a series "
            "of the same study that covers it."
        )
    _log.warning(
        "The mask is carried onto the series %s by the scanner's coordinates: look whether the patient moved between them.",
        series.description,
    )
    return replace(result, segmentation=carried)


def _hidden_series(series: SourceSeries, pseudonym: Pseudonym) -> SourceSeries:
    return replace(series, instances=tuple(deidentified(i, pseudonym) for i in series.instances))


def _write_images(result: Result, own: ImageSeries, onto: Onto, how: Deidentify, out: Path) -> list[Path]:
    named = images.of_study(onto.folder, own)
    written = []
    for title, series in named.items():
        tumour = transferred(result.segmentation, series.grid) if series.grid is not None else None
        folder = out / title
        check_writable(folder, NEED_BYTES)
        datasets = images.copies(series, title, how, None if tumour is None else tumour > 0)
        written += [_save(d, folder / f"{number:04d}.dcm") for number, d in enumerate(datasets, 1)]
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


def _series(result: Result, onto: Onto | None) -> ImageSeries:
    """The listed series that objects are made on. Raises InputError."""
    where = _needed(onto)
    listed_series = listed(where.folder)
    if not listed_series:
        raise InputError(f"{where.folder} holds no DICOM series whose slices form a stack. Name the series' folder.")

    def likely(several: Sequence[ImageSeries]) -> ImageSeries | None:
        """The one that was taken for the series which the mask's sidecar calls its own."""
        on = str(result.sidecar.get("on") or result.sidecar.get("reference") or Modality.T1CE.value)
        named = images.of_study(where.folder, several[0])
        meant = named.get(Modality(on).title) if on in tuple(Modality) else None
        return next((s for s in several if meant is not None and series_uid(s) == series_uid(meant)), None)

    return fitting(listed_series, result.segmentation, where.series, likely, elsewhere=where.carry is not None)


def _dicom(
    result: Result, record: records.Record, formats: Sequence[str], series: SourceSeries
) -> Iterator[tuple[str, Any]]:
    """(name's ending, dataset) of each object asked for."""
    from brainseg_engine.report import identity

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
                pdf.report_pdf(shown, pictures), series, {k: v for k, v in record.items() if k != "created"}
            ),
        )
    if "sc" in formats:
        for number, capture in enumerate(documents.secondary_captures(pictures, series), 1):
            yield f"key-{number}", capture


def _write_meshes(result: Result, kind: str, out: Path, name: str) -> list[Path]:
    seg = result.segmentation
    if not seg.grid.calibrated:
        raise InputError(f"The voxel sizes of '{result.id}' are not known, so it has no shape in mm.")
    shapes = {}
    for region in seg.regions:
        shape = meshes.closed_mesh(region_mask(seg.labels, region), seg.grid)
        if len(shape[0]):
            shapes[region] = shape
        else:
            _log.warning("%s of %s is empty: no mesh of it.", region, result.id)
    if kind == meshes.TOGETHER:
        return [_put(out / f"{name}.{kind}", meshes.glb(shapes))] if shapes else []
    return [_put(out / f"{name}_{r}.{kind}", meshes.FORMATS[kind](shape, r.value)) for r, shape in shapes.items()]


def _put(path: Path, content: bytes) -> Path:
    with atomic(path) as part:
        part.write_bytes(content)
    return path
