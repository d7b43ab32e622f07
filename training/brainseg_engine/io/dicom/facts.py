"""What a series' tags tell of it, as the record that every format shares."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.series import SeriesFacts, grid_facts, plane_across
from brainseg_engine.io.dicom import tags as t
from brainseg_engine.io.dicom.grouping import Part
from brainseg_engine.io.dicom.headers import Frame
from brainseg_engine.io.dicom.values import number, text, texts


def facts(part: Part, grid: Grid | None, number_of_part: int) -> SeriesFacts:
    """The facts of one part of a series, from its first slice."""
    frame = part.frames[0]
    header = frame.instance.header
    series_number = number(header, t.SERIES_NUMBER)
    description, protocol = text(header, t.SERIES_DESCRIPTION), text(header, t.PROTOCOL)
    sequence = text(header, t.SEQUENCE_NAME) or text(header, t.PULSE_SEQUENCE_NAME)
    label = description or protocol or sequence or "no description"
    field = number(header, t.FIELD_STRENGTH)
    return SeriesFacts(
        id=f"{frame.instance.series_uid}/{number_of_part}",
        label=f"{label} ({part.name})" if part.name else label,
        description=description,
        protocol=protocol,
        modality=frame.instance.modality or "",
        scanning_sequence=texts(header, t.SCANNING_SEQUENCE),
        sequence_variant=texts(header, t.SEQUENCE_VARIANT),
        sequence_name=sequence,
        acquisition_type=text(header, t.ACQUISITION_TYPE),
        te_ms=frame.echo_time,
        tr_ms=_first(frame.repetition_time, number(header, t.REPETITION_TIME)),
        ti_ms=_first(frame.inversion_time, number(header, t.INVERSION_TIME)),
        flip_deg=_first(frame.flip, number(header, t.FLIP_ANGLE)),
        field_t=field / 10_000 if field and field > 100 else field,  # some write gauss
        contrast=_contrast(header),
        image_type=frame.image_type,
        echo=part.echo,
        echoes=part.echoes,
        b_value=frame.b_value,
        body_part=text(header, t.BODY_PART),
        manufacturer=text(header, t.MANUFACTURER),
        number=int(series_number) if series_number is not None else None,
        orientations=part.directions,
        time_points=part.time_points,
        acquired=acquired(min(part.frames, key=lambda f: f.time or "~")),
        study_uid=frame.instance.study_uid,
        frame_of_reference=text(header, t.FRAME_OF_REFERENCE),
        **_grid_facts(grid),
    )


def _grid_facts(grid: Grid | None) -> dict[str, Any]:
    """As :func:`grid_facts`; the plane is that of the slices, which DICOM tells, whatever the spacing."""
    if grid is None:
        return {}
    return {**grid_facts(grid), "plane": plane_across(grid.orientation[2])}


def acquired(frame: Frame) -> datetime | None:
    """When the frame was measured, as closely as its header tells; None where it does not."""
    header = frame.instance.header
    pairs: tuple[tuple[str, str], ...] = (
        (text(header, t.ACQUISITION_DATE), frame.time),
        (text(header, t.ACQUISITION_DATETIME)[:8], text(header, t.ACQUISITION_DATETIME)[8:]),
        (text(header, t.CONTENT_DATE), text(header, t.CONTENT_TIME)),
        (text(header, t.SERIES_DATE), text(header, t.SERIES_TIME)),
        (text(header, t.STUDY_DATE), text(header, t.STUDY_TIME)),
    )
    if len(frame.time) > 13 and frame.time[:8].isdigit():  # enhanced: date and time in one
        pairs = ((frame.time[:8], frame.time[8:]), *pairs)
    return next((moment for day, time in pairs if (moment := _moment(day, time)) is not None), None)


def day(value: str) -> date | None:
    """A DICOM date; None for what is none."""
    digits = value.replace(".", "").replace("-", "")[:8]
    try:
        return datetime.strptime(digits, "%Y%m%d").date()
    except ValueError:
        return None


def _moment(on: str, at: str) -> datetime | None:
    date = day(on)
    digits = at.replace(":", "").split(".")[0].split("+")[0][:6]
    if date is None or not digits.isdigit() or len(digits) < 4:
        return None
    try:
        return datetime(date.year, date.month, date.day, int(digits[:2]), int(digits[2:4]), int(digits[4:6] or 0))
    except ValueError:
        return None


def _contrast(header: Any) -> str | None:
    """The contrast agent; "" where the element is there and empty, None where none is."""
    if t.CONTRAST_SEQUENCE in header:
        try:
            items = list(header[t.CONTRAST_SEQUENCE].value or ())
        except Exception:  # a damaged sequence tells nothing
            items = []
        named = [str(i.get("CodeMeaning", "") or "contrast agent") for i in items]
        if named:
            return ", ".join(named)
    return text(header, t.CONTRAST_AGENT) if t.CONTRAST_AGENT in header else None


def _first(*values: float | None) -> float | None:
    return next((v for v in values if v is not None), None)
