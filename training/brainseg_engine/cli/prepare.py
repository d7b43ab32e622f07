"""`napari-brainseg prepare`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.cli.assigning import (
    AssignOption,
    FlairOption,
    PatientOption,
    T1ceOption,
    T1Option,
    T2Option,
    VisitOption,
    wanted,
    which,
)
from brainseg_engine.cli.deidentifying import DeidentifyOption, KeyOption, WithFaceOption, pseudonyms
from brainseg_engine.cli.options import JsonOption
from brainseg_engine.cli.printing import messages, say_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from brainseg_engine.core.events import ProgressCallback
    from brainseg_engine.core.study import Modality
    from brainseg_engine.prepare import PrepareOptions
    from brainseg_engine.prepare.many import PrepareOutcome, PrepareSettings

BrainOption = Annotated[
    str, typer.Option("--brain", help="How the brain is found: deepbet, hd-bet, rough, or the file of a mask.")
]
ReferenceOption = Annotated[
    str | None, typer.Option("--reference", help="The series the others are aligned with; default: T1ce.")
]
N4Option = Annotated[bool, typer.Option("--n4", help="Correct the bias field (N4).")]


def prepare(
    studies: Annotated[
        list[Path],
        typer.Argument(metavar="STUDY", help="Studies as acquired, or folders of studies.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the prepared studies; made when it is not there.")],
    brain: BrainOption = "deepbet",
    reference: ReferenceOption = None,
    align: Annotated[
        str, typer.Option("--align", help="auto: what is not aligned; always: all anew; never: trust the headers.")
    ] = "auto",
    strip: Annotated[
        str, typer.Option("--strip", help="auto: where a skull is; always: find the brain anew; never: leave it on.")
    ] = "auto",
    transform: Annotated[
        list[str] | None,
        typer.Option(
            "--transform", help="SERIES=FILE.tfm: a transform of ITK's instead of a registration. Repeatable."
        ),
    ] = None,
    n4: N4Option = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Studies at once.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace studies prepared in another way.")] = False,
    deidentify: DeidentifyOption = False,
    key: KeyOption = None,
    with_face: WithFaceOption = False,
    as_json: JsonOption = False,
    patient: PatientOption = None,
    visit: VisitOption = None,
    t1: T1Option = None,
    t1ce: T1ceOption = None,
    t2: T2Option = None,
    flair: FlairOption = None,
    assign: AssignOption = None,
) -> None:
    """Align the series of studies as acquired, take the brain out, and write them on a grid of 1 mm: what predict, train and
    other tools read.

    Each study becomes a folder <id> with <id>_t1.nii.gz …, the brain mask, the transforms (.tfm, for ITK, Slicer, ANTs) and
    prepare.json with every choice and how good each alignment is. One study that fails does not stop the others;
    prepared.csv lists them all. Called again, it skips what is done.

    Examples:

      napari-brainseg prepare patient1 --out prepared
      napari-brainseg prepare export/ --out prepared --jobs 2
      napari-brainseg prepare patient1 --out prepared --brain my_mask.nii.gz --transform flair=flair_from_t1ce.tfm
    """
    from brainseg_engine.core import outputs
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.prepare import many
    from brainseg_engine.studies.sources import expand

    options = options_of(brain, reference, align, strip, transform or [], n4)
    secret = pseudonyms(deidentify, key, with_face)
    if secret is not None and strip == "never" and not with_face:
        raise InputError("--strip never leaves the face in the images. Add --with-face if that is wanted.")
    one = which(patient, visit)
    sources = expand(studies, whole=one.chooses)
    by_hand = wanted(t1, t1ce, t2, flair, assign)
    outputs.require(out, outputs.Use.CASES)
    console = messages()
    settings = many.PrepareSettings(out, options, overwrite, by_hand, secret, with_face, one)
    rows = _run(console, sources, settings, jobs, quiet=as_json)
    summary = out / many.SUMMARY
    if as_json:
        content = {"results": [asdict(r) for r in rows], "summary": str(summary)}
        say_json(content)
    failed = sum(r.status == "failed" for r in rows)
    if failed:
        sentence = f"{failed} of {len(rows)} studies failed; {summary} says why."
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(3)


def options_of(
    brain: str, reference: str | None, align: str, strip: str, transforms: list[str], n4: bool
) -> PrepareOptions:
    """The command's words as the engine's options. Raises InputError, before anything is read, for what they cannot be."""
    from typing import Any, cast

    from brainseg_engine.core.errors import InputError
    from brainseg_engine.core.study import Modality
    from brainseg_engine.prepare import PrepareOptions, brain_mask

    ways = ("auto", "always", "never")
    for name, value in (("--align", align), ("--strip", strip)):
        if value not in ways:
            raise InputError(f"{name} is '{value}', and can be {', '.join(ways)}.")
    chosen: Any = brain
    if brain not in brain_mask.METHODS:
        chosen = Path(brain)
        if not chosen.is_file():
            known = ", ".join(brain_mask.METHODS)
            raise InputError(f"--brain is '{brain}', which is neither one of {known} nor a file.")
    given = {}
    for pair in transforms:
        name, _, file = pair.partition("=")
        if not file or not Path(file).is_file():
            raise InputError(f"--transform is '{pair}', and must be SERIES=FILE with a file that exists.")
        given[modality(name)] = Path(file)
    onto = None if reference is None else modality(reference)
    return PrepareOptions(onto, cast(Any, align), cast(Any, strip), chosen, cast(dict[Modality, Any], given), n4=n4)


def modality(name: str) -> Modality:
    """The modality of that name. Raises InputError naming the choices."""
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.core.study import Modality

    if name not in tuple(Modality):
        raise InputError(f"'{name}' is no series; there are {', '.join(Modality)}.")
    return Modality(name)


def _run(
    console: Console, sources: list[Path], settings: PrepareSettings, jobs: int, quiet: bool
) -> list[PrepareOutcome]:
    """Prepare under a progress bar, report each study as it ends, and write it into the summary."""
    from brainseg_engine.cli.printing import console as results
    from brainseg_engine.cli.printing import progress_bars
    from brainseg_engine.cli.stopping import terminate_as_interrupt
    from brainseg_engine.io.derived.pseudonyms import hidden
    from brainseg_engine.prepare import many

    shown = console if sys.stdout.isatty() else results()
    rows: list[PrepareOutcome] = []
    with terminate_as_interrupt(), progress_bars(console) as bars:
        task = bars.add_task("preparing", total=len(sources))

        def follow(source: Path) -> ProgressCallback:
            n, name = len(rows), source.resolve().name
            return lambda e: bars.update(task, completed=n + e.fraction, description=f"{name}: {e.stage}")

        for row in many.prepare_many(sources, settings, jobs=jobs, progress=follow):
            rows.append(row)
            # as it comes: a kill loses none
            many.write_summary([hidden(row, settings.pseudonyms)], settings.out / many.SUMMARY)
            bars.update(task, completed=len(rows))
            if not quiet:
                shown.print(_line(row), soft_wrap=True)
    return rows


_COLOURS = {"failed": "red", "doubtful": "yellow"}


def _line(row: PrepareOutcome) -> Text:
    from rich.text import Text

    status = (f"{row.status:8}", _COLOURS.get(row.status, "green"))
    if row.status == "failed":
        return Text.assemble(status, f" {row.id}: {row.message}")
    peak = f", worst peak {row.lowest_peak:.2f}" if row.lowest_peak is not None else ""
    took = f"  ({row.seconds:.1f} s)" if row.seconds is not None else ""
    doubt = f"\n         {row.message}" if row.status == "doubtful" else ""
    return Text.assemble(
        status, f" {row.id}: brain {row.brain_ml or 0:,.0f} mL{peak}{took} → {row.output}", (doubt, "yellow")
    )
