"""`napari-brainseg evaluate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.errors import InputError, OutputError, TrainingError

if TYPE_CHECKING:
    from brainseg_engine.evaluate import Evaluation


def evaluate(
    truth: Annotated[
        Path, typer.Option("--truth", help="Folder of study folders with masks, or of masks <id>_seg.nii.gz.")
    ],
    predictions: Annotated[
        Path, typer.Option("--predictions", help="Folder of predicted masks, <id>_seg.nii.gz or <id>.nii.gz.")
    ],
    split: Annotated[
        Path | None, typer.Option("--split", help="CSV with the columns case,split: score only one part of it.")
    ] = None,
    subset: Annotated[str, typer.Option("--subset", help="Which part of the --split.")] = "validation",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Model (name or file) to ask which cases it was trained on (default: by sidecar)."
        ),
    ] = None,
    coding: Annotated[
        str | None,
        typer.Option(
            "--coding", help="Label coding of the predictions, like brats2021 (default: by sidecar or naming)."
        ),
    ] = None,
    truth_coding: Annotated[
        str | None, typer.Option("--truth-coding", help="Label coding of the truth (default: by sidecar or naming).")
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the table as CSV, too.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Cases without a prediction are no failure.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """Compare predicted masks with the truth: Dice and HD95 (mm) of each case and region, and their means.

    Dice is 1 for masks that are equal and 0 for masks without overlap. HD95 is the distance in mm that 95 % of both
    surfaces stay within. A region that is empty in both counts as 1 and 0 mm, in one only as 0 and the diagonal of
    the image. Cases that the model was trained on are marked: their scores say little.

    Examples:

      napari-brainseg evaluate --truth data --predictions masks
      napari-brainseg evaluate --truth data --predictions masks --json > scores.json
    """
    from brainseg_engine import labels
    from brainseg_engine.evaluate import evaluate as run
    from brainseg_engine.paths import atomic, check_writable

    for named in filter(None, (coding, truth_coding)):
        labels.coding(named)  # raises once, not for each case
    cases = None if split is None else _cases(split, subset)
    if csv_file is not None:
        if csv_file.is_dir():
            raise OutputError(
                f"Cannot write {csv_file}: it is a folder. Name a file in it, like {csv_file / 'scores.csv'}."
            )
        check_writable(csv_file.absolute().parent)
    result = run(truth, predictions, cases=cases, model=model, coding=coding, truth_coding=truth_coding)
    if csv_file is not None:
        with atomic(csv_file) as part:
            part.write_text(result.to_csv(), encoding="utf-8")
    if as_json:
        typer.echo(result.to_json())
    elif result.cases:
        _print_table(result)
    _complain(result, predictions, allow_missing)


def _cases(split: Path, subset: str) -> list[str]:
    """The cases of one part of a stored split. Raises InputError where it has none."""
    from brainseg_engine.cohort import read_split

    try:
        parts = read_split(split)
    except TrainingError as e:  # nothing is trained here: it is a file that cannot be used
        raise InputError(str(e)) from e
    cases = [case for case, part in parts.items() if part == subset]
    if not cases:
        raise InputError(f"The split {split} has no part '{subset}'; it has {', '.join(sorted(set(parts.values())))}.")
    return cases


def _print_table(result: Evaluation) -> None:
    from rich import box
    from rich.table import Table

    from brainseg_engine.cli.printing import console as results
    from brainseg_engine.labels import Region

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("\ncase", overflow="fold", min_width=14)
    for title, unit in (("Dice", ""), ("HD95", " mm")):
        for region in Region:
            table.add_column(f"{title}\n{region}{unit}", justify="right", no_wrap=True)

    def row(name: str, case: str) -> list[str]:
        score = result.mean if case == "" else result.cases[case]
        return [
            name,
            *(_number(score[r].dice, 3) for r in Region),
            *(_number(score[r].hd95_mm, 1) for r in Region),
        ]

    for case in result.cases:
        table.add_row(*row(f"{case} *" if case in result.seen_in_training else case, case))
    table.add_section()
    table.add_row(*row(f"mean of {len(result.cases)}", ""), style="bold")
    console = results()
    console.print(table)
    if result.seen_in_training:
        console.print("* seen in training: the model was fitted to this case.")


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _complain(result: Evaluation, predictions: Path, allow_missing: bool) -> None:
    """Raise InputError for cases that were not scored: each reason once, and whom it holds for."""
    alike: dict[str, list[str]] = {}
    for case, why in result.failed.items():
        general = re.sub(rf"(?<![^\W_]){re.escape(case)}(?![^\W_])", "<id>", why)
        alike.setdefault(general, []).append(case)
    reasons = [f"{_listed(cases)}: {result.failed[cases[0]]}" for cases in alike.values()]
    if result.missing and not (allow_missing and (result.cases or reasons)):
        reasons.append(
            f"No prediction is in {predictions} for {_listed(result.missing)} (looked for <id>_seg.nii.gz, <id>.nii.gz"
            + ("; --allow-missing accepts that)." if result.cases else ").")
        )
    if reasons:
        n = len(result.failed) + (0 if allow_missing and result.cases else len(result.missing))
        total = len(result.cases) + len(result.failed) + len(result.missing)
        raise InputError(f"{n} of {total} cases were not scored. {' '.join(reasons)}")


def _listed(cases: Sequence[str], most: int = 6) -> str:
    """The cases by name; of very many, the first few and how many more (``--json`` lists all)."""
    more = len(cases) - most
    return ", ".join(cases[:most]) + (f" and {more} more" if more > 0 else "")
