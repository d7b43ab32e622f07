"""Volumes written as DICOM series, with the habits of scanners: for the demo, the tests and the benchmarks.

The vendors' habits (image types, names of sequences and files, signedness, which elements are there) follow their public
DICOM conformance statements. Nobody's data: people, dates and places are made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid

Vendor = Literal["SIEMENS", "GE", "Philips"]
SYNTAXES: Mapping[str, str] = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big-endian": "1.2.840.10008.1.2.2",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
}
"""Transfer syntaxes that can be written, all of them lossless."""

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MR, _ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
_COMPRESSED = ("rle", "jpeg-ls", "jpeg-2000")


@dataclass(frozen=True)
class Person:
    """A made-up patient and one visit."""

    patient_id: str = "PHANTOM-1"
    name: str = "Phantom^Philippa"
    birth_date: str = "19700101"
    sex: str = "F"
    study_date: str = "20250314"
    study_time: str = "101500"
    study_uid: str = ""
    frame_of_reference: str = ""
    character_set: str | list[str] = "ISO_IR 192"


@dataclass(frozen=True)
class SeriesPlan:
    """How a series is written. ``tags``: keyword → value, over the vendor's own (None leaves the element out).

    ``slopes``: (slope, intercept) a slice. ``order``: the slices in the order of their instance numbers and files.
    ``per_slice``: slice → tags of its own. ``number``: the series number.
    """

    description: str = "AX T1"
    number: int = 1
    vendor: Vendor = "SIEMENS"
    syntax: str = "explicit"
    enhanced: bool = False
    preamble: bool = True
    slopes: Sequence[tuple[float, float]] | None = None
    order: Sequence[int] | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    per_slice: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    series_uid: str = ""
    first_instance: int = 1


def new_person(**changes: str) -> Person:
    """A person with UIDs of their own."""
    from pydicom.uid import generate_uid

    return Person(**{"study_uid": generate_uid(), "frame_of_reference": generate_uid(), **changes})


def write_series(
    folder: Path, stored: NDArray[Any], grid: Grid, person: Person, plan: SeriesPlan | None = None
) -> list[Path]:
    """Write stored values (X, Y, Z), 8 or 16 bits, on ``grid`` as one series into ``folder``; slices run along Z.

    Returns the files: one a slice in the order of Z, or one enhanced file.
    """
    plan = plan or SeriesPlan()
    if plan.syntax not in SYNTAXES:
        raise InputError(f"'{plan.syntax}' is no transfer syntax that is written. Known are {', '.join(SYNTAXES)}.")
    folder.mkdir(parents=True, exist_ok=True)
    from pydicom.uid import generate_uid

    uid = plan.series_uid or generate_uid()
    places = _Places(grid)
    if plan.enhanced:
        path = folder / _file_name(plan, 0)
        _save(_enhanced(stored, places, person, plan, uid), path, plan)
        return [path]
    order = [int(k) for k in (range(stored.shape[2]) if plan.order is None else plan.order)]
    paths: dict[int, Path] = {}
    for i, k in enumerate(order):
        dataset = _common(person, plan, uid, _MR)
        _image(dataset, stored[:, :, k].T[None], plan)
        dataset.InstanceNumber = plan.first_instance + i
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient = places.position(k)
        dataset.ImageOrientationPatient = places.orientation
        dataset.PixelSpacing = places.spacing
        dataset.SliceThickness = dataset.SpacingBetweenSlices = places.step
        if plan.slopes is not None:
            dataset.RescaleSlope, dataset.RescaleIntercept = (_decimal(v) for v in plan.slopes[k])
        _set(dataset, plan.tags)
        _set(dataset, plan.per_slice.get(k, {}))
        paths[k] = folder / _file_name(plan, i)
        _save(dataset, paths[k], plan)
    return [paths[k] for k in sorted(paths)]


class _Places:
    """A grid as DICOM tells it."""

    def __init__(self, grid: Grid) -> None:
        self.affine = _LPS @ grid.affine
        sides = np.linalg.norm(self.affine[:3, :3], axis=0)
        cosines = self.affine[:3, :3] / sides
        self.orientation = [_decimal(v) for v in (*cosines[:, 0], *cosines[:, 1])]
        self.spacing = [_decimal(sides[1]), _decimal(sides[0])]
        self.step = _decimal(sides[2])

    def position(self, k: int) -> list[str]:
        """Of the first voxel of slice ``k``."""
        return [_decimal(v) for v in self.affine[:3, 3] + k * self.affine[:3, 2]]


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters, as close as these allow."""
    from pydicom.valuerep import format_number_as_ds

    return str(format_number_as_ds(float(value)))


def _common(person: Person, plan: SeriesPlan, series_uid: str, sop_class: str) -> Any:
    """What all files of a series share."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.TransferSyntaxUID = UID(SYNTAXES["explicit" if plan.syntax in _COMPRESSED else plan.syntax])
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.set_original_encoding(plan.syntax == "implicit", plan.syntax != "big-endian", None)
    dataset.SpecificCharacterSet = person.character_set
    dataset.SOPClassUID = UID(sop_class)
    dataset.PatientID, dataset.PatientName = person.patient_id, person.name
    dataset.PatientBirthDate, dataset.PatientSex = person.birth_date, person.sex
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = person.study_uid, series_uid
    dataset.FrameOfReferenceUID = person.frame_of_reference
    dataset.PositionReferenceIndicator = ""
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = person.study_date
    dataset.StudyTime = person.study_time
    minutes = int(person.study_time[2:4]) + 4 * plan.number
    clock = f"{int(person.study_time[:2]) + minutes // 60:02d}{minutes % 60:02d}{person.study_time[4:6]}"
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = clock
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.Modality = "MR"
    dataset.SeriesDescription, dataset.SeriesNumber = plan.description, plan.number
    dataset.AcquisitionNumber = 1
    dataset.BodyPartExamined = "HEAD"
    dataset.MagneticFieldStrength = "3"
    dataset.PatientPosition = "HFS"
    _set(dataset, _HABITS[plan.vendor])
    return dataset


_HABITS: Mapping[str, Mapping[str, Any]] = {
    "SIEMENS": {
        "Manufacturer": "SIEMENS", "ManufacturerModelName": "Skyra", "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanningSequence": "SE", "SequenceVariant": "SK", "ScanOptions": "", "MRAcquisitionType": "2D",
        "SequenceName": "*tse2d1_9", "EchoNumbers": 1, "InPlanePhaseEncodingDirection": "ROW",
    },
    "GE": {
        "Manufacturer": "GE MEDICAL SYSTEMS", "ManufacturerModelName": "DISCOVERY MR750",
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"], "ScanningSequence": "SE", "SequenceVariant": "NONE",
        "ScanOptions": ["FAST_GEMS", "TRF_GEMS"], "MRAcquisitionType": "2D", "EchoNumbers": 1,
    },
    "Philips": {
        "Manufacturer": "Philips Medical Systems", "ManufacturerModelName": "Ingenia",
        "ImageType": ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"], "ScanningSequence": "SE", "SequenceVariant": "SK",
        "ScanOptions": "OTHER", "MRAcquisitionType": "2D", "EchoNumbers": 1, "DiffusionBValue": 0.0,
        "TemporalPositionIdentifier": 1, "NumberOfTemporalPositions": 1, "RescaleIntercept": "0", "RescaleSlope": "1",
    },
}  # fmt: skip


def _image(dataset: Any, frames: NDArray[Any], plan: SeriesPlan) -> None:
    """The pixels of ``frames`` (frames, rows, columns), and the elements that tell of them."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = frames.shape[1:]
    bits = 8 * frames.dtype.itemsize
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(frames.dtype.kind == "i")
    order: Literal["<", ">"] = ">" if plan.syntax == "big-endian" else "<"
    data = np.ascontiguousarray(frames, dtype=frames.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 and plan.syntax != "implicit" else "OW"


def _set(dataset: Any, tags: Mapping[str, Any]) -> None:
    for keyword, value in tags.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)


def _file_name(plan: SeriesPlan, i: int) -> str:
    n = plan.first_instance + i
    return {"SIEMENS": f"MR{plan.number:03d}{n:04d}.IMA", "GE": f"i{plan.number * 1000 + n}.MRDC.{n}",
            "Philips": f"IM_{plan.number * 1000 + n:04d}"}[plan.vendor]  # fmt: skip


def _save(dataset: Any, path: Path, plan: SeriesPlan) -> None:
    if plan.syntax in _COMPRESSED:
        dataset.compress(SYNTAXES[plan.syntax])
    if plan.preamble:
        dataset.save_as(path, enforce_file_format=True)
        return
    del dataset.file_meta, dataset.preamble  # as scanners wrote before part 10 of the standard
    dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)


def _enhanced(stored: NDArray[Any], places: _Places, person: Person, plan: SeriesPlan, uid: str) -> Any:
    """One multi-frame file: what all frames share in one group, places and slopes in a group a frame."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    dataset = _common(person, plan, uid, _ENHANCED_MR)
    order = [int(k) for k in (range(stored.shape[2]) if plan.order is None else plan.order)]
    _image(dataset, stored[:, :, order].transpose(2, 1, 0), plan)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.InstanceNumber, dataset.NumberOfFrames = 1, len(order)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    for keyword in ("EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "DiffusionBValue", "RescaleSlope",
                    "RescaleIntercept", "TemporalPositionIdentifier"):  # fmt: skip
        _set(dataset, {keyword: None})
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=places.spacing, SliceThickness=places.step)]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=places.orientation)]
    shared.MRImageFrameTypeSequence = [_item(FrameType=dataset.ImageType)]
    tags = dict(plan.tags)
    timing = {k: tags.pop(k) for k in ("RepetitionTime", "FlipAngle") if k in tags}
    shared.MRTimingAndRelatedParametersSequence = [_item(**timing)]
    if "InversionTime" in tags:
        shared.MRModifierSequence = [_item(InversionTimes=[float(tags.pop("InversionTime"))])]
    if "EchoTime" in tags:
        shared.MREchoSequence = [_item(EffectiveEchoTime=float(tags.pop("EchoTime")))]
    _set(dataset, tags)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_frame_groups(places, plan, k, i) for i, k in enumerate(order)]
    return dataset


def _frame_groups(places: _Places, plan: SeriesPlan, k: int, i: int) -> Any:
    from pydicom.dataset import Dataset

    group = Dataset()
    group.FrameContentSequence = [_item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1],
                                        FrameAcquisitionNumber=1)]  # fmt: skip
    group.PlanePositionSequence = [_item(ImagePositionPatient=places.position(k))]
    slope, intercept = plan.slopes[k] if plan.slopes is not None else (1, 0)
    group.PixelValueTransformationSequence = [
        _item(RescaleIntercept=_decimal(intercept), RescaleSlope=_decimal(slope), RescaleType="US")
    ]
    own = plan.per_slice.get(k, {})
    if "EchoTime" in own:
        group.MREchoSequence = [_item(EffectiveEchoTime=float(own["EchoTime"]))]
    return group


def _item(**values: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    _set(item, values)
    return item
