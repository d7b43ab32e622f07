"""A row a study, and the table of them: ``summary.csv``, which several processes may write into."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import atomic
from brainseg_engine.core.text import printable
from brainseg_engine.io.derived.pseudonyms import Pseudonyms

SUMMARY = "summary.csv"
_UNITS = ("ml", "voxels")


@dataclass(frozen=True)
class PredictOutcome:
    """One study in the summary; ``status`` is done, skipped or failed. Seconds are for the whole study.

    Volumes are in mL, or in voxels where the study does not tell the size of those.
    """

    id: str
    status: str
    message: str = ""
    output: str = ""
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    volumes_voxels: Mapping[str, int] = field(default_factory=dict)


def hidden(row: PredictOutcome, pseudonyms: Pseudonyms | None) -> PredictOutcome:
    """The row as a de-identified summary may hold it: without what names files and folders."""
    if pseudonyms is None:
        return row
    id_ = pseudonyms.patient(row.id) if row.status == "failed" else row.id
    return replace(row, id=id_, message="", output=Path(row.output).name)


def write_summary(rows: Sequence[PredictOutcome], path: Path) -> None:
    """All rows as CSV, a column per region's volume (in mL, or in voxels).

    Rows of earlier calls and of other processes stay, unless a study stands here anew. Raises OutputError, for a table of
    another program too.
    """
    with held(path.with_name(".summary.lock")):
        table = {r["id"]: r for r in _earlier(path)}
        for row in rows:
            values = asdict(row)
            volumes = {f"{r}_{unit}": v for unit in _UNITS for r, v in values.pop(f"volumes_{unit}").items()}
            shown = {k: printable(v) if isinstance(v, str) else v for k, v in (values | volumes).items()}
            table[shown["id"]] = shown
        measured = [c for c in dict.fromkeys(c for r in table.values() for c in r) if c.endswith(_UNITS)]
        with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, [*_COLUMNS, *measured], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(table.values())


_COLUMNS = [f.name for f in fields(PredictOutcome) if not f.name.startswith("volumes_")]


def _earlier(path: Path) -> list[dict[str, Any]]:
    """The rows that are there. Raises OutputError for a table that is none of ours."""
    try:
        lines = plain.read(path).decode("utf-8", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as e:
        raise OutputError(f"{path} cannot be read: {e.strerror or e}. Move it away.") from e
    reader = csv.DictReader(lines)
    try:
        if lines and not set(_COLUMNS) <= set(reader.fieldnames or ()):
            raise OutputError(f"{path} is no summary of this program, and would be lost. Move it away.")
        return [row for row in reader if row.get("id")]
    except csv.Error as e:
        raise OutputError(f"{path} is damaged ({e}). Move it away.") from e


def complete_summary(rows: Sequence[PredictOutcome], path: Path) -> None:
    """Add those of the rows whose studies the table lacks. Raises OutputError."""
    there = {r["id"] for r in _earlier(path)}
    missing = [r for r in rows if printable(r.id) not in there]
    if missing:
        write_summary(missing, path)
