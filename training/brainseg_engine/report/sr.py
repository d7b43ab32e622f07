"""Volumes and diameters as a DICOM structured report (TID 1500), which refers to the SEG they were measured on.

A group per region holds what is measured of all of it and refers to its segment; a group per lesion holds its longest
diameter, the perpendicular and their product, with the lines themselves. The numbers are those of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from brainseg_engine.io.derived.needed import highdicom
from brainseg_engine.io.derived.source import LPS, SourceSeries
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.report.dicom_seg import BRAIN, CODES, MANUFACTURER, SERIES_NUMBERS, USE, Code, Made
from brainseg_engine.report.identity import uid_of

VOLUME: Code = ("118565006", "SCT", "Volume")
LARGEST: Code = ("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
LONG: Code = ("103339001", "SCT", "Long Axis")
SHORT: Code = ("103340004", "SCT", "Short Axis")
LESIONS: Code = ("LESIONS", "99BRAINSEG", "Number of lesions")
PRODUCT: Code = ("PRODUCT", "99BRAINSEG", "Product of diameters")
SUM_RANO: Code = ("SUMRANO", "99BRAINSEG", "Sum of products of diameters, RANO")
SUM_RANO2: Code = ("SUMRANO2", "99BRAINSEG", "Sum of products of diameters, RANO 2.0")
UNITS: Mapping[str, Code] = {
    "mL": ("mL", "UCUM", "mL"), "mm": ("mm", "UCUM", "mm"), "mm2": ("mm2", "UCUM", "mm2"), "": ("1", "UCUM", "no units"),
}  # fmt: skip
SIDES: Mapping[str, Code] = {
    "left": ("7771000", "SCT", "Left"), "right": ("24028007", "SCT", "Right"), "both": ("51440002", "SCT", "Right and left"),
}  # fmt: skip
_PROCEDURE: Code = ("816077007", "SCT", "MRI of brain")


def write_sr(record: Mapping[str, Any], source: SourceSeries, seg: Any, made: Made) -> Any:
    """The report as a dataset of highdicom, to be saved. ``seg`` is the SEG of the same segmentation."""
    hd = highdicom()
    content_of = {k: v for k, v in record.items() if k != "created"}

    def uid(what: str) -> str:
        return uid_of(source, "SR", what, content_of)

    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID.from_uuid(_DEVICE), name="napari-brainseg", manufacturer_name=MANUFACTURER, model_name=made.name
    )
    observer = hd.sr.ObserverContext(
        observer_type=_code(hd, ("121007", "DCM", "Device")), observer_identifying_attributes=device
    )
    with quiet():
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=_code(hd, _PROCEDURE),
            imaging_measurements=list(_groups(hd, record, source, seg, made, uid)),
        )
        return hd.sr.Comprehensive3DSR(
            evidence=[*source.instances, seg],
            content=content,
            series_number=SERIES_NUMBERS["sr"],
            series_instance_uid=uid("series"),
            sop_instance_uid=uid("instance"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            series_description=f"Tumour measurements ({USE})",
        )


_DEVICE = "6f1a52cf-3c0a-4f5e-9d7b-0f6c9a4a7d10"  # one for the program, so that its reports are known as one observer's


def _code(hd: Any, code: Code) -> Any:
    return hd.sr.CodedConcept(*code)


def _groups(
    hd: Any, record: Mapping[str, Any], source: SourceSeries, seg: Any, made: Made, uid: Callable[[str], str]
) -> Iterator[Any]:
    numbers = {str(s.SegmentLabel): int(s.SegmentNumber) for s in seg.SegmentSequence}
    for name, amounts in {**record["classes"], **record["regions"]}.items():
        if amounts is None or name not in numbers:
            continue
        tracked = hd.sr.TrackingIdentifier(uid=uid(name), identifier=name)
        yield _region(hd, name, amounts, source, seg, numbers[name], made, tracked)
        for number, lesion in enumerate((amounts.get("diameters") or {}).get("lesions") or [], 1):
            label = f"{name} lesion {number}"
            yield _lesion(hd, name, lesion, source, hd.sr.TrackingIdentifier(uid=uid(label), identifier=label))


def _region(
    hd: Any,
    name: str,
    amounts: Mapping[str, Any],
    source: SourceSeries,
    seg: Any,
    segment: int,
    made: Made,
    tracked: Any,
) -> Any:
    measured = [_number(hd, VOLUME, amounts["volume_ml"], "mL")]
    lengths = amounts.get("diameters")
    if lengths is not None:
        if lengths["largest_3d"] is not None:
            measured.append(_number(hd, LARGEST, lengths["largest_3d"]["mm"], "mm"))
        measured.append(_number(hd, LESIONS, lengths["lesion_count"], ""))
        measured.append(_number(hd, SUM_RANO, lengths["sum_of_products_rano_mm2"], "mm2"))
        measured.append(_number(hd, SUM_RANO2, lengths["sum_of_products_rano2_mm2"], "mm2"))
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracked,
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=segment,
            source_series=hd.sr.SourceSeriesForSegmentation(source.uid),
        ),
        finding_type=_code(hd, CODES[name]),
        finding_sites=[
            hd.sr.FindingSite(
                _code(hd, BRAIN), laterality=_code(hd, SIDES[amounts["side"]]) if amounts.get("side") else None
            )
        ],
        algorithm_id=hd.sr.AlgorithmIdentification(name=made.name, version=made.version, parameters=[USE]),
        measurements=measured,
    )


def _lesion(hd: Any, name: str, lesion: Mapping[str, Any], source: SourceSeries, tracked: Any) -> Any:
    frame = str(source.instances[0].FrameOfReferenceUID)
    measured = [
        _number(hd, code, lesion[key]["mm"], "mm", _line(hd, lesion[key], frame))
        for code, key in ((LONG, "longest"), (SHORT, "perpendicular"))
    ]
    measured.append(_number(hd, PRODUCT, lesion["product_mm2"], "mm2"))
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracked,
        finding_type=_code(hd, CODES[name]),
        measurements=measured,
    )


def _number(hd: Any, name: Code, value: float, unit: str, line: Any = None) -> Any:
    lines = [line] if line is not None else None
    return hd.sr.Measurement(
        name=_code(hd, name), value=value, unit=_code(hd, UNITS[unit]), referenced_coordinates=lines
    )


def _line(hd: Any, chord: Mapping[str, Any], frame_of_reference: str) -> Any:
    points = np.array(chord["ends_ras_mm"]) @ LPS[:3, :3]
    return hd.sr.CoordinatesForMeasurement3D("POLYLINE", points, frame_of_reference)
