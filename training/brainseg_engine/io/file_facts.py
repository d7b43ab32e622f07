"""What is known of an image file before its voxels: its grid, its name, and the JSON file that converters write beside it.

The sidecar is that of BIDS and dcm2niix (times in seconds, the scanner's words). A sidecar that is damaged tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.records import read_object
from brainseg_engine.core.series import SeriesFacts, grid_facts
from brainseg_engine.io.formats import read_header
from brainseg_engine.io.naming import entities, stem

_SIDECAR_BYTES = 2**22


def file_facts(path: Path) -> SeriesFacts:
    """The facts of one image file. Raises InputError where its header cannot be read."""
    header = read_header(path)
    told = _sidecar(path)
    name = stem(path.name)
    return SeriesFacts(
        id=str(path),
        label=path.name,
        description=name,
        protocol=_text(told, "SeriesDescription") or _text(told, "ProtocolName"),
        modality=_text(told, "Modality") or "MR",
        scanning_sequence=_words(told, "ScanningSequence"),
        sequence_variant=_words(told, "SequenceVariant"),
        sequence_name=_text(told, "SequenceName") or _text(told, "PulseSequenceName"),
        acquisition_type=_text(told, "MRAcquisitionType"),
        te_ms=_ms(told, "EchoTime"),
        tr_ms=_ms(told, "RepetitionTime"),
        ti_ms=_ms(told, "InversionTime"),
        flip_deg=_number(told, "FlipAngle"),
        field_t=_number(told, "MagneticFieldStrength"),
        contrast=next((_text(told, k) for k in ("ContrastBolusIngredient", "ContrastBolusAgent") if k in told), None),
        image_type=_words(told, "ImageType"),
        body_part=_text(told, "BodyPartExamined") or _text(told, "BodyPart"),
        manufacturer=_text(told, "Manufacturer"),
        time_points=header.channels,
        file_name=path.name,
        entities=entities(path.name),
        acquired=_acquired(told),
        **grid_facts(header.grid),
    )


def _sidecar(path: Path) -> Mapping[str, Any]:
    try:
        return read_object(path.with_name(f"{stem(path.name)}.json"), most=_SIDECAR_BYTES)
    except (OSError, ValueError, InputError):
        return {}


def _text(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key)
    return value[:200] if isinstance(value, str) else ""


def _words(told: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = told.get(key)
    if isinstance(value, str):
        value = value.replace("_", "\\").split("\\")
    return tuple(v[:64] for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _number(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6
    return float(value) if usable else None  # type: ignore[arg-type]


def _ms(told: Mapping[str, Any], key: str) -> float | None:
    seconds = _number(told, key)
    return None if seconds is None else 1000 * seconds


def _acquired(told: Mapping[str, Any]) -> datetime | None:
    """When it was measured; of a sidecar without a date, on an arbitrary day (within one exam the order is the same)."""
    for key, form in (("AcquisitionDateTime", "{}"), ("AcquisitionTime", "2000-01-01T{}")):
        try:
            return datetime.fromisoformat(form.format(_text(told, key)[:26]))
        except ValueError:
            continue
    return None
