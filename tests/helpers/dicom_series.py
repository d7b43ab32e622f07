"""Small synthetic DICOM series on the disk: classic, thick oblique, enhanced."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Segmentation

CLASSIC = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"


def geometry(kind: str):
    """Row and column directions (3,), pixel spacing (row, column), slice distance and first position, LPS mm."""
    turn = np.radians(14 if kind == "thick" else 0)
    row = np.array([1.0, 0, 0])
    column = np.array([0, np.cos(turn), np.sin(turn)])
    spacing = {"thick": (0.9, 0.8), "thin": (1.1, 1.0), "enhanced": (1.0, 1.0)}[kind]
    apart = {"thick": 5.5, "thin": 1.2, "enhanced": 2.0}[kind]
    return row, column, spacing, apart, np.array([-30.0, -28.0, -20.0])


def write_dicom_series(
    folder: Path,
    kind: str = "thick",
    *,
    shape=(64, 56, 12),
    name="Müller^Jörg",
    description="T1 post",
    number=5,
    study="1",
) -> list[Path]:
    """``shape``: columns, rows, slices. Instances are numbered from the top down, against the slices' normal."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    row, column, spacing, apart, first = geometry(kind)
    normal = np.cross(row, column)
    pixels = np.random.default_rng(number).integers(0, 900, size=(shape[2], shape[1], shape[0])).astype(np.uint16)
    series = generate_uid(entropy_srcs=[str(folder), description, str(number)])

    def base(uid: str, sop_class: str):
        d = pydicom.Dataset()
        d.file_meta = pydicom.dataset.FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = sop_class, uid
        d.SpecificCharacterSet = "ISO_IR 192"
        d.SOPClassUID, d.SOPInstanceUID, d.SeriesInstanceUID = sop_class, uid, series
        d.StudyInstanceUID = generate_uid(entropy_srcs=["study", study])
        d.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", study])
        d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = name, "P-77", "19600203", "F"
        d.StudyDate, d.StudyTime, d.StudyID, d.AccessionNumber = "20260102", "101500", "S1", "A1"
        d.SeriesDate, d.SeriesTime, d.ContentDate, d.ContentTime = "20260102", "101600", "20260102", "101600"
        d.ReferringPhysicianName, d.Modality, d.Manufacturer = "", "MR", "Nobody"
        d.SeriesNumber, d.SeriesDescription, d.PositionReferenceIndicator = number, description, ""
        d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = shape[1], shape[0], 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
        return d

    def place(i: int):
        return [f"{v:.4f}" for v in first + normal * apart * i]

    orientation = [f"{v:.6f}" for v in (*row, *column)]
    paths = []
    if kind == "enhanced":
        d = base(generate_uid(entropy_srcs=[series, "e"]), ENHANCED)
        d.NumberOfFrames, d.InstanceNumber, d.ImageType = shape[2], 1, ["ORIGINAL", "PRIMARY", "M", "NONE"]
        shared, frames = pydicom.Dataset(), []
        shared.PixelMeasuresSequence = [pydicom.Dataset()]
        shared.PixelMeasuresSequence[0].PixelSpacing = list(spacing)
        shared.PixelMeasuresSequence[0].SliceThickness = apart
        shared.PlaneOrientationSequence = [pydicom.Dataset()]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
        for i in reversed(range(shape[2])):
            frame = pydicom.Dataset()
            frame.PlanePositionSequence = [pydicom.Dataset()]
            frame.PlanePositionSequence[0].ImagePositionPatient = place(i)
            frame.FrameContentSequence = [pydicom.Dataset()]
            frame.FrameContentSequence[0].StackID = "1"
            frame.FrameContentSequence[0].InStackPositionNumber = shape[2] - i
            frame.FrameContentSequence[0].DimensionIndexValues = [shape[2] - i]
            frames.append(frame)
        d.SharedFunctionalGroupsSequence, d.PerFrameFunctionalGroupsSequence = [shared], frames
        d.PixelData = pixels[::-1].tobytes()
        paths.append(folder / "IM_enhanced")
        d.save_as(paths[-1], enforce_file_format=True)
        return paths
    for i in range(shape[2]):
        d = base(generate_uid(entropy_srcs=[series, str(i)]), CLASSIC)
        d.InstanceNumber, d.ImageType, d.SliceThickness = shape[2] - i, ["ORIGINAL", "PRIMARY", "M"], apart
        d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing = place(i), orientation, list(spacing)
        d.ScanningSequence, d.SequenceVariant, d.ScanOptions, d.MRAcquisitionType = "SE", "NONE", "", "2D"
        d.EchoTime, d.EchoTrainLength, d.RepetitionTime = 10, 1, 500
        d.PixelData = pixels[i].tobytes()
        paths.append(folder / f"IM{i * 7 % 31:04d}_{i}")
        d.save_as(paths[-1], enforce_file_format=True)
    return paths


def grid_of_series(kind: str, shape=(64, 56, 12)) -> Grid:
    """The grid as a reader would have it: X columns, Y rows, Z along the normal, RAS mm."""
    row, column, spacing, apart, first = geometry(kind)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * spacing[1], column * spacing[0], np.cross(row, column) * apart])
    affine[:3, 3] = first
    return Grid(shape, np.diag([-1.0, -1, 1, 1]) @ affine)


def tumour_on(grid: Grid) -> Segmentation:
    """An asymmetric tumour with a hole and an island, so that no flip goes unseen."""
    position = np.stack(np.indices(grid.shape), -1) * np.array(grid.spacing)
    centre = (np.array(grid.shape) - 1) * np.array(grid.spacing) * np.array([0.35, 0.55, 0.45])
    distance = np.sqrt((((position - centre) / np.array([1.0, 1.25, 1.1])) ** 2).sum(-1))
    labels = np.zeros(grid.shape, np.uint8)
    for radius, label in ((17, Label.ED), (12, Label.ET), (7, Label.NCR)):
        labels[distance < radius] = label
    columns, _, slices = grid.shape
    labels[columns - 12 : columns - 8, 6:11, slices // 3 : slices // 3 + 3] = Label.ET
    hole = np.sqrt((((position - centre) / np.array([1.0, 1.25, 1.1])) ** 2).sum(-1)) < 3
    labels[hole] = 0
    return Segmentation(labels, grid, made_by="a model 1")
