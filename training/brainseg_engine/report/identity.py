"""Who a DICOM series is of: what derived objects must carry, and what a report shows when the user asks for it."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.study import Segmentation, Volume
from brainseg_engine.io.derived.needed import pydicom
from brainseg_engine.io.derived.source import SourceSeries, listed, opened, transferred
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.report.sources import Result

PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
)  # fmt: skip
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip


def of_study(folder: Path | None, segmentation: Segmentation) -> dict[str, str]:
    """Name, id and birth date from the DICOM series in a folder that has the mask's voxels.

    Raises InputError where there is none, or where such series are of different patients.
    """
    try:
        series = listed(folder) if folder is not None else []
    except InputError:
        series = []
    fitting = [s for s in series if s.grid is not None and transferred(segmentation, s.grid) is not None]
    if not fitting:
        raise InputError(
            f"{folder or 'The result'} holds no DICOM images of the mask's voxels, so nothing tells whose they are. "
            "Leave --identity out, or name their folder (--images)."
        )
    persons = [shown(opened(s)) for s in fitting]
    if any(t != persons[0] for t in persons):
        raise InputError(
            f"{folder} holds images of several patients, so nothing tells whose the mask is. Name one study."
        )
    return persons[0]


def first_instance(result: Result) -> Any | None:
    """An instance of the DICOM series that the result's images were read from; None where they are no DICOM."""
    return _instance(result.study.reference if result.study is not None else None)


def _instance(series: Volume | None) -> Any | None:
    from brainseg_engine.io.dicom.scan import is_dicom

    path = series.path if series is not None else None
    if path is None or not path.is_file() or not is_dicom(path):
        return None
    with quiet():
        return pydicom().dcmread(path, stop_before_pixels=True, force=True)


def examined_on(series: Volume | None) -> str | None:
    """The day of the examination by a series' DICOM headers, as 2025-03-14; None where it is no DICOM or does not tell."""
    instance = _instance(series)
    return None if instance is None else day_of(instance)


def day_of(instance: Any) -> str | None:
    """The day of the examination that a DICOM instance is of, as 2025-03-14; None where it does not tell."""
    for keyword in ("StudyDate", "AcquisitionDate", "SeriesDate"):
        day = str(instance.get(keyword) or "")
        with contextlib.suppress(ValueError):
            return date.fromisoformat(day).isoformat()
    return None


def require_identity(source: SourceSeries) -> None:
    """Raise InputError when the source lacks a UID that derived objects must name."""
    for keyword, what in (
        ("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series"), ("FrameOfReferenceUID", "frame of reference")
    ):  # fmt: skip
        if not source.instances[0].get(keyword):
            raise InputError(
                f"The series {source.description} has no {keyword}: nothing tells its {what}, so no DICOM object can be "
                "made on it. Export the series again from where it came."
            )


def uid_of(source: SourceSeries, *content: object) -> str:
    """The UID of something made on a series: the same for the same content, so that sending it again doubles nothing."""
    parts = (source.uid, metadata.version("napari-brainseg"), *content)
    return str(pydicom().uid.generate_uid(entropy_srcs=[_digest(part) for part in parts]))


def _digest(part: object) -> str:
    raw = (
        np.ascontiguousarray(part).tobytes()
        if isinstance(part, np.ndarray)
        else repr(part).encode("utf-8", "surrogatepass")
    )
    return hashlib.sha256(raw).hexdigest()


def copy_identity(source: SourceSeries, target: Any) -> None:
    """Give ``target`` the patient and the study of the source, with the tags that must be there though empty."""
    first = source.instances[0]
    if "SpecificCharacterSet" in first:
        target.SpecificCharacterSet = first.SpecificCharacterSet
    for keyword in PATIENT_AND_STUDY:
        if keyword in first:
            setattr(target, keyword, first[keyword].value)
        elif keyword in _TYPE_2:
            setattr(target, keyword, "")


def shown(source: SourceSeries) -> dict[str, str]:
    """Name, id and birth date, for the header of a report."""
    first = source.instances[0]
    born = str(first.get("PatientBirthDate") or "")
    if len(born) == 8:
        born = f"{born[:4]}-{born[4:6]}-{born[6:]}"
    name = str(first.get("PatientName") or "").replace("^", " ").strip()
    return {"name": name or "–", "id": str(first.get("PatientID") or "–"), "birth_date": born or "–"}
