"""`napari-brainseg pacs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.dispatch import CommandApp
from brainseg_engine.cli.options import JsonOption
from brainseg_engine.cli.pacs_watch import watch
from brainseg_engine.cli.printing import console, messages, progress_bars, say, say_json

if TYPE_CHECKING:
    from rich.table import Table

    from brainseg_engine.core.events import Progress
    from brainseg_engine.pacs.outbox import Job
    from brainseg_engine.pacs.records import SeriesRow, StudyRow

app = CommandApp()
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The connection, as set up.", show_default=False)]


@app.callback(invoke_without_command=True)
def pacs(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Find studies in a PACS, fetch them, send results back. Alone it lists the connections.

    Connections stand in pacs.toml in the user's folder (see the documentation, how-to-pacs) or are set up in the window.

    Examples:

      napari-brainseg pacs test archive
      napari-brainseg pacs find archive --name Müller --since 2025-03-01
      napari-brainseg pacs get archive 1.2.840.99.1 --out patient1
      napari-brainseg pacs send archive results/dicom
    """
    if ctx.invoked_subcommand is not None:
        return
    from brainseg_engine.pacs import connections

    known = connections.read()
    if as_json:
        say_json({"file": str(connections.file()), "connections": {n: c.model_dump() for n, c in known.items()}})
    elif known:
        for name, connection in known.items():
            say(f"{name:20} {connection.kind:9} {connection.where}")
    else:
        say(f"No connection is set up yet. Write it into {connections.file()}; see 'napari-brainseg pacs --help'.")


@app.command()
def test(name: NameArgument) -> None:
    """Test a connection, and say in words what is wrong with it: name, port, AE title, certificate, password."""
    from brainseg_engine.pacs import connected

    with connected(name) as there:
        say(there.test())


@app.command()
def login(
    name: NameArgument,
    key: Annotated[
        bool, typer.Option("--key", help="The passphrase of the certificate's key, not the password.")
    ] = False,
) -> None:
    """Ask for the password or token of a connection and keep it in the system's keyring; an empty one takes it out.

    Where there is no keyring, set the environment variable BRAINSEG_PACS_<NAME> instead.
    """
    from getpass import getpass

    from brainseg_engine.pacs import connections, secrets

    connections.find(name)
    secrets.require_keyring(name, "key" if key else "login")
    secret = getpass("Passphrase of the key: " if key else "Password or token: ")
    secrets.keep(name, secret, "key" if key else "login")
    say("Kept in the system's keyring." if secret else "Taken out of the system's keyring.")


@app.command()
def find(
    name: NameArgument,
    patient_id: Annotated[str, typer.Option("--patient-id", help="Patient's id.")] = "",
    patient: Annotated[
        str, typer.Option("--name", help="Patient's name or its beginning; * and ? are wildcards.")
    ] = "",
    accession: Annotated[str, typer.Option("--accession", help="Accession number.")] = "",
    since: Annotated[str, typer.Option("--since", help="First study date, as 2025-03-14.")] = "",
    until: Annotated[str, typer.Option("--until", help="Last study date.")] = "",
    modality: Annotated[str, typer.Option("--modality", help="MR, SEG, …; '' for any.")] = "MR",
    study: Annotated[str, typer.Option("--study", help="A StudyInstanceUID: lists its series.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the studies that fit, or the series of one study (--study)."""
    from brainseg_engine.pacs import connected
    from brainseg_engine.pacs.records import MOST_STUDIES, Query, day_of
    from brainseg_engine.pacs.searching import search

    query = Query(patient_id, patient, accession, day_of(since), day_of(until), modality)
    with connected(name) as there:
        if study:
            series = there.series(_uid(study))
            say_json({"series": [asdict(s) for s in series]}) if as_json else console().print(_series_table(series))
            return
        studies = _found(search(there, query), quiet=as_json)
    if as_json:
        say_json({"studies": [asdict(s) for s in studies]})
    elif studies:
        console().print(_study_table(studies))
    else:
        say("No study fits.")
    if len(studies) == MOST_STUDIES:
        say(f"Only the first {MOST_STUDIES} are listed: narrow the search.", err=True)


@app.command()
def get(
    name: NameArgument,
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="StudyInstanceUID, or an accession number.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the images, for the user alone; made when it is not there.")
    ],
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series", help="Number, UID or part of the description of a series; may be repeated. Default: all MR."
        ),
    ] = None,
    proposed: Annotated[
        bool, typer.Option("--proposed", help="Only the series that can be T1, T1ce, T2 or FLAIR, by their tags.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch series of a study. What is there already is not fetched again: called anew it goes on where it stopped."""
    from brainseg_engine.cli.pacs_work import fetched
    from brainseg_engine.core.errors import InputError

    if series and proposed:
        raise InputError("--series and --proposed contradict each other. Give one of them.")
    received = fetched(name, study, out, series or [], proposed=proposed)
    if as_json:
        say_json(
            {
                "folder": str(received.folder),
                "images": received.images,
                "new": received.new,
                "notes": list(received.notes),
            }
        )
    else:
        say(f"{received.folder}: {received.images} images ({received.new} fetched now).")
    for note in received.notes:
        say(note, err=True)


@app.command()
def send(
    name: NameArgument,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE", help="DICOM objects, or folders of them (*.dcm); none: what waits.", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    new_study: Annotated[
        bool, typer.Option("--new-study", help="Also where the PACS does not have the study.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Send results (SEG, SR, PDF, …) to the study they belong to. On a terminal it shows what goes where, and asks.

    What fails is kept, and sent again by 'napari-brainseg pacs send NAME' without files; the PACS never gets it twice.
    """
    from brainseg_engine.cli.stopping import Stop
    from brainseg_engine.pacs import connected, connections, outbox

    connections.find(name)
    jobs = outbox.put(name, files) if files else outbox.jobs(name)
    if not jobs:
        say("Nothing waits to be sent.")
        return
    stop = Stop("Stopping after this object; press Ctrl-C again to stop at once.")
    rows: list[dict[str, Any]] = []
    with connected(name) as there, stop.listening(), progress_bars(messages()) as bars:
        for job in jobs:
            study = outbox.study_at(there, job, new_study=new_study)
            if not yes and sys.stdin.isatty():
                bars.stop()
                say(_what_goes_where(name, job, study))
                typer.confirm("Send it?", abort=True)
                bars.start()
            task = bars.add_task("sending", total=1.0)
            job = outbox.send(there, job, partial(_follow, bars, task), stop)
            rows += [{"study": job.study_uid, **asdict(i)} for i in job.items]
    _tell_sent(rows, as_json)


@app.command()
def drop(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give up what waits to be sent to a PACS: it is deleted here."""
    from brainseg_engine.pacs import outbox

    jobs = outbox.jobs(name)
    if jobs and not yes:
        typer.confirm(f"Delete {sum(len(j.waiting) for j in jobs)} objects that were not sent?", abort=True)
    for job in jobs:
        outbox.drop(job)
    say(f"{len(jobs)} sendings were given up." if jobs else "Nothing waits to be sent.")


app.command()(watch)


def _follow(bars: Any, task: Any, event: Progress) -> None:
    bars.update(task, completed=event.fraction)


def _uid(text: str) -> str:
    from brainseg_engine.pacs.records import uid_of

    return uid_of(text, "study", "The call")


def _found(studies: Any, quiet: bool) -> list[StudyRow]:
    """All that are found, counted on a terminal while they arrive."""
    items = []
    with progress_bars(messages()) as bars:
        task = bars.add_task("searching", total=None)
        for row in studies:
            items.append(row)
            if not quiet:
                bars.update(task, description=f"searching: {len(items)} found")
    return items


def _study_table(studies: Sequence[StudyRow]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in (
        "date",
        "patient id",
        "name",
        "description",
        "accession",
        "kinds",
        "series",
        "images",
        "StudyInstanceUID",
    ):
        table.add_column(heading, min_width=64 if heading == "StudyInstanceUID" else None, overflow="fold")
    for s in studies:
        counts = ["" if n is None else str(n) for n in (s.series, s.images)]
        table.add_row(s.day, s.patient_id, s.name, s.description, s.accession, ",".join(s.modalities), *counts, s.uid)
    return table


def _series_table(series: Sequence[SeriesRow]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("number", "kind", "description", "images", "SeriesInstanceUID"):
        table.add_column(heading, min_width=64 if heading == "SeriesInstanceUID" else None, overflow="fold")
    for s in series:
        counts = ["" if n is None else str(n) for n in (s.number, s.images)]
        table.add_row(counts[0], s.modality, s.description, counts[1], s.uid)
    return table


def _what_goes_where(name: str, job: Job, study: StudyRow | None) -> str:
    where = (
        f"the study {study.day} {study.description} of {study.name} ({study.patient_id})" if study else "a new study"
    )
    objects = "\n".join(f"  {i.modality:10} {i.description}" for i in job.waiting)
    return f"To {name}, {where} [{job.study_uid}]:\n{objects}"


def _tell_sent(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        say_json({"objects": list(rows)})
    else:
        for row in rows:
            say(
                f"{'sent' if row['sent'] else 'refused':8} {row['modality']:9} {row['description']}  {row['message']}".rstrip()
            )
    refused = sum(not r["sent"] for r in rows)
    if refused:
        say(f"{refused} of {len(rows)} objects were refused; they are kept, and can be sent again.", err=True)
        raise typer.Exit(3)
