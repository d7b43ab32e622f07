"""Many studies prepared unattended: one failure is one row with its reason, and a second call skips what is done."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields, replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from brainseg_engine.core import outputs
from brainseg_engine.core.errors import BrainsegError, Cancelled, InputError, OutputError
from brainseg_engine.core.events import CancelCheck, ProgressCallback, never, silent
from brainseg_engine.core.study import Study
from brainseg_engine.core.tables import add_rows
from brainseg_engine.io import load_study
from brainseg_engine.io.derived.pseudonyms import Pseudonyms
from brainseg_engine.prepare import files
from brainseg_engine.prepare.faceless import faceless
from brainseg_engine.prepare.pipeline import STRIPPED, PrepareOptions, prepare
from brainseg_engine.studies.assignment import Wanted
from brainseg_engine.studies.incoming import ANY, Which, find_study, study_id
from brainseg_engine.studies.pseudonymous import renamed

_log = logging.getLogger(__name__)
SUMMARY = "prepared.csv"


@dataclass(frozen=True)
class PrepareOutcome:
    """One study in the summary; ``status`` is done, doubtful (prepared, but look at it), skipped or failed.

    ``message`` says what is doubtful or why it failed, ``output`` is the folder, ``lowest_peak`` the worst alignment.
    """

    id: str
    status: str
    message: str = ""
    output: str = ""
    reference: str = ""
    lowest_peak: float | None = None
    brain_ml: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class PrepareSettings:
    """What the caller chose. ``assign``: series named by hand, for every study; ``pseudonyms``: nothing that is written
    tells whose it is, and with ``face`` False none is left in the images; ``which`` of several patients and visits."""

    out: Path
    options: PrepareOptions
    overwrite: bool = False
    assign: Wanted = field(default_factory=dict)
    pseudonyms: Pseudonyms | None = None
    face: bool = False
    which: Which = ANY


def prepare_many(
    sources: Sequence[Path],
    settings: PrepareSettings,
    *,
    jobs: int = 1,
    progress: Callable[[Path], ProgressCallback] = lambda _: silent,
) -> Iterator[PrepareOutcome]:
    """Yield one row a study as it ends, with ``jobs`` processes at once.

    Raises OutputError at once when nothing can be written. On KeyboardInterrupt no half study is left, and what was
    finished stays.
    """
    outputs.claim(settings.out, outputs.Use.CASES, need_bytes=files.NEED_BYTES)
    unique, repeated = _by_id(sources, settings)
    yield from repeated
    if jobs <= 1:
        for source in unique:
            yield row_of(source, settings, progress(source))
        return
    yield from _in_processes(unique, settings, jobs)


def row_of(
    source: Path, settings: PrepareSettings, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> PrepareOutcome:
    """Prepare one study into ``settings.out`` unless that was done. Raises Cancelled."""
    began = time.perf_counter()
    name = source.resolve().name
    try:
        series = find_study(source, settings.assign, which=settings.which, progress=progress, cancelled=cancelled)
        study = load_study(renamed(series, settings.pseudonyms), segmentation=False)
        identity = identity_of(study, settings.options, settings.pseudonyms)
        if (done := _done_before(study, identity, settings)) is not None:
            return done
        prepared = prepare(study, settings.options, progress=progress, cancelled=cancelled)
        if settings.pseudonyms is not None and not settings.face and prepared.choices.get("brain") == STRIPPED:
            prepared = replace(prepared, study=faceless(prepared.study, cancelled=cancelled))
        if series.notes:
            prepared = replace(prepared, warnings=(*(f"{n.rstrip('.')}." for n in series.notes), *prepared.warnings))
        folder = files.save(prepared, settings.out, identity)
    except Cancelled:
        raise
    except BrainsegError as e:
        return PrepareOutcome(name, "failed", str(e))
    except Exception as e:  # a bug met by one study: the others are worth going on for
        _log.debug("%s failed", name, exc_info=True)
        return PrepareOutcome(
            name, "failed", f"Unexpected {type(e).__name__}: {e}. Run it again with -v for the details."
        )
    return replace(_row(study.id, files.read_record(folder), folder), seconds=round(time.perf_counter() - began, 1))


def identity_of(study: Study, options: PrepareOptions, pseudonyms: Pseudonyms | None = None) -> dict[str, Any]:
    """What must be equal for a prepared study to count as done: its images and what was chosen."""
    images = {
        m.value: v.sha256 if pseudonyms is None else pseudonyms.digest(v.sha256) for m, v in study.volumes.items()
    }
    return {"images": images, "options": options.to_dict()}


def write_summary(rows: Sequence[PrepareOutcome], path: Path) -> None:
    """All rows as CSV. Rows of earlier calls stay, unless a study stands here anew. Raises OutputError."""
    add_rows(path, map(asdict, rows), [x.name for x in fields(PrepareOutcome)])


def _in_processes(sources: Sequence[Path], settings: PrepareSettings, jobs: int) -> Iterator[PrepareOutcome]:
    """One thread a process: two studies at once are quicker than two threads on one."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    single = replace(settings, options=replace(settings.options, threads=1))
    pool = ProcessPoolExecutor(jobs, context, _begin, (stop,))
    try:
        running: list[Future[PrepareOutcome]] = [pool.submit(_in_process, source, single) for source in sources]
        for ended in as_completed(running):
            yield ended.result()
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_stop: Event | None = None  # of this worker process, set as it begins


def _begin(stop: Event) -> None:
    """A worker process: it is stopped by the event, not by the terminal's Ctrl-C, so that it can clean up."""
    import signal

    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


def _in_process(source: Path, settings: PrepareSettings) -> PrepareOutcome:
    return row_of(source, settings, cancelled=_stop.is_set if _stop is not None else never)


def _by_id(sources: Sequence[Path], settings: PrepareSettings) -> tuple[list[Path], list[PrepareOutcome]]:
    """The sources whose study id is their own, and a failed row for each of the others."""
    taken: dict[str, Path] = {}
    rows = []
    for source in sources:
        name = source.resolve().name
        try:
            id_ = study_id(source, settings.assign, settings.which)
            if id_ in taken:
                raise InputError(
                    f"{source} and {taken[id_]} have the same study id '{id_}'. Prepare them into two --out folders."
                )
        except BrainsegError as e:
            rows.append(PrepareOutcome(name, "failed", str(e)))
        else:
            taken[id_] = source
    return list(taken.values()), rows


def _done_before(study: Study, identity: Mapping[str, Any], settings: PrepareSettings) -> PrepareOutcome | None:
    """The row of an equal result that is there already, else None. Raises OutputError when another result is."""
    folder = settings.out / study.id
    if settings.overwrite or not (folder / files.RECORD).is_file():
        return None
    record = files.read_record(folder)
    if record.get("made_from") != identity:
        raise OutputError(
            f"{folder} exists and was prepared from other images or in another way. Add --overwrite to replace it, or name "
            "another --out folder."
        )
    return replace(_row(study.id, record, folder), status="skipped", message="done before")


def _row(id_: str, record: Mapping[str, Any], folder: Path) -> PrepareOutcome:
    peaks = [s["quality"]["peak"] for s in record["series"].values() if s.get("quality")]
    warnings = " ".join(record["warnings"])
    return PrepareOutcome(
        id_, "doubtful" if warnings else "done", warnings, str(folder), record["reference"],
        min(peaks) if peaks else None, record["brain_ml"],
    )  # fmt: skip
