"""`napari-brainseg finetune`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.options import CacheOption, DeviceAnywhereOption, ResumeOption, WorkersOption
from brainseg_engine.cli.printing import TrainingDisplay, messages, say, say_json
from brainseg_engine.core.errors import RecipeError

if TYPE_CHECKING:
    pass


class Parts(StrEnum):
    """What may be trained."""

    EVERYTHING = "everything"
    DECODER = "decoder"
    HEAD = "head"


def finetune(
    out: Annotated[Path, typer.Option("--out", help="Run folder: report, model, and what a resume needs.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Model to start from: a name or a file.", show_default=False)
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option("--corrections", help="Folder of accepted corrections.", show_default=False)
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(
            "--anchors",
            help="Cases with masks not to forget, at best the model's own; else phantoms.",
            show_default=False,
        ),
    ] = None,
    anchor_split: Annotated[
        Path | None,
        typer.Option("--anchor-split", help="CSV: train is replayed, validation scored.", show_default=False),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.05, help="How long to train.", show_default=False)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Visits of every sample instead.", show_default=False)
    ] = None,
    parts: Annotated[
        Parts | None,
        typer.Option("--parts", help="What to train; the head comes with the norms.", show_default="everything"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=2**32 - 1, help="Decides order and augmentation.", show_default="0"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the new model; default: the base model's with -tuned.", show_default=False),
    ] = None,
    mix: Annotated[
        float | None,
        typer.Option(
            "--mix", min=0.0, max=0.95, help="Share of anchors among the samples.", show_default="0.5; phantoms 0.25"
        ),
    ] = None,
    pull: Annotated[
        float | None, typer.Option("--pull", min=0.0, help="Towards the base model's weights.", show_default="0.001")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=1e-4, max=10.0, help="Learning rate over the base model's.", show_default="0.3"),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="32-true, 16-mixed or bf16-mixed.", show_default="the base model's"),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change how it is trained, like loss.dice=2; repeatable.",
            show_default=False,
        ),
    ] = None,
    anchor_coding: Annotated[
        str | None,
        typer.Option("--anchor-coding", help="Label coding of the anchors' masks.", show_default="by naming"),
    ] = None,
    make_default: Annotated[
        bool,
        typer.Option("--make-default", help="Use it where no model is named, unless it is worse, or better at a cost."),
    ] = False,
    resume: ResumeOption = False,
    device: DeviceAnywhereOption = "auto",
    workers: WorkersOption = 0,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Fine-tune a model on accepted corrections, and prove what it gained and what it forgot.

    Some corrections are held out, by patient (see corrections hold-out). The model learns from the others, with anchor
    cases among them; how far it is moved is chosen on what was held out. The new model gets a name of its own, and a
    report tells before and after. Ctrl-C, or a file named stop in the run folder, ends it cleanly; --resume goes on.

    Examples:

      napari-brainseg finetune --model brats-baseline --corrections corrections --minutes 15 --out run1
      napari-brainseg finetune --model brats-baseline --corrections corrections --anchors cases --epochs 20 --out run2
      napari-brainseg finetune --resume --out run1
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from brainseg_engine.cli.stopping import Stop
    from brainseg_engine.core import device as devices
    from brainseg_engine.finetune import FinetuneOptions
    from brainseg_engine.remote import is_remote

    if minutes is not None and epochs is not None:
        raise RecipeError(f"--minutes {minutes:g} and --epochs {epochs} contradict each other; give one of them.")
    devices.keep_heap()
    options = FinetuneOptions(
        out, model, corrections, anchors, anchor_split, minutes, epochs, parts.value if parts else None, seed, name, mix,
        pull, rate, resume, device, workers, cache, precision, set or None, anchor_coding,
    )  # fmt: skip
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    stop = Stop("Stopping after this step; once more to stop at once.")
    with stop.listening(), Progress(*columns, console=messages()) as bars:
        run = _runner(is_remote(device))
        report = run(options, TrainingDisplay(bars, "held-out Dice"), stop)
    if as_json:
        say_json(report)
    else:
        _print(report)
    if make_default:
        _make_default(report)


def _runner(elsewhere: bool) -> Any:
    if elsewhere:
        from brainseg_engine.remote.tuning import tune

        return tune
    from brainseg_engine.finetune.job import run

    return run


def _make_default(report: dict[str, Any]) -> None:
    from brainseg_engine import models
    from brainseg_engine.finetune.verdict import MARKED

    name, verdict = report["model"]["name"], report["verdict"]
    if verdict in MARKED:
        say(
            f"{name} is {verdict}, so it is not made the default; napari-brainseg models default {name} does it all the same.",
            err=True,
        )
        return
    models.choose_default(name)
    say(f"{name} is the default from now on; napari-brainseg models default --back undoes it.", err=True)


def _print(report: dict[str, Any]) -> None:
    from rich.text import Text

    from brainseg_engine.cli.printing import console
    from brainseg_engine.finetune.wording import weights

    out = console()
    for key, title in (("held_out", "held-out corrections"), ("anchor_scores", f"anchors ({report['anchors']['of']})")):
        if report[key]["before"]["cases"]:
            out.print(_table(report[key], title))
    guard = report["guard"]
    out.print(Text(weights(guard["alpha"], guard["why"])))
    for note in (*report["notes"], *(f"Left out: {why}" for why in report["refused"].values())):
        out.print(Text(f"- {note}"))
    out.print(Text(report["words"], style="bold"))
    model = report["model"]
    out.print(Text(f"The new model is called {model['name']}. Use it: napari-brainseg predict STUDY --out masks --model "
                   f"{model['name']}"))  # fmt: skip


def _table(scores: dict[str, Any], title: str) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from brainseg_engine.finetune.table import MEAN, differences, rows

    table = Table(
        title=Text(f"{title}: {scores['verdict']}"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in ("case", "region", "Dice before", "after", "HD95 before, mm", "after"):
        table.add_column(column, justify="left" if column in ("case", "region") else "right")
    means = False
    for row in rows(scores):
        if row.case == MEAN and not means:
            table.add_section()
            means = True
        table.add_row(row.case or "mean", row.region, *row.dice[:2], *row.hd95[:2])
    for region, dice, hd95 in differences(scores):
        table.add_row("difference", region, "", dice, "", hd95)
    return table
