"""The regions as an RT Structure Set on the series that was segmented, for planning systems and viewers without SEG."""

from __future__ import annotations

from datetime import datetime
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.core.palette import REGION_COLOURS
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io.derived.contours import contours
from brainseg_engine.io.derived.needed import pydicom
from brainseg_engine.io.derived.source import LPS, SourceSeries, transferred
from brainseg_engine.report.dicom_seg import CODES, MANUFACTURER, SERIES_NUMBERS, USE, Made, name_of
from brainseg_engine.report.identity import copy_identity, require_identity, uid_of

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"


def write_rtstruct(segmentation: Segmentation, source: SourceSeries, made: Made) -> Any:
    """The structure set as a pydicom dataset, to be saved. Raises InputError as :func:`dicom_seg.write_seg`."""
    dicom = pydicom()
    require_identity(source)
    labels = transferred(segmentation, source.grid)
    if labels is None:
        raise InputError(
            f"The mask does not lie on the voxels of the series {source.description}, so no RTSTRUCT can be made."
        )
    d = _document(dicom, source, (labels, segmentation.regions, made))
    copy_identity(source, d)
    d.ReferencedFrameOfReferenceSequence = [_frame_of_reference(dicom, source)]
    d.StructureSetROISequence, d.ROIContourSequence, d.RTROIObservationsSequence = [], [], []
    for number, region in enumerate(segmentation.regions, 1):
        roi = dicom.Dataset()
        roi.ROINumber, roi.ROIName = number, region.value
        roi.ReferencedFrameOfReferenceUID = str(source.instances[0].FrameOfReferenceUID)
        roi.ROIDescription = name_of(region.value)
        roi.ROIGenerationAlgorithm = "AUTOMATIC" if made.automatic else "SEMIAUTOMATIC"
        roi.ROIGenerationDescription = f"{made.name} {made.version}"[:64]
        d.StructureSetROISequence.append(roi)
        d.ROIContourSequence.append(_contours(dicom, source, region_mask(labels, region), number, region))
        d.RTROIObservationsSequence.append(_observation(dicom, number, region))
    return d


def _document(dicom: Any, source: SourceSeries, content: tuple[Any, ...]) -> Any:
    d, now = dicom.Dataset(), datetime.now()
    d.file_meta = dicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = dicom.uid.ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = SOP_CLASS, uid_of(source, "RTSTRUCT", *content)
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = SOP_CLASS, d.SOPInstanceUID
    d.Modality, d.SeriesInstanceUID = "RTSTRUCT", uid_of(source, "RTSTRUCT series", *content)
    d.SeriesNumber = SERIES_NUMBERS["rtstruct"]
    d.SeriesDescription, d.InstanceNumber, d.OperatorsName = f"Tumour contours ({USE})", 1, ""
    d.Manufacturer, d.ManufacturerModelName = MANUFACTURER, "napari-brainseg"
    d.SoftwareVersions = metadata.version("napari-brainseg")
    d.InstanceCreationDate = d.StructureSetDate = now.strftime("%Y%m%d")
    d.InstanceCreationTime = d.StructureSetTime = now.strftime("%H%M%S")
    d.StructureSetLabel, d.StructureSetDescription, d.ApprovalStatus = "BRAIN_TUMOUR", USE, "UNAPPROVED"
    d.FrameOfReferenceUID = str(source.instances[0].FrameOfReferenceUID)
    d.PositionReferenceIndicator = source.instances[0].get("PositionReferenceIndicator", "")
    return d


def _frame_of_reference(dicom: Any, source: SourceSeries) -> Any:
    frame, study, series = dicom.Dataset(), dicom.Dataset(), dicom.Dataset()
    first = source.instances[0]
    frame.FrameOfReferenceUID = str(first.FrameOfReferenceUID)
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_MANAGEMENT, str(first.StudyInstanceUID)
    series.SeriesInstanceUID = source.uid
    series.ContourImageSequence = [_reference(dicom, instance) for instance in source.instances]
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [series], [study]
    return frame


def _reference(dicom: Any, instance: Any, frame: int | None = None) -> Any:
    item = dicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = str(instance.SOPClassUID), str(instance.SOPInstanceUID)
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def _contours(dicom: Any, source: SourceSeries, mask: NDArray[np.bool_], number: int, region: Region) -> Any:
    """The contours of ``mask`` (X, Y, Z) on the source's grid."""
    roi = dicom.Dataset()
    roi.ROIDisplayColor = [round(255 * c) for c in REGION_COLOURS[region]]
    roi.ReferencedROINumber = number
    items: list[Any] = []
    for z in np.flatnonzero(mask.any(axis=(0, 1))).tolist():
        for polygon in contours(mask[:, :, z].T):  # rows are Y, columns X
            index = np.column_stack([polygon[:, 1], polygon[:, 0], np.full(len(polygon), z)])
            points = source.grid.to_world(index) @ LPS[:3, :3]
            item = dicom.Dataset()
            item.ContourImageSequence = [_reference(dicom, *source.instance_of(z))]
            item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            item.ContourNumber = len(items) + 1
            item.ContourData = [f"{v:.4f}" for v in points.ravel()]
            items.append(item)
    if items:
        roi.ContourSequence = items
    return roi


def _observation(dicom: Any, number: int, region: Region) -> Any:
    item, code = dicom.Dataset(), dicom.Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.ROIObservationLabel = region.value
    item.RTROIInterpretedType, item.ROIInterpreter = "", ""
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = CODES[region.value]
    item.RTROIIdentificationCodeSequence = [code]
    return item
