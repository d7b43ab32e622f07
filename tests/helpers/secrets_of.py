"""What identifies a patient in DICOM files, and whether any of it is found in what was written."""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pydicom
from dicom_studies import SeriesPlan, ball, new_person, write_series
from pydicom.dataset import Dataset

from brainseg_engine.core.geometry import Grid

NAME = "Lindqvist-Østergård^Thyra Ingeborg"
_TEXTS = {
    "InstitutionName": "Sankt Hypatia Klinik", "InstitutionAddress": "Quendelweg 31, 04711 Xanten", "StationName": "MRZIMMER7",
    "InstitutionalDepartmentName": "Neuroradiologie West", "ReferringPhysicianName": "Zweig^Ottokar",
    "PerformingPhysicianName": "Yildirim^Nazan", "OperatorsName": "Karpfen^Lutz", "StudyDescription": "MRT Kopf Lindqvist",
    "SeriesDescription": "T1 Lindqvist post", "ProtocolName": "kopf_lindqvist_protokoll", "AccessionNumber": "ACC-8842197",
    "StudyID": "ST-77123", "PatientAddress": "Birkenallee 9", "PatientTelephoneNumbers": "+49 341 5550123",
    "OtherPatientIDs": "GKV-X991827364", "PatientComments": "known to Dr Zweig", "AdditionalPatientHistory": "fell in Oslo",
    "ImageComments": "siehe Voraufnahme Lindqvist", "DeviceSerialNumber": "SN-445566", "RequestingPhysician": "Zweig^Ottokar",
    "ContrastBolusAgent": "Gadovist Charge QX77120", "SequenceName": "lindq_tse2d", "SoftwareVersions": "syngo MR E11 Hypatia",
    "PatientBirthName": "Østergård^Thyra", "MedicalRecordLocator": "Keller-Regal-12", "EthnicGroup": "Fennoskand",
    "PatientAge": "065Y", "PatientWeight": "71.4321", "Occupation": "Glasbläserin", "IssuerOfPatientID": "HYPATIA-KIS",
    "PerformedProcedureStepID": "PPS-661782", "RequestedProcedureDescription": "Kopf mit KM bei Lindqvist",
}  # fmt: skip
"""Keyword → what a hospital's file might say there."""


def write_telling_series(folder: Path, grid: Grid, *, number: int = 5, enhanced: bool = False) -> list[Path]:
    """A series that names its patient wherever DICOM has a place for it, private and nested elements included."""
    person = new_person(
        name=NAME, patient_id="PAT-00918273", birth_date="19600203", study_date="20250314", study_time="101533",
        study_uid="1.2.826.0.1.3680043.8.498.777001", frame_of_reference="1.2.826.0.1.3680043.8.498.777002",
    )  # fmt: skip
    plan = SeriesPlan(number=number, enhanced=enhanced, tags=_TEXTS, description=_TEXTS["SeriesDescription"])
    paths = write_series(folder, ball(grid, number), grid, person, plan)
    for path in paths:
        d = pydicom.dcmread(path)
        block = d.private_block(0x0019, "HYPATIA PRIVATE", create=True)
        block.add_new(0x01, "LO", "Privatvermerk Lindqvist")
        request = Dataset()
        request.RequestedProcedureID, request.ScheduledProcedureStepDescription = "RPID-5521", "Termin Lindqvist 14 Uhr"
        request.ReferencedStudySequence = [_reference("1.2.826.0.1.3680043.8.498.777003")]
        d.RequestAttributesSequence = [request]
        d.ReferencedImageSequence = [_reference("1.2.826.0.1.3680043.8.498.777004")]
        if "SharedFunctionalGroupsSequence" in d:
            hidden = d.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
            hidden.add_new(0x00204000, "LT", "nested Lindqvist")
            hidden.private_block(0x0021, "HYPATIA PRIVATE", create=True).add_new(0x02, "LO", "nested private Lindqvist")
        d.add_new(0x60003000, "OW", b"Overlay:Lindqvist\0")
        d.add_new(0xFFFCFFFC, "OB", b"trailing Lindqvist")
        d.preamble = b"Lindqvist preamble".ljust(128, b"\0")
        d.save_as(path)
        named = path.with_name(f"Lindqvist_PAT-00918273_{path.name}")
        path.rename(named)
    return sorted(folder.iterdir())


def _reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", uid
    return item


def secrets_in(paths: Iterable[Path]) -> set[str]:
    """Every text, date, time and UID of the files that may tell of whom they are, and its words."""
    found: set[str] = {"lindqvist", "østergård", "thyra", "ingeborg", "hypatia", "1960-02-03", "2025-03-14", "10:15"}
    for path in paths:
        d = pydicom.dcmread(path)
        found |= {text.lower() for text in _texts(d)} | {str(d.file_meta.MediaStorageSOPInstanceUID), path.stem.lower()}
    return {text for text in found if len(text) > 3}


def _texts(dataset: Any) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.keyword in (
            "Manufacturer",
            "ManufacturerModelName",
            "StackID",
            "RescaleType",
            "SpecificCharacterSet",
        ):
            continue
        elif element.VR in ("PN", "LO", "SH", "ST", "LT", "UT", "DA", "TM", "DT", "AS", "UI"):
            for value in element.value if element.VM > 1 else [element.value]:
                text = str(value or "")
                if not text.startswith("1.2.840.10008."):
                    yield text
                    yield from (word for word in re.split(r"[\^ ]", text) if len(word) > 5 and element.VR != "DT")


def leaks(folder: Path, secrets: set[str]) -> list[tuple[str, str]]:
    """(file, secret) for every secret in a name or in the bytes of a file below the folder, also inside what is packed."""
    out = []
    for path in sorted(folder.rglob("*")):
        inner = [str(path.relative_to(folder)).encode(), *(_unpacked(path.read_bytes()) if path.is_file() else ())]
        lowered = [raw.lower() for raw in inner]
        for secret in secrets:
            for raw_secret in _written_as(secret):
                if any(raw_secret in raw for raw in lowered):
                    out.append((path.name, secret))
    return out


def _written_as(secret: str) -> Iterator[bytes]:
    for encoding in ("utf-8", "latin-1", "utf-16-le"):
        try:
            yield secret.encode(encoding)
        except UnicodeEncodeError:
            continue
    if not secret.isascii():
        yield secret.encode("ascii", "xmlcharrefreplace")


def _unpacked(raw: bytes) -> Iterator[bytes]:
    yield raw
    if raw.startswith(b"\x1f\x8b"):
        yield from _unpacked(gzip.decompress(raw))
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", raw, re.DOTALL):  # of a PDF
        try:
            yield zlib.decompress(stream)
        except zlib.error:
            continue
    for packed in re.findall(rb"base64,([A-Za-z0-9+/=]+)", raw):
        yield base64.b64decode(packed)
