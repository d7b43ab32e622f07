"""Reports on the disk: a page, its numbers as JSON and CSV, and for several results a page that lists them."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainseg_engine.core import outputs
from brainseg_engine.core.errors import BrainsegError, Cancelled
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.paths import atomic, check_writable
from brainseg_engine.core.study import Study
from brainseg_engine.io.sidecars import read_sidecar
from brainseg_engine.report import growth
from brainseg_engine.report import record as records
from brainseg_engine.report.hidden import Deidentify, hide, hide_prior, moved_day, moved_now
from brainseg_engine.report.html import Entry, index_page, report_page
from brainseg_engine.report.identity import examined_on, first_instance
from brainseg_engine.report.pictures import Picture, key_images, view_3d
from brainseg_engine.report.sources import ReportSource, Result, load_result

NEED_BYTES = 8 << 20
"""Room for one report."""

CSV_COLUMNS = ("id", "region", "lesion", "quantity", "unit", "value")

_log = logging.getLogger(__name__)
Identify = Callable[[Result], Mapping[str, str] | None]


@dataclass(frozen=True)
class ReportOutcome:
    """One result: "done" with the page, or "failed" with the reason."""

    id: str
    status: str
    message: str = ""
    page: str = ""


def write_report(result: Result, out: Path, *, prior: Mapping[str, Any] | None = None,
                 identity: Mapping[str, str] | None = None, deidentify: Deidentify | None = None,
                 examined: str | None = None) -> Entry:  # fmt: skip
    """Write ``<id>_report.html``, ``.json`` and ``.csv`` into the folder ``out``, which is made: each whole or not at all.

    ``prior`` is the record of an earlier result of the patient, ``examined`` the day of the examination (2025-03-14) where the
    images' headers are not to be asked. With ``deidentify`` nothing of them, their names included,
    tells whose they are. Raises InputError where a face cannot be taken out or the prior is the later one, OutputError.
    """
    check_writable(out, NEED_BYTES)
    now, day = None, examined or examined_on(result.study.reference if result.study else None)
    if deidentify is not None:
        instance = first_instance(result)
        pseudonym, id_ = deidentify.of_id(result.id) if instance is None else deidentify.of_instance(instance)
        result, identity = hide(result, id_, deidentify), None
        prior, now = hide_prior(prior, deidentify, pseudonym.shift), moved_now(pseudonym.shift)
        day = moved_day(day, pseudonym.shift)
    record = records.build(
        result.segmentation, result.study, id=result.id, sidecar=result.sidecar, prior=prior, identity=identity, now=now,
        deidentified=deidentify is not None, examined=day,
    )  # fmt: skip
    pictures = pictures_of(result, record)
    name = f"{file_stem(result.id)}_report"
    _write(out / f"{name}.html", report_page(record, pictures))
    _write(out / f"{name}.json", json.dumps(record, indent=2, ensure_ascii=True) + "\n")
    write_csv([record], out / f"{name}.csv")
    return Entry(f"{name}.html", record, pictures[0] if pictures else None)


def earlier_record(study: Study) -> records.Record | None:
    """The record of an earlier study of the patient, to be compared with; None where it has no mask.

    Measured anew; the day of the examination, and what was known before it, also from a report that lies beside the mask.
    """
    if study.segmentation is None:
        return None
    path, told = study.segmentation.path, None
    beside = path.parent / f"{file_stem(study.id)}_report.json" if path else None
    if beside is not None and beside.is_file():
        with contextlib.suppress(BrainsegError):  # of somebody else
            told = records.read(beside)
    day = examined_on(study.reference) or (told or {}).get("examined")
    made = records.build(study.segmentation, study, sidecar=read_sidecar(path) if path else {}, examined=day)
    return made | {"history": [p for p in growth.history(told) if day is None or p["date"] < day]}


def pictures_of(result: Result, record: Mapping[str, Any]) -> list[Picture]:
    """The key images and the 3D view; only the latter where the images were not given."""
    slices = key_images(result.study, result.segmentation, record) if result.study is not None else []
    solid = view_3d(result.segmentation, result.study)
    return [*slices, *([solid] if solid else [])]


def write_reports(
    sources: Sequence[ReportSource],
    out: Path,
    *,
    coding: str | None = None,
    prior: Callable[[str], Mapping[str, Any] | None] = lambda _: None,
    identity: Identify = lambda _: None,
    deidentify: Deidentify | None = None,
    examined: str | None = None,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> Iterator[ReportOutcome]:
    """Yield a row per result as it is written; several get ``index.html`` and ``measurements.csv`` at the end.

    One that fails does not stop the others. Raises OutputError before the first when nothing can be written, Cancelled
    between two; what was written stays.
    """
    outputs.claim(out, outputs.Use.REPORT, need_bytes=NEED_BYTES, beside=True)
    entries: list[Entry] = []
    for n, source in enumerate(sources):
        if cancelled():
            raise Cancelled("Cancelled; the reports written so far are kept.")
        progress(Progress(source.id, n / len(sources)))
        try:
            result = load_result(source, coding)
            entry = write_report(result, out, prior=prior(result.id), identity=identity(result), deidentify=deidentify,
                                 examined=examined)  # fmt: skip
        except BrainsegError as e:
            yield ReportOutcome(source.id, "failed", str(e))
        except Exception as e:  # a bug met by one result: the others are worth going on for
            _log.debug("%s failed", source.id, exc_info=True)
            yield ReportOutcome(
                source.id, "failed", f"Unexpected {type(e).__name__}: {e}. Run it again with -v for the details."
            )
        else:
            entries.append(entry)
            yield ReportOutcome(source.id, "done", page=str(out / entry.file))
    if len(entries) > 1:
        _write(out / "index.html", index_page(entries))
        write_csv([e.record for e in entries], out / "measurements.csv")


def write_csv(all_records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The numbers of the records, one a line (:func:`record.quantities`); what is not measured is an empty field."""
    with atomic(path) as part, part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as f:
        writer = csv.DictWriter(f, CSV_COLUMNS)
        writer.writeheader()
        for record in all_records:
            writer.writerows({"id": _cell(record["id"]), **row} for row in records.quantities(record))


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def file_stem(id_: str) -> str:
    """The id as a file's name: what a file system or a link may not take becomes a line."""
    kept = "".join(c if c.isprintable() and c not in '<>:"/\\|?*#%' else "_" for c in id_).strip(". ")
    return kept[:120] or "report"


def _write(path: Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
