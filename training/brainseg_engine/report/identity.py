"""Who a DICOM series is of: what derived objects must carry, and what a report shows when the user asks for it."""

from __future__ import annotations

from typing import Any

from brainseg_engine.core.errors import InputError
from brainseg_engine.io.derived.source import SourceSeries

PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
)  # fmt: skip
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip


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
