"""`napari-brainseg bids`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from brainseg_engine.cli.options import DeviceOption, ModelOption
from brainseg_engine.cli.prepare import BrainOption, options_of
from brainseg_engine.cli.printing import say
from brainseg_engine.core.errors import InputError


class BidsLevel(StrEnum):
    """What a BIDS App does."""

    PARTICIPANT = "participant"
    GROUP = "group"


def bids(
    bids_dir: Annotated[Path, typer.Argument(help="The raw dataset.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The derivative dataset.", show_default=False)],
    level: Annotated[
        BidsLevel, typer.Argument(help="Segment sessions, or make one table of their volumes.", show_default=False)
    ],
    participant: Annotated[
        list[str] | None,
        typer.Option(
            "--participant-label",
            help="Subjects, like 01; repeatable, or with commas.",
            show_default=False,
        ),
    ] = None,
    session: Annotated[
        list[str] | None,
        typer.Option("--session-label", help="Sessions, like pre; repeatable, or with commas.", show_default=False),
    ] = None,
    skip_validation: Annotated[bool, typer.Option("--skip-bids-validation", help="Take the dataset as it is.")] = False,
    work: Annotated[
        Path | None,
        typer.Option("--work-dir", help="Where masks lie before they are derivatives.", show_default="OUT_DIR/.work"),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    probabilities: Annotated[
        bool, typer.Option("--probabilities/--no-probabilities", help="Write probseg images too.")
    ] = True,
    brain: BrainOption = "deepbet",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what other images or models gave.")] = False,
) -> None:
    """A BIDS App: T1w, T1w with ce-, T2w and FLAIR of each session → dseg, probseg and their sidecars, as BIDS derivatives.

    A session that cannot be segmented (no contrast-enhanced T1w, several runs) does not stop the others; the exit code is then 3.
    Called again, it skips what is done.

    Examples:

      napari-brainseg bids data derivatives/brainseg participant
      napari-brainseg bids data derivatives/brainseg participant --participant-label 01 --session-label pre
      napari-brainseg bids data derivatives/brainseg group
    """
    from brainseg_engine import models
    from brainseg_engine.bids import derivatives_of, find_sessions, require_valid, write_table
    from brainseg_engine.cli import cohort_run
    from brainseg_engine.core import device as devices
    from brainseg_engine.core.paths import check_writable
    from brainseg_engine.inference import batch
    from brainseg_engine.inference.rows import PredictOutcome

    if level is BidsLevel.GROUP:
        say(str(write_table(out)))
        return
    sessions = find_sessions(bids_dir, _several(participant), _several(session))
    if out.resolve() == bids_dir.resolve():
        raise InputError("OUT_DIR is the raw dataset itself. Name another folder, like BIDS_DIR/derivatives/brainseg.")
    if not skip_validation:
        require_valid(bids_dir)
    chosen = [models.find(model or models.default())]
    devices.choose(device)
    check_writable(out, batch.NEED_BYTES)
    by_source = {s.anat: s for s in sessions}

    def also(source: Path, row: PredictOutcome) -> list[Path]:
        return derivatives_of(by_source[source], row, out)

    settings = batch.PredictSettings(
        work or out / ".work", probabilities=probabilities, overwrite=overwrite,
        prepare=options_of(brain, None, "auto", "auto", [], n4=False),
    )  # fmt: skip
    run = cohort_run.PredictRun([s.anat for s in sessions], device, False, None, False, also)
    run.here(settings, chosen)
    run.end([(settings, chosen)])


def _several(given: list[str] | None) -> list[str]:
    return [word for text in given or () for word in text.replace(",", " ").split()]
