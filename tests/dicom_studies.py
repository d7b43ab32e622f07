"""DICOM studies as hospitals export them, written from volumes that are known: for the tests of reading and of what follows.

The writers themselves are :mod:`brainseg_engine.phantom.dicom` and :mod:`brainseg_engine.phantom.clinical`; here is what goes
wrong.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from brainseg_engine.phantom.clinical import (
    NAMES,
    TIMING,
    as_stored,
    ball,
    grid_of,
    new_uid,
    resampled,
    thick_grid,
    write_clinical,
    write_distractors,
    write_localiser,
    write_perfusion,
)
from brainseg_engine.phantom.dicom import Person, SeriesPlan, new_person, write_series

__all__ = [
    "NAMES",
    "TIMING",
    "Person",
    "SeriesPlan",
    "as_stored",
    "ball",
    "grid_of",
    "new_person",
    "resampled",
    "thick_grid",
    "write_clinical",
    "write_distractors",
    "write_localiser",
    "write_perfusion",
    "write_series",
]


# --- what goes wrong ------------------------------------------------------------------------------------------------------


def edit(path: Path, **tags: Any) -> None:
    """Change elements of a written file, by keyword; None removes one."""
    import pydicom

    dataset = pydicom.dcmread(path, force=True)
    for keyword, value in tags.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    if "MediaStorageSOPInstanceUID" in dataset.file_meta:
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path)


def as_jpeg_lossless(path: Path) -> None:
    """Compress a written file's pixels as JPEG lossless (process 14, selection value 1), which GDCM encodes."""
    import pydicom
    import SimpleITK as sitk

    dataset = pydicom.dcmread(path)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "x.dcm"))
        writer = sitk.ImageFileWriter()
        writer.SetFileName(file)
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
        encoded = pydicom.dcmread(file)
    dataset.PixelData = encoded.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = encoded.file_meta.TransferSyntaxUID
    dataset.save_as(path)


def write_other_object(path: Path, person: Person, kind: str) -> None:
    """A DICOM object that is no image: "report", "presentation state" or "document"."""
    import pydicom

    sop_class = {"report": "1.2.840.10008.5.1.4.1.1.88.33", "presentation state": "1.2.840.10008.5.1.4.1.1.11.1",
                 "document": "1.2.840.10008.5.1.4.1.1.104.1"}[kind]  # fmt: skip
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
    dataset.PatientID, dataset.PatientName = person.patient_id, person.name
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = person.study_uid, new_uid()
    dataset.Modality = "DOC"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
