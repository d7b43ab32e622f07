"""`napari-brainseg evaluate`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.options import JsonOption
from brainseg_engine.cli.printing import messages, say_json
from brainseg_engine.core.errors import InputError, OutputError

if TYPE_CHECKING:
    from brainseg_engine.core.events import ProgressCallback
    from brainseg_engine.evaluation import Evaluation


def evaluate(
    truth: Annotated[
        Path, typer.Option("--truth", help="Folder of study folders with masks, or of masks <id>_seg.nii.gz.")
    ],
    predictions: Annotated[
        Path, typer.Option("--predictions", help="Folder of predicted masks, <id>_seg.nii.gz or <id>.nii.gz.")
    ],
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Folder of other masks of the same cases: compare the two case by case."),
    ] = None,
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
    against_coding: Annotated[
        str | None, typer.Option("--against-coding", help="Label coding of the masks in --against (default: --coding).")
    ] = None,
    truth_coding: Annotated[
        str | None, typer.Option("--truth-coding", help="Label coding of the truth (default: by sidecar or naming).")
    ] = None,
    nsd: Annotated[
        float, typer.Option("--nsd", min=0.0, metavar="MM", help="Tolerance of the surface Dice, in mm.")
    ] = 1.0,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="A metric of your own, module:function of (prediction, truth, spacing in mm), both boolean arrays; repeatable.",
            show_default=False,
        ),
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the table as CSV, too.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the scores, or the comparison, as a PNG, too.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Cases without a prediction are no failure.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare predicted masks with the truth: Dice and HD95 (mm) of each case and region, and the means of all metrics.

    Dice is 1 for masks that are equal and 0 for masks without overlap. HD95 is the distance in mm that 95 % of both
    surfaces stay within. A region that is empty in both counts as 1 and 0 mm, in one only as 0 and the diagonal of
    the image. The surface Dice (NSD) is the share of both surfaces within --nsd mm of the other. Lesion-wise scores follow
    BraTS 2023; intervals are 95 % intervals (Student's t) over the cases. Cases that
    the model was trained on are marked: their scores say little.

    With --against, two sets of masks are compared case by case.

    Examples:

      napari-brainseg evaluate --truth data --predictions masks
      napari-brainseg evaluate --truth data --predictions masks --json > scores.json
      napari-brainseg evaluate --truth data --predictions new --against old --plot new-old.png
    """
    from brainseg_engine.core import labels
    from brainseg_engine.core.named import named
    from brainseg_engine.evaluation import compare
    from brainseg_engine.studies.selection import of_subset

    for given in filter(None, (coding, against_coding, truth_coding)):
        labels.coding(given)  # raises once, not for each case
    cases = None if split is None else of_subset(split, subset)
    _check_place(csv_file, "scores.csv")
    _check_place(plot, "scores.png")
    sets = [(predictions, model, coding)]
    if against is not None:
        sets.append((against, None, against_coding or coding))
    own = {m.rpartition(":")[2]: named(m, "brainseg.metrics", given=True) for m in metric or []}
    results = _score(truth, sets, cases, truth_coding, nsd, own)
    comparison = compare(*results) if against is not None else None
    names = _names([folder for folder, _, _ in sets])
    if csv_file is not None:
        _write(csv_file, (comparison or results[0]).to_csv())
    if plot is not None:
        _draw(results, names, plot)
    if as_json:
        printed = results[0].to_dict()
        if comparison is not None:
            printed |= {"against": results[1].to_dict(), "comparison": comparison.to_dict()}
        say_json(printed, finite=True)
    else:
        _print(results, names)
    _complain(results, [folder for folder, _, _ in sets], allow_missing)


def _check_place(file: Path | None, example: str) -> None:
    """Raise OutputError for a file that cannot be written, before minutes of work."""
    from brainseg_engine.core.paths import check_writable

    if file is None:
        return
    if file.is_dir():
        raise OutputError(f"Cannot write {file}: it is a folder. Name a file in it, like {file / example}.")
    check_writable(file.absolute().parent)


def _score(
    truth: Path, sets: Sequence[tuple[Path, str | None, str | None]], cases: list[str] | None, truth_coding: str | None,
    nsd_mm: float, own: Mapping[str, Callable[..., Any]],
) -> list[Evaluation]:  # fmt: skip
    """The evaluation of each (folder, model, coding), under one progress bar where there is a terminal."""

    from brainseg_engine.cli.printing import progress_bars
    from brainseg_engine.cli.stopping import terminate_as_interrupt
    from brainseg_engine.evaluation import evaluate as run

    with terminate_as_interrupt(), progress_bars(messages()) as bars:
        task = bars.add_task("looking for cases", total=len(sets))

        def follow(done: int) -> ProgressCallback:
            return lambda e: bars.update(task, completed=done + e.fraction, description=e.stage)

        return [
            run(
                truth,
                folder,
                cases=cases,
                model=model,
                coding=coding,
                truth_coding=truth_coding,
                nsd_mm=nsd_mm,
                own=own,
                progress=follow(i),
            )
            for i, (folder, model, coding) in enumerate(sets)
        ]


def _names(folders: Sequence[Path]) -> list[str]:
    """What to call each folder of masks: its name, or its path where two names are alike."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _write(file: Path, content: str) -> None:
    from brainseg_engine.core.paths import atomic

    with atomic(file) as part:
        part.write_text(content, encoding="utf-8")


def _draw(results: Sequence[Evaluation], names: Sequence[str], png: Path) -> None:
    from brainseg_engine.evaluation import compare
    from brainseg_engine.evaluation.plots import plot_comparison, plot_scores

    if len(results) == 1:
        plot_scores(results[0], png, names[0])
    else:
        plot_comparison(compare(results[0], results[1]), (names[0], names[1]), png)


def _print(results: Sequence[Evaluation], names: Sequence[str]) -> None:
    """The tables; nothing where no case was scored."""
    from brainseg_engine.cli import score_tables
    from brainseg_engine.evaluation import compare

    for result, name in zip(results, names, strict=True):
        if result.cases:
            score_tables.print_scores(result, name if len(results) > 1 else "")
    if len(results) > 1 and all(r.cases for r in results):
        score_tables.print_comparison(compare(results[0], results[1]), (names[0], names[1]))


def _complain(results: Sequence[Evaluation], folders: Sequence[Path], allow_missing: bool) -> None:
    """Raise InputError for cases that were not scored: each reason once, and whom it holds for."""
    sentences = [_complaint(r, folder, allow_missing) for r, folder in zip(results, folders, strict=True)]
    if any(sentences):
        raise InputError(" ".join(filter(None, sentences)))


def _complaint(result: Evaluation, folder: Path, allow_missing: bool) -> str:
    alike: dict[str, list[str]] = {}
    for case, why in result.failed.items():
        general = re.sub(rf"(?<![^\W_]){re.escape(case)}(?![^\W_])", "<id>", why)
        alike.setdefault(general, []).append(case)
    reasons = [f"{_listed(cases)}: {result.failed[cases[0]]}" for cases in alike.values()]
    if result.missing and not (allow_missing and (result.cases or reasons)):
        reasons.append(
            f"No prediction is in {folder} for {_listed(result.missing)} (looked for <id>_seg.nii.gz, <id>.nii.gz"
            + ("; --allow-missing accepts that)." if result.cases else ").")
        )
    if not reasons:
        return ""
    n = len(result.failed) + (0 if allow_missing and result.cases else len(result.missing))
    total = len(result.cases) + len(result.failed) + len(result.missing)
    return f"{n} of {total} cases were not scored. {' '.join(reasons)}"


def _listed(cases: Sequence[str], most: int = 6) -> str:
    """The cases by name; of very many, the first few and how many more (``--json`` lists all)."""
    more = len(cases) - most
    return ", ".join(cases[:most]) + (f" and {more} more" if more > 0 else "")
