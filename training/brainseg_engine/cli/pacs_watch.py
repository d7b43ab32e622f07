"""`napari-brainseg pacs watch`: what a research node does with every new study, one at a time, resumable. It only pulls."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.options import DeviceOption, ModelOption
from brainseg_engine.cli.printing import say

if TYPE_CHECKING:
    from brainseg_engine.inference.batch import PredictOutcome
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.pacs.records import Query, StudyRow

STATE = "watch.json"
FORMAT = "napari-brainseg-watch/1"
ATTEMPTS = 3
"""How often a study that fails is tried."""


def watch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The connection, as set up.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for masks, DICOM objects and what was done; made when absent.")
    ],
    query: Annotated[
        str,
        typer.Option(
            "--query",
            help="Which studies: patient-id=, name=, accession=, since= (a date or 'today'), until=, modality=; with commas.",
        ),
    ] = "since=today",
    to: Annotated[
        str, typer.Option("--to", help="DICOM objects that are made of each result, as in 'export'.")
    ] = "seg,sr",
    send: Annotated[bool, typer.Option("--send", help="Send these objects to the study they belong to.")] = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    every: Annotated[float, typer.Option("--every", min=1, help="Seconds between two looks.")] = 60,
    once: Annotated[bool, typer.Option("--once", help="Look once, take what is there, and end.")] = False,
) -> None:
    """Watch a PACS: fetch each new study that fits, segment it, make DICOM objects, and send them back with --send.

    One study at a time. A study is taken when no more images of it have come since the last look (with --once: at once).
    Stopped or killed, it goes on where it was when it is called again. It asks the PACS, and listens on no port.

    Examples:

      napari-brainseg pacs watch archive --query since=today,modality=MR --out watched --send
    """
    from brainseg_engine import models
    from brainseg_engine.cli.further import further
    from brainseg_engine.cli.stopping import Stop
    from brainseg_engine.core import outputs
    from brainseg_engine.inference import batch
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.pacs import connections

    connections.find(name)
    wanted = query_of(query)
    write = further(to, out / "dicom", None)
    chosen = models.find(model or models.default())
    outputs.claim(out, outputs.Use.MASKS, need_bytes=batch.NEED_BYTES, made_before=batch.made_before)
    stop = Stop("Stopping after this study; press Ctrl-C again to stop at once.")
    with stop.listening():
        round_ = Round(name, out, write, send, Predictor(chosen, device), stop)
        if once:
            round_.look(wanted(), at_once=True)
        while not once and not stop():
            _look_and_wait(round_, wanted, every, stop)
    if once and round_.failed:
        raise typer.Exit(3)


def _look_and_wait(round_: Round, wanted: Callable[[], Query], seconds: float, stop: Callable[[], bool]) -> None:
    from brainseg_engine.core.errors import BrainsegError

    try:
        round_.look(wanted(), at_once=False)
    except BrainsegError as e:
        say(f"{e} Looking again in {seconds:.0f} s.", err=True)
    until = time.monotonic() + seconds
    while not stop() and time.monotonic() < until:
        time.sleep(min(0.5, seconds))


def query_of(text: str) -> Callable[[], Query]:
    """The query that a text like "since=today,modality=MR" means, made anew each day. Raises InputError."""
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.pacs.records import Query, day_of

    keys = ("patient-id", "name", "accession", "since", "until", "modality")
    values: dict[str, str] = {"modality": "MR"}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = (s.strip() for s in part.partition("="))
        if not equals or key not in keys:
            raise InputError(f"--query: '{part}' is to be one of {', '.join(f'{k}=' for k in keys)}.")
        values[key] = value

    def on(key: str) -> date | None:
        return date.today() if values.get(key) == "today" else day_of(values.get(key, ""))

    def made() -> Query:
        who = values.get("patient-id", ""), values.get("name", ""), values.get("accession", "")
        return Query(who[0], who[1], who[2], on("since"), on("until"), values["modality"])

    made()  # what is wrong is said at once
    return made


class Round:
    """Looks at the PACS, and works on what is new there; what was done stands in ``watch.json``, which is private."""

    def __init__(
        self,
        name: str,
        out: Path,
        write: Callable[[Path, PredictOutcome], list[Path]],
        send: bool,
        predictor: Predictor,
        stop: Callable[[], bool],
    ) -> None:
        """``write`` makes the objects of a study's folder and its outcome."""
        self._name, self._out, self._write, self._send = name, out, write, send
        self._predictor, self._stop = predictor, stop
        self._studies = _read(out / STATE)
        self.failed = 0

    def look(self, query: Query, *, at_once: bool) -> None:
        """Take the studies that fit, are complete and not done yet, one after the other. Raises InputError, OutputError."""
        from brainseg_engine.pacs import connected
        from brainseg_engine.pacs.searching import search

        if self._send:
            self._send_what_waits()
        with connected(self._name) as there:
            studies = list(search(there, query))
        for row in studies:
            if self._stop():
                return
            known = self._studies.get(row.uid, {})
            grows = row.uid not in self._studies or known.get("images") != row.images
            if known.get("status") == "done" or (known.get("attempts", 0) >= ATTEMPTS and not grows):
                continue
            if grows and not at_once:
                self._note(row, "arriving", attempts=0)
                continue
            self._take(row, known.get("attempts", 0) + 1)

    def _take(self, row: StudyRow, attempt: int) -> None:
        from brainseg_engine.core.errors import BrainsegError, Cancelled

        try:
            objects = self._segment(row)
        except Cancelled:
            return
        except BrainsegError as e:
            self.failed += 1
            self._note(row, "failed", attempts=attempt, message=str(e))
            say(f"failed   {row.uid}: {e}")
            return
        self._note(row, "done", attempts=attempt)
        say(f"done     {row.uid}: {' '.join(p.name for p in objects)}{' → ' + self._name if self._send else ''}")

    def _segment(self, row: StudyRow) -> list[Path]:
        """Fetch, segment, make the objects, send them. Raises BrainsegError."""
        from brainseg_engine.cli.pacs_work import fetched
        from brainseg_engine.core.errors import InputError
        from brainseg_engine.inference import batch
        from brainseg_engine.pacs import connected, outbox

        folder = fetched(self._name, row.uid, None, proposed=True).folder
        settings = batch.PredictSettings(self._out)
        (result,) = batch.predict_many(self._predictor, [folder], settings, lambda _: lambda _: None)
        batch.write_summary([result], self._out / "summary.csv")
        if result.status == "failed":
            raise InputError(result.message)
        objects = self._write(folder, result)
        if self._send:
            with connected(self._name) as there:
                for job in outbox.put(self._name, [p for p in objects if p.suffix == ".dcm"]):
                    outbox.study_at(there, job)
                    left = outbox.send(there, job).waiting
                    if left:
                        raise InputError(left[0].message)
        shutil.rmtree(folder, ignore_errors=True)
        return objects

    def _send_what_waits(self) -> None:
        from brainseg_engine.pacs import connected, outbox

        jobs = outbox.jobs(self._name)
        if jobs:
            with connected(self._name) as there:
                for job in jobs:
                    outbox.send(there, job, cancelled=self._stop)

    def _note(self, row: StudyRow, status: str, **more: Any) -> None:
        from brainseg_engine.core import records

        self._studies[row.uid] = {"status": status, "images": row.images, **more}
        record = {"format": FORMAT, "pacs": self._name, "studies": self._studies}
        records.write_json(self._out / STATE, record, private=True)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """What was done before. Raises InputError for a file that is none of ours."""
    from brainseg_engine.core import records
    from brainseg_engine.core.errors import InputError

    try:
        record: Mapping[str, Any] = records.read_object(path)
        if record["format"] != FORMAT:
            raise ValueError("of another version")
        return {str(uid): _known(known) for uid, known in record["studies"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as e:
        raise InputError(f"{path} does not tell what was done ({e}). Move it away, or name another folder.") from e


def _known(written: Mapping[str, Any]) -> dict[str, Any]:
    """What was noted of one study. Raises ValueError, TypeError."""
    known = dict(written)
    attempts, images = known.get("attempts", 0), known.get("images")
    if known["status"] not in ("arriving", "failed", "done") or type(attempts) is not int or attempts < 0 or (
        images is not None and type(images) is not int
    ):  # fmt: skip
        raise ValueError("what it tells of a study is damaged")
    return known
