"""`napari-brainseg train`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.errors import RecipeError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from brainseg_engine.events import Event

_log = logging.getLogger(__name__)


def train(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe, like baseline, or a TOML file.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Folder of study folders with their masks.")],
    split: Annotated[Path, typer.Option("--split", help="CSV with the columns case,split (train or validation).")],
    out: Annotated[Path, typer.Option("--out", help="Run folder: model, metrics, curves, and what a resume needs.")],
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Visits of every training case; default: the recipe's.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Number of optimiser steps instead.")] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Decides weights, order and augmentation.")
    ] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe, like optimiser.learning_rate=3e-4; repeatable."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the --out folder.")] = False,
    init: Annotated[
        str | None, typer.Option("--init", help="Model (name or file) whose weights to start from.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that prepare samples; the result does not depend on it.")
    ] = 0,
    name: Annotated[str, typer.Option("--name", help="The model's name; default: the recipe's.")] = "",
) -> None:
    """Train a model from a recipe, and keep the one that segments the validation cases best.

    Deterministic for a seed (same machine, versions and number of threads). Ctrl-C ends the step, saves the state and
    stops; --resume continues from there, and with more --epochs or --steps goes on after the end. The run folder holds
    model.safetensors, metrics.csv and curves.png.

    Examples:

      napari-brainseg train baseline --data cases --split split.csv --out run1
      napari-brainseg train baseline --data cases --split split.csv --out run1 --resume
      napari-brainseg train my.toml --data cases --split split.csv --out run2 --set network.init_filters=32
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from brainseg_engine import device as devices
    from brainseg_engine.cli.stopping import Stop
    from brainseg_engine.recipe import load_recipe
    from brainseg_engine.train import Options
    from brainseg_engine.train import train as run

    if epochs is not None and steps is not None:
        raise RecipeError(f"--epochs {epochs} and --steps {steps} contradict each other; give one of them.")
    overrides = [*(settings or []), *([f"training.epochs={epochs}"] if epochs else [])]
    chosen = load_recipe(recipe, overrides)
    devices.keep_heap()
    options = Options(data, split, out, steps, seed, resume, device, workers, name, init)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    stop = Stop("Stopping after this step; once more to stop at once.")
    with stop.listening(), Progress(*columns, console=console) as bars:
        model = run(chosen, options, _Display(bars, bars.add_task("reading", total=1.0), out), stop)
    _draw_curves(out)
    typer.echo(f"The best model is {model}; the curves are in {out / 'curves.png'}.")
    typer.echo(f"Use it: napari-brainseg predict STUDY --out masks --model {model}")


class _Display:
    """Shows events as a bar, and one line a validation."""

    def __init__(self, bars: Progress, task: TaskID, out: Path) -> None:
        self.bars, self.task, self.out = bars, task, out

    def __call__(self, event: Event) -> None:
        from brainseg_engine.events import EpochDone
        from brainseg_engine.events import Progress as Step

        if isinstance(event, Step):
            self.bars.update(self.task, completed=event.fraction, description=event.stage)
        elif isinstance(event, EpochDone) and event.dice:
            dice = "  ".join(f"{region} {d:.3f}" for region, d in event.dice.items())
            self.bars.console.print(
                f"step {event.step}: loss {event.loss:.3f}, validation Dice {dice}", highlight=False
            )
            _draw_curves(self.out)


def _draw_curves(out: Path) -> None:
    """A picture that cannot be drawn is no reason to end a training."""
    from brainseg_engine.errors import BrainsegError
    from brainseg_engine.figures import curves_figure

    try:
        curves_figure(out / "metrics.csv", out / "curves.png")
    except BrainsegError as e:
        _log.warning("%s", e)
