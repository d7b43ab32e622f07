"""A row a study, and the table of them: ``summary.csv``, which several processes may write into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from brainseg_engine.core.tables import add_rows, rows_of
from brainseg_engine.core.text import printable

SUMMARY = "summary.csv"
_UNITS = ("ml", "voxels", "low_ml", "high_ml")
_CONFIDENCE = "confidence"


@dataclass(frozen=True)
class PredictOutcome:
    """One study in the summary; ``status`` is done, skipped or failed. Seconds are for the whole study.

    Volumes are in mL, or in voxels where the study does not tell the size of those; of a calibrated model between which limits
    the true ones lie in nine of ten cases, and the mean Dice that it expects of its answer.
    """

    id: str
    status: str
    message: str = ""
    output: str = ""
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    volumes_voxels: Mapping[str, int] = field(default_factory=dict)
    volumes_low_ml: Mapping[str, float] = field(default_factory=dict)
    volumes_high_ml: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None


def write_summary(rows: Sequence[PredictOutcome], path: Path) -> None:
    """All rows as CSV, a column per region's volume (in mL, or in voxels) and its limits, and one for the confidence.

    Rows of earlier calls and of other processes stay, unless a study stands here anew. Raises OutputError, for a table of
    another program too.
    """
    add_rows(path, map(_columns, rows), _COLUMNS, lambda column: column == _CONFIDENCE or column.endswith(_UNITS))


_COLUMNS = [f.name for f in fields(PredictOutcome) if f.name != _CONFIDENCE and not f.name.startswith("volumes_")]
"""Of every table, those of earlier versions too."""


def _columns(row: PredictOutcome) -> dict[str, Any]:
    values = asdict(row)
    if row.confidence is None:
        del values[_CONFIDENCE]
    return values | {f"{r}_{unit}": v for unit in _UNITS for r, v in values.pop(f"volumes_{unit}").items()}


def complete_summary(rows: Sequence[PredictOutcome], path: Path) -> None:
    """Add those of the rows whose studies the table lacks. Raises OutputError."""
    there = {r["id"] for r in rows_of(path, _COLUMNS)}
    missing = [r for r in rows if printable(r.id) not in there]
    if missing:
        write_summary(missing, path)
