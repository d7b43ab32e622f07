"""What a PACS without SEG support shows: the report as an encapsulated PDF, and the key images as secondary captures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
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
_PDF = {"Title": "Tumour segmentation report", "Creator": "napari-brainseg", "CreationDate": None}
"""No time: beside moved dates it would tell by how much, and the page says when it was made."""
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


def report_pdf(record: Mapping[str, Any], pictures: Sequence[Picture]) -> bytes:
    """The report's key images and numbers as two A4 pages of PDF, drawn with matplotlib."""
    from matplotlib.backends.backend_pdf import PdfPages

    out = io.BytesIO()
    with PdfPages(out, metadata=_PDF) as pages:
        for page in (_images_page(record, pictures), _numbers_page(record)):
            pages.savefig(page)
    return out.getvalue()


def _page(record: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    from brainseg_engine.report.html import plain

    figure = Figure(figsize=(8.27, 11.69), facecolor="white")
    who = record["identity"]
    title = str(plain(record["id"])) + (f"   {who['name']}, {who['id']}, born {who['birth_date']}" if who else "")
    model = record["model"]
    by = f"model {model['name']} {model['version']}" if model else record["made_by"] or ""
    made = record["created"][:16].replace("T", " ") + " UTC" + (" (dates moved)" if record["deidentified"] else "")
    lines = [(title, 13, 0.955), (f"{made}   {by}   {record['software']}", 8.5, 0.937),
             (f"{record['note']}{' Corrected by hand.' if record['corrected_by_hand'] else ''}", 9.5, 0.918)]  # fmt: skip
    for text, size, y in lines:
        figure.text(0.07, y, str(plain(text)), fontsize=size, parse_math=False)
    return figure


def _images_page(record: Mapping[str, Any], pictures: Sequence[Picture]) -> Any:
    from PIL import Image

    figure = _page(record)
    legend = "Outlines: WT dashed, TC dotted, ET solid. White: diameters. The patient's right is on the left."
    figure.text(0.07, 0.9, legend, fontsize=8.5)
    for i, picture in enumerate(pictures[:8]):
        row, column = divmod(i, 2)
        ax = figure.add_axes((0.07 + 0.44 * column, 0.685 - 0.212 * row, 0.42, 0.188))
        ax.imshow(np.asarray(Image.open(io.BytesIO(picture.png))))
        ax.set_axis_off()
        ax.set_title(picture.caption, fontsize=8, loc="left", parse_math=False)
    return figure


def _numbers_page(record: Mapping[str, Any]) -> Any:
    from brainseg_engine.report.record import quantities

    figure = _page(record)
    rows = [r for r in quantities(record) if r["value"] is not None][:60]
    for i, row in enumerate(rows):
        y = 0.885 - 0.0138 * i
        what = f"{row['region']}{' lesion ' + row['lesion'] if row['lesion'] else ''}"
        figure.text(0.07, y, what, fontsize=8.5)
        figure.text(0.24, y, row["quantity"], fontsize=8.5)
        figure.text(0.62, y, _written(row), fontsize=8.5, ha="right")
    return figure


def _written(row: Mapping[str, Any]) -> str:
    value = row["value"]
    return value if isinstance(value, str) else f"{value:,} {row['unit']}"


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
