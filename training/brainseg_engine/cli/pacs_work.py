"""What several commands do with a PACS: fetch a study, under a bar, and stop when asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg_engine.cli.printing import messages, progress_bars

if TYPE_CHECKING:
    from brainseg_engine.pacs.records import Pacs
    from brainseg_engine.pacs.retrieving import Fetched

PREFIX = "pacs:"


def fetched(name: str, study: str, out: Path | None, wanted: Sequence[str] = (), *, proposed: bool = False) -> Fetched:
    """Fetch series of that study (its UID, or an accession number) into ``out`` (None: its private place), with a bar.

    ``wanted`` names series, ``proposed`` takes those that can be one of the four; else all MR series. Raises InputError for a
    study that is not there, and for an accession number of several.
    """
    from brainseg_engine.cli.stopping import Stop
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.pacs import choosing, connected
    from brainseg_engine.pacs.retrieving import fetch, place

    stop = Stop("Stopping; what came is kept. Press Ctrl-C again to stop at once.")
    with connected(name) as there, stop.listening(), progress_bars(messages()) as bars:
        task = bars.add_task("looking the study up", total=1.0)

        def follow(event: object) -> None:
            bars.update(task, completed=getattr(event, "fraction", 0.0), description=getattr(event, "stage", ""))

        uid = study_of(there, study)
        series = there.series(uid)
        folder = out or place(name, uid)
        if wanted:
            chosen = choosing.named(series, wanted)
        elif proposed:
            chosen = choosing.by_tags(there, series, folder, cancelled=stop)
        else:
            chosen = choosing.images_of(series)
        if not chosen:
            has = ", ".join(f"{s.modality} {s.description}".strip() for s in series[:10])
            raise InputError(f"{name}: the study {uid} has no MR series to take. It has {has or 'no series at all'}.")
        return fetch(there, chosen, folder, follow, stop)


def study_of(there: Pacs, asked: str) -> str:
    """The UID of the study that is meant by its UID or its accession number. Raises InputError."""
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.pacs.records import Query

    asked = asked.strip()
    queries = [Query(accession=asked, modality="")]
    if asked.replace(".", "").isdigit() and len(asked) <= 64:
        queries.insert(0, Query(study_uid=asked, modality=""))
    for query in queries:
        studies = list(there.studies(query))
        if len(studies) == 1:
            return studies[0].uid
        if studies:
            listed = "; ".join(f"{s.day} {s.description} [{s.uid}]" for s in studies[:10])
            raise InputError(
                f"{there.name} has {len(studies)} studies with the accession number {asked}: {listed}. Name one by its UID."
            )
    raise InputError(f"{there.name} has no study '{asked[:70]}', neither as StudyInstanceUID nor as accession number.")


def divided(studies: Sequence[Path]) -> tuple[list[tuple[str, str]], list[Path]]:
    """The arguments of the form pacs:NAME/STUDY as (name, study), and the others. Raises InputError."""
    remote = [_name_and_study(s) for s in studies if str(s).startswith(PREFIX)]
    return remote, [s for s in studies if not str(s).startswith(PREFIX)]


def _name_and_study(source: Path) -> tuple[str, str]:
    from brainseg_engine.core.errors import InputError

    name, _, study = str(source).removeprefix(PREFIX).partition("/")
    if not name or not study:
        raise InputError(f"{source} is to be pacs:NAME/StudyInstanceUID. 'napari-brainseg pacs find NAME' lists them.")
    return name, study


def discard(folders: Sequence[Path]) -> None:
    """Remove the private folders that studies were fetched into."""
    import shutil

    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
