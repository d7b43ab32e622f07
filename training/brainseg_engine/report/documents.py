"""What a PACS without SEG support shows: the report as an encapsulated PDF, and the key images as secondary captures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

import numpy as np

from brainseg_engine.io.derived.needed import pydicom
from brainseg_engine.io.derived.source import SourceSeries
from brainseg_engine.report.dicom_seg import MANUFACTURER, SERIES_NUMBERS, USE
from brainseg_engine.report.identity import copy_identity, require_identity, uid_of
from brainseg_engine.report.pictures import Picture

PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
SC_CLASS = "1.2.840.10008.5.1.4.1.1.7"


def encapsulated_pdf(pdf: bytes, source: SourceSeries, content: object = None) -> Any:
    """The PDF as a dataset of the source's study, to be saved. ``content``: what it tells, by which it is known again."""
    d = _document(source, PDF_CLASS, "DOC", "pdf", "Tumour report", content)
    d.ConversionType, d.BurnedInAnnotation, d.DocumentTitle = "WSD", "YES", f"Tumour report ({USE})"
    d.ContentDate, d.ContentTime, d.AcquisitionDateTime = d.InstanceCreationDate, d.InstanceCreationTime, ""
    code = pydicom().Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "18748-4", "LN", "Diagnostic imaging report"
    d.ConceptNameCodeSequence = [code]
    d.MIMETypeOfEncapsulatedDocument = "application/pdf"
    d.EncapsulatedDocumentLength = len(pdf)
    d.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return d


def secondary_captures(pictures: Sequence[Picture], source: SourceSeries) -> list[Any]:
    """One dataset a picture, in one series of the source's study. The captions are their descriptions."""
    from PIL import Image

    series, out = uid_of(source, "SC series", [p.png for p in pictures]), []
    for number, picture in enumerate(pictures, 1):
        pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))
        d = _document(source, SC_CLASS, "OT", "sc", "Tumour key images", (number, picture.png))
        d.SeriesInstanceUID, d.InstanceNumber = series, number
        d.ConversionType, d.BurnedInAnnotation, d.ImageType = "WSD", "YES", ["DERIVED", "SECONDARY"]
        d.ContentDate, d.ContentTime = d.InstanceCreationDate, d.InstanceCreationTime
        d.ImageComments, d.PatientOrientation, d.Laterality = f"{picture.caption} ({USE})", "", ""
        d.Rows, d.Columns, d.SamplesPerPixel = *pixels.shape[:2], 3
        d.PhotometricInterpretation, d.PlanarConfiguration, d.PixelRepresentation = "RGB", 0, 0
        d.BitsAllocated, d.BitsStored, d.HighBit = 8, 8, 7
        raw = pixels.tobytes()
        d.PixelData = raw + b"\0" * (len(raw) % 2)
        out.append(d)
    return out


def _document(source: SourceSeries, sop_class: str, modality: str, kind: str, description: str, content: object) -> Any:
    dicom, now = pydicom(), datetime.now()
    require_identity(source)
    d = dicom.Dataset()
    d.file_meta = dicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = dicom.uid.ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = sop_class, uid_of(source, kind, content)
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = sop_class, d.SOPInstanceUID
    copy_identity(source, d)
    d.Modality, d.SeriesInstanceUID, d.SeriesNumber = (
        modality,
        uid_of(source, kind, "series", content),
        SERIES_NUMBERS[kind],
    )
    d.SeriesDescription, d.InstanceNumber = f"{description} ({USE})", 1
    d.Manufacturer, d.ManufacturerModelName = MANUFACTURER, "napari-brainseg"
    d.SoftwareVersions = metadata.version("napari-brainseg")
    d.InstanceCreationDate, d.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    return d
