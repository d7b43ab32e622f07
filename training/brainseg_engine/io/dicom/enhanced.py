"""Enhanced multi-frame images: one file, whose frames' places and values are given in shared and per-frame groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from brainseg_engine.io.dicom import tags as t
from brainseg_engine.io.dicom.headers import Frame, Instance, Unreadable
from brainseg_engine.io.dicom.values import number, text, texts


def frames(instance: Instance) -> list[Frame]:
    """The frames of an enhanced file. Raises Unreadable where its groups do not fit its frames."""
    header = instance.header
    shared = _items(header, "SharedFunctionalGroupsSequence")
    per_frame = _items(header, "PerFrameFunctionalGroupsSequence")
    count = int(number(header, t.FRAMES) or len(per_frame))
    if len(per_frame) != count:
        raise Unreadable(f"tells the places of {len(per_frame)} frames and holds {count}")
    return [_frame(instance, i, (group, *shared)) for i, group in enumerate(per_frame)]


def _frame(instance: Instance, index: int, groups: tuple[Any, ...]) -> Frame:
    header = instance.header
    position = _vector(groups, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = _vector(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _vector(groups, "PixelMeasuresSequence", "PixelSpacing", 2)
    content = "FrameContentSequence"
    kinds = _value(groups, "MRImageFrameTypeSequence", "FrameType") or texts(header, t.IMAGE_TYPE)
    temporal = _scalar(groups, content, "TemporalPositionIndex")
    if temporal is None:
        temporal = _scalar(groups, "TemporalPositionSequence", "TemporalPositionTimeOffset")
    return Frame(
        instance=instance,
        index=index,
        position=position,  # type: ignore[arg-type]
        orientation=orientation,
        spacing=spacing if spacing and min(spacing) > 0 else None,  # type: ignore[arg-type]
        slope=_scalar(groups, "PixelValueTransformationSequence", "RescaleSlope") or 1.0,
        intercept=_scalar(groups, "PixelValueTransformationSequence", "RescaleIntercept") or 0.0,
        temporal=temporal,
        echo_time=_first(_scalar(groups, "MREchoSequence", "EffectiveEchoTime"), number(header, t.ECHO_TIME)),
        b_value=_scalar(groups, "MRDiffusionSequence", "DiffusionBValue"),
        image_type=tuple(str(k) for k in kinds),
        acquisition=_scalar(groups, content, "FrameAcquisitionNumber"),
        time=str(_value(groups, content, "FrameAcquisitionDateTime") or text(header, t.ACQUISITION_TIME)),
        number=float(index),
        inversion_time=_scalar(groups, "MRModifierSequence", "InversionTimes"),
        repetition_time=_scalar(groups, "MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        flip=_scalar(groups, "MRTimingAndRelatedParametersSequence", "FlipAngle"),
    )


def _first(*values: float | None) -> float | None:
    return next((v for v in values if v is not None), None)


def _items(dataset: Any, keyword: str) -> tuple[Any, ...]:
    try:
        return tuple(dataset.get(keyword) or ())
    except Exception:  # a damaged sequence is none
        return ()


def _candidates(groups: tuple[Any, ...], sequence: str, keyword: str) -> Iterator[Any]:
    """The values under that name, the frame's own first, then those that all frames share."""
    for group in groups:
        for item in _items(group, sequence)[:1]:
            try:
                value = item.get(keyword)
            except Exception:  # as above
                value = None
            if value is not None and value != "":
                yield value


def _value(groups: tuple[Any, ...], sequence: str, keyword: str) -> Any:
    return next(_candidates(groups, sequence, keyword), None)


def _vector(groups: tuple[Any, ...], sequence: str, keyword: str, length: int) -> tuple[float, ...] | None:
    value = _value(groups, sequence, keyword)
    try:
        vector = tuple(float(v) for v in value) if value is not None else ()
    except (TypeError, ValueError):
        return None
    return vector if len(vector) == length and all(map(math.isfinite, vector)) else None


def _scalar(groups: tuple[Any, ...], sequence: str, keyword: str) -> float | None:
    value = _value(groups, sequence, keyword)
    if value is not None and not isinstance(value, (str, float, int)) and hasattr(value, "__iter__"):
        value = next(iter(value), None)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
