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
    sidecar = _sidecar(path)
    name = stem(path.name)
    return SeriesFacts(
        id=str(path),
        label=path.name,
        description=name,
        protocol=_text(sidecar, "SeriesDescription") or _text(sidecar, "ProtocolName"),
        modality=_text(sidecar, "Modality") or "MR",
        scanning_sequence=_words(sidecar, "ScanningSequence"),
        sequence_variant=_words(sidecar, "SequenceVariant"),
        sequence_name=_text(sidecar, "SequenceName") or _text(sidecar, "PulseSequenceName"),
        acquisition_type=_text(sidecar, "MRAcquisitionType"),
        te_ms=_ms(sidecar, "EchoTime"),
        tr_ms=_ms(sidecar, "RepetitionTime"),
        ti_ms=_ms(sidecar, "InversionTime"),
        flip_deg=_number(sidecar, "FlipAngle"),
        field_t=_number(sidecar, "MagneticFieldStrength"),
        contrast=next(
            (_text(sidecar, k) for k in ("ContrastBolusIngredient", "ContrastBolusAgent") if k in sidecar), None
        ),
        image_type=_words(sidecar, "ImageType"),
        body_part=_text(sidecar, "BodyPartExamined") or _text(sidecar, "BodyPart"),
        manufacturer=_text(sidecar, "Manufacturer"),
        time_points=header.channels,
        file_name=path.name,
        entities=entities(path.name),
        acquired=_acquired(sidecar),
        **grid_facts(header.grid),
    )


def _sidecar(path: Path) -> Mapping[str, Any]:
    try:
        return read_object(path.with_name(f"{stem(path.name)}.json"), most=_SIDECAR_BYTES)
    except (OSError, ValueError, InputError):
        return {}


def _text(sidecar: Mapping[str, Any], key: str) -> str:
    value = sidecar.get(key)
    return value[:200] if isinstance(value, str) else ""


def _words(sidecar: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = sidecar.get(key)
    if isinstance(value, str):
        value = value.replace("_", "\\").split("\\")
    return tuple(v[:64] for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _number(sidecar: Mapping[str, Any], key: str) -> float | None:
    value = sidecar.get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6
    return float(value) if usable else None  # type: ignore[arg-type]


def _ms(sidecar: Mapping[str, Any], key: str) -> float | None:
    seconds = _number(sidecar, key)
    return None if seconds is None else 1000 * seconds


def _acquired(sidecar: Mapping[str, Any]) -> datetime | None:
    """When it was measured; of a sidecar without a date, on an arbitrary day (within one exam the order is the same)."""
    for key, form in (("AcquisitionDateTime", "{}"), ("AcquisitionTime", "2000-01-01T{}")):
        try:
            return datetime.fromisoformat(form.format(_text(sidecar, key)[:26]))
        except ValueError:
            continue
    return None
