"""`napari-brainseg data`.

Look at a folder of cases before training on it, and divide it into training, validation and test cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.dispatch import CommandApp
from brainseg_engine.cli.options import (
    CacheOption,
    CasesOption,
    DataOption,
    FoldOption,
    JsonOption,
    MaskCodingOption,
    PresetOption,
    RecipeArgument,
    SettingsOption,
)
from brainseg_engine.cli.printing import messages, say, say_json
from brainseg_engine.core.errors import InputError, OutputError, TrainingError

if TYPE_CHECKING:
    from brainseg_engine.dataset.filling import Filled
    from brainseg_engine.studies.survey import CaseReport

app = CommandApp(__doc__)
_DataFolder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="BraTS study folders, Decathlon Task01, or folders of slices.", show_default=False
    ),
]


@app.command()
def check(
    folder: _DataFolder,
    full: Annotated[
        bool, typer.Option("--full", help="Read the images' voxels too: damaged files, copies, skulls, swapped series.")
    ] = False,
    coding: MaskCodingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what the cases of a data folder hold, and what is wrong with which of them.

    Headers and masks are read, which takes seconds for some dozen cases; with --full everything is. The exit code is 0 when
    every case can be used (warnings may remain), else 3.

    Examples:

      napari-brainseg data check data
      napari-brainseg data check data --full --json
    """
    from brainseg_engine.core import labels
    from brainseg_engine.studies.survey import summary

    if coding is not None:
        labels.coding(coding)
    reports = _survey(folder, coding, full, quiet=as_json)
    overview: dict[str, Any] = {"folder": str(folder), "full": full, "summary": summary(reports)}
    if as_json:
        overview["cases"] = [r.to_dict() for r in reports]
        say_json(overview)
    else:
        _print(folder, overview["summary"], reports)
    if any(r.errors for r in reports):
        raise typer.Exit(InputError.exit_code)


@app.command()
def split(
    folder: _DataFolder,
    out: Annotated[Path, typer.Option("--out", help="The CSV file to write.", show_default=False)],
    validation: Annotated[
        float | None, typer.Option("--validation", min=0.0, max=0.9, help="Share for validation.  [default: 0.2]")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", min=2, help="Instead: that many folds, for cross-validation.")
    ] = None,
    test: Annotated[float, typer.Option("--test", min=0.0, max=0.9, help="Share that is kept for the test.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives another split.")] = 0,
    patients: Annotated[
        str,
        typer.Option(
            "--patients",
            help="Which cases are one patient's: auto, case, folder, or a regular expression with one group.",
        ),
    ] = "auto",
    coding: Annotated[
        str | None,
        typer.Option("--coding", help="Read every mask by this label coding first, and refuse what does not fit it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file when it is there.")] = False,
) -> None:
    """Divide the cases of a data folder into training, validation and test, and write it down as a CSV file.

    All cases of a patient, as far as names and folders tell, go to one side; the output says who has several, and --patients
    changes it. The same cases and seed give the same split. Cases
    without a mask are left out.

    Examples:

      napari-brainseg data split data --out split.csv --validation 0.2 --test 0.1
      napari-brainseg data split data --out folds.csv --folds 5
    """
    from brainseg_engine.core.paths import atomic
    from brainseg_engine.studies import cohort

    if folds is not None and validation is not None:
        raise TrainingError(f"--folds {folds} and --validation {validation:g} contradict each other; give one of them.")
    if out.exists() and not force:
        raise OutputError(
            f"{out} is there already, and a stored split should not change. Name another, or add --force."
        )
    cases = cohort.list_cases(folder)
    names = [case.name for case in cases if _has_mask(case.source)]
    if not names:
        raise InputError(f"None of the {len(cases)} cases of {folder} has a mask, so there is nothing to train on.")
    if coding is not None:
        _require_coding([case.source for case in cases if case.name in set(names)], coding)
    whose = cohort.patients_of((case for case in cases if case.name in set(names)), patients)
    share = 0.2 if validation is None else validation
    divided = (
        cohort.make_split(names, share, test, seed, whose)
        if folds is None
        else cohort.make_folds(names, folds, test, seed, whose)
    )
    column = "split" if folds is None else "fold"
    _require_folder(out)
    with atomic(out) as part:
        part.write_text(cohort.split_text(column, divided, whose), encoding="utf-8")
    _tell_split(out, divided, whose, len(cases) - len(names))


@app.command()
def prepare(
    recipe: RecipeArgument,
    data: DataOption,
    split: CasesOption,
    preset: PresetOption = None,
    fold: FoldOption = None,
    settings: SettingsOption = None,
    cache: CacheOption = None,
    coding: MaskCodingOption = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="So many processes.")] = 1,
    shard: Annotated[str, typer.Option("--shard", metavar="I/N", help="Only part I of N, for a cluster.")] = "",
) -> None:
    """Read, check and preprocess a recipe's training cases, and keep them for 'train', which does it one by one otherwise.

    Says first what it will take, can be stopped and called again, and on a cluster divided by --shard over a shared folder.

    Examples:

      napari-brainseg data prepare baseline --data cases --split split.csv --jobs 8
    """
    from brainseg_engine.cli.train import fold_of
    from brainseg_engine.core import labels
    from brainseg_engine.dataset import cache as store
    from brainseg_engine.dataset.filling import fill
    from brainseg_engine.inference.shards import Shard
    from brainseg_engine.recipe import load_recipe
    from brainseg_engine.studies import cohort

    if coding is not None:
        labels.coding(coding)
    part = Shard.parse(shard) if shard else Shard()
    chosen = load_recipe(recipe, settings or [], preset)
    folders = cohort.cases(data, cohort.read_split(split, fold_of(fold)), "train")
    folders = [f for f in folders if part.holds(cohort.name(f))]
    say(f"{len(folders)} cases into {cache or store.default_folder()}.", err=True)
    problems = _show_filling(fill(folders, chosen, cache, coding, jobs), len(folders))
    if problems:
        raise typer.Exit(InputError.exit_code)


def _show_filling(filled: Iterable[Filled], count: int) -> list[Filled]:
    """Say how much room the cases take, and which cannot be used; these are returned."""
    total, problems = 0, []
    for n, done in enumerate(filled, start=1):
        total += done.bytes
        if done.problem:
            problems.append(done)
        if n == 1 and done.bytes:
            say(
                f"The first takes {done.bytes / 2**20:.0f} MiB, all about {done.bytes * count / 2**30:.1f} GiB.",
                err=True,
            )
    say(f"{count - len(problems)} of {count} cases are ready, {total / 2**30:.2f} GiB.")
    for problem in problems:
        say(f"{problem.case}: {problem.problem}", err=True)
    return problems


def _survey(folder: Path, coding: str | None, full: bool, quiet: bool) -> list[CaseReport]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from brainseg_engine.studies.survey import survey

    console = messages()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bars:
        task = bars.add_task("looking", total=1.0)
        return survey(
            folder,
            coding=coding,
            full=full,
            progress=lambda e: bars.update(task, completed=e.fraction, description=e.stage),
        )


def _print(folder: Path, overview: Mapping[str, Any], reports: list[CaseReport]) -> None:
    from rich.table import Table
    from rich.text import Text

    from brainseg_engine.cli.printing import console as results

    console = results()
    layouts = ", ".join(overview["layouts"]) or "layout not known"
    patients = f" of {overview['patients']} patients" if overview["patients"] != overview["cases"] else ""
    console.print(
        Text(f"{folder}", style="bold"), Text(f"{overview['cases']} cases{patients} ({layouts})"), soft_wrap=True
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(overview):
        table.add_row(name, Text(value))
    console.print(table)
    for report in reports:
        for colour, kind, sentences in (("red", "error", report.errors), ("yellow", "warning", report.warnings)):
            for sentence in sentences:
                console.print(Text.assemble(f"{report.name}: ", (f"{kind}: ", colour), sentence), soft_wrap=True)
    usable = overview["cases"] - overview["unusable"]
    console.print(
        f"{usable} of {overview['cases']} cases can be used." if overview["unusable"] else "All cases can be used."
    )


def _rows(overview: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, in words) of the summary."""
    from brainseg_engine.core.labels import LABEL_NAMES, REGION_NAMES, Label, Region
    from brainseg_engine.core.study import Modality

    regions = {
        f"{name} {REGION_NAMES[Region(name)]}": counts
        for name, counts in overview["regions"].items()
        if counts["measured"]
    }
    return [
        ("series", ", ".join(f"{Modality(m).title} {n}" for m, n in overview["modalities"].items())),
        ("voxels", _listed(overview["shapes"])),
        ("spacing, mm", _listed(overview["spacings_mm"])),
        ("axes", _listed(overview["orientations"])),
        (
            "masks",
            f"{overview['cases'] - overview['without_mask']}, coding {_listed(overview['codings']) or 'not known'}",
        ),
        (
            "classes",
            ", ".join(f"{LABEL_NAMES[Label[name]]} in {n}" for name, n in overview["labels"].items()) or "none",
        ),
        *(
            (f"no {name}", f"{c['empty']} of {c['measured']} ({c['empty'] / c['measured']:.0%})")
            for name, c in regions.items()
        ),
    ]


def _listed(counted: Mapping[str, int]) -> str:
    """Values with how many cases have them, the number left out where all have the same."""
    if len(counted) == 1:
        return next(iter(counted))
    shown = [f"{value} ({n})" for value, n in list(counted.items())[:5]]
    return ", ".join([*shown, f"and {len(counted) - 5} others"] if len(counted) > 5 else shown)


def _has_mask(source: Path) -> bool:
    """Whether there is a mask, sound or not: what is wrong with it, the check says."""
    from brainseg_engine.core.errors import BrainsegError
    from brainseg_engine.io import series_of

    try:
        series = series_of(source)
    except BrainsegError:
        return True
    return series.segmentation is not None or "mask" in series.ambiguous


def _require_coding(sources: list[Path], coding: str) -> None:
    """Raise CodingError for the first mask that does not fit, InputError for one that cannot be read."""
    from brainseg_engine.core import labels
    from brainseg_engine.io import load_segmentation, series_of

    labels.coding(coding)
    for source in sources:
        mask = series_of(source).segmentation
        if mask is not None:
            load_segmentation(mask, coding=coding)


def _require_folder(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"Cannot write into {out.parent}: {e.strerror or e}. Choose another place.") from e


def _tell_split(out: Path, divided: Mapping[str, str], whose: Mapping[str, str], without: int) -> None:
    counts = Counter(divided.values())
    names = {n: f"fold {n}" if n.isdigit() else n for n in counts}
    order = [n for n in ("train", "validation") if n in counts] + sorted(n for n in counts if n.isdigit())
    overview = ", ".join(f"{names[n]} {counts[n]}" for n in [*order, *(["test"] if "test" in counts else [])])
    say(f"Wrote {out}: {overview} cases.")
    several = [p for p, n in Counter(whose.values()).items() if n > 1]
    people = len(set(whose.values()))
    example = f", like {several[0]}" if several else ""
    say(f"{people} patients, {len(several)} of them with several cases{example} (--patients changes who is one).")
    if without:
        say(f"{without} case{'s' if without > 1 else ''} without a mask left out.", err=True)
