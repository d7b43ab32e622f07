"""`napari-brainseg report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.deidentifying import DeidentifyOption, KeyOption, WithFaceOption, deidentification
from brainseg_engine.cli.options import ImagesOption, JsonOption, ResultCodingOption, ResultsArgument
from brainseg_engine.cli.printing import messages, say, say_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from brainseg_engine.report.writing import ReportOutcome


def report(
    results: ResultsArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for the reports; made when it is not there.")],
    images: ImagesOption = None,
    prior: Annotated[
        Path | None,
        typer.Option("--prior", help="An earlier report (.json) of the patient, or a folder of them, to compare with."),
    ] = None,
    identity: Annotated[
        bool, typer.Option("--identity", help="Name, id and birth date in the header, from the study's DICOM files.")
    ] = False,
    date: Annotated[
        str,
        typer.Option(
            "--date", help="Day of the examination, as 2025-03-14: of images that do not tell it (only DICOM does)."
        ),
    ] = "",
    coding: ResultCodingOption = None,
    deidentify: DeidentifyOption = False,
    key: KeyOption = None,
    with_face: WithFaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Report on results: a page to read or print, with key images, volumes and RANO diameters, and its numbers as JSON and
    CSV. For several results index.html lists them. With --prior it tells what changed, and draws all known dates.

    The page needs nothing but itself: no network, no script.

    Examples:

      napari-brainseg report masks --images data --out reports
      napari-brainseg report patient1 --out reports --prior last_year/patient1_report.json
    """
    from brainseg_engine.core import labels
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.pacs.records import day_of
    from brainseg_engine.report.identity import of_study
    from brainseg_engine.report.sources import Result, find_results
    from brainseg_engine.report.writing import write_reports

    if coding is not None:
        labels.coding(coding)

    def whose(result: Result) -> Mapping[str, str] | None:
        folder = result.study.folder if result.study else images
        return of_study(folder, result.segmentation) if identity else None

    if identity and deidentify:
        raise InputError("--identity and --deidentify contradict each other. Leave one of them out.")
    hidden = deidentification(deidentify, key, with_face)
    sources = find_results(results, images)
    earlier, day = _prior(prior, len(sources)), day_of(date)
    if day is not None and len(sources) > 1:
        raise InputError(
            f"--date is of one examination, and {len(sources)} results are given. Report on them one by one."
        )
    written = write_reports(
        sources, out, coding=coding, prior=earlier, identity=whose, deidentify=hidden,
        examined=None if day is None else day.isoformat(),
    )  # fmt: skip
    _show(written, len(sources), as_json)


def _show(written: Iterable[ReportOutcome], count: int, as_json: bool) -> None:
    """Say of each report, as it is written, what became of it. Raises Exit where one failed."""
    from brainseg_engine.cli.printing import progress_bars
    from brainseg_engine.cli.stopping import terminate_as_interrupt

    console, rows = messages(), []
    with terminate_as_interrupt(), progress_bars(console) as bars:
        task = bars.add_task("reporting", total=count)
        for row in written:
            rows.append(row)
            bars.update(task, completed=len(rows))
            if not as_json:
                say(f"{row.status:8} {row.id}: {row.page or row.message}")
    if as_json:
        say_json({"results": [asdict(r) for r in rows]}, indent=None)
    failed = sum(r.status == "failed" for r in rows)
    if failed:
        console.print(f"{failed} of {len(rows)} reports failed.", highlight=False)
        raise typer.Exit(3)


def _prior(path: Path | None, results: int) -> Callable[[str], Mapping[str, Any] | None]:
    """Study id → the record of its earlier report, None where there is none. InputError for what is no report."""
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.report import record

    if path is None:
        return lambda _: None
    if path.is_dir():
        reports = {r["id"]: r for r in map(record.read, sorted(path.glob("*_report.json")))}
        if not reports:
            raise InputError(f"{path} holds no report (*_report.json). Name an earlier report.")
        return reports.get
    if results > 1:
        raise InputError(f"{path} is one report, and {results} results are given. Name the folder of the earlier ones.")
    one = record.read(path)
    return lambda _: one
