"""What `predict` writes besides masks: their report, and what `export` writes, from one command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brainseg_engine.inference.batch import PredictOutcome
    from brainseg_engine.report.hidden import Deidentify

REPORT = "report"


def further(formats: str, out: Path, deidentify: Deidentify | None) -> Callable[[Path, PredictOutcome], list[Path]]:
    """A function of a study and its row of `predict`: it writes these formats (with commas) into ``out``, and returns the files.

    Raises InputError at once for a format there is not or whose libraries are missing; the function raises what exports do.
    """
    from brainseg_engine.report import exporting
    from brainseg_engine.report.sources import ReportSource, load_result
    from brainseg_engine.report.writing import write_report
    from brainseg_engine.studies.incoming import is_export

    hidden = None if deidentify is None else replace(deidentify, named=True)
    wanted = [f.strip().lower() for f in formats.split(",") if f.strip()]
    others = [f for f in wanted if f != REPORT]
    exporting.check_formats(others)

    def write(study: Path, row: PredictOutcome) -> list[Path]:
        result = load_result(ReportSource(row.id, Path(row.output), study))
        onto = exporting.Onto(study) if is_export(study) else None
        files = exporting.export(result, others, out, onto, hidden) if others else []
        if REPORT in wanted:
            files.append(out / write_report(result, out, deidentify=hidden).file)
        return files

    return write
