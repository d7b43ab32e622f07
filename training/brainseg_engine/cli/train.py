"""`napari-brainseg train`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.cli.options import (
    CacheOption,
    CasesOption,
    DataOption,
    DeviceOption,
    FoldOption,
    MaskCodingOption,
    PresetOption,
    RecipeArgument,
    ResumeOption,
    SettingsOption,
    WorkersOption,
)
from brainseg_engine.cli.printing import TrainingDisplay, messages, say
from brainseg_engine.core.errors import RecipeError

if TYPE_CHECKING:
    from brainseg_engine.core.events import Event
    from brainseg_engine.recipe import Recipe
    from brainseg_engine.studies.cohort import Fold
    from brainseg_engine.train import TrainOptions

_log = logging.getLogger(__name__)


def train(
    recipe: RecipeArgument,
    data: DataOption,
    split: CasesOption,
    out: Annotated[Path, typer.Option("--out", help="Run folder: model, metrics, curves, and what a resume needs.")],
    preset: PresetOption = None,
    fold: FoldOption = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Visits of every training case; default: the recipe's.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Number of optimiser steps instead.")] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Decides weights, order and augmentation.")
    ] = 0,
    settings: SettingsOption = None,
    resume: ResumeOption = False,
    init: Annotated[
        str | None, typer.Option("--init", help="Model (name or file) whose weights to start from.")
    ] = None,
    device: DeviceOption = "auto",
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many of them on each host.")] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="How many hosts (by torchrun or SLURM).")] = 1,
    precision: Annotated[
        str | None, typer.Option("--precision", help="32-true, 16-mixed or bf16-mixed; default: the recipe's.")
    ] = None,
    workers: WorkersOption = 0,
    cache: CacheOption = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's log too.")] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Tell MLflow too: at MLFLOW_TRACKING_URI, else in the run folder.")
    ] = False,
    case_names: Annotated[
        bool,
        typer.Option("--case-names", help="Name the cases in run.json and the pictures; default: hashes and numbers."),
    ] = False,
    coding: MaskCodingOption = None,
    name: Annotated[str, typer.Option("--name", help="The model's name; default: the recipe's.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every event as a line of JSON, and the result as the last.")
    ] = False,
) -> None:
    """Train a model from a recipe, and keep the one that segments the validation cases best.

    Deterministic for a seed (same machine, versions and number of threads). Ctrl-C ends the step, saves the state and
    stops; --resume continues from there, and with more --epochs or --steps goes on after the end. The run folder holds
    model.safetensors, metrics.csv, curves.png, and a README that tells the rest.

    Examples:

      napari-brainseg train baseline --data cases --split split.csv --out run1
      napari-brainseg train baseline --data cases --split split.csv --out run1 --resume
      napari-brainseg train myronenko2018 --preset as_published --data cases --split folds.csv --fold 0 --out run2
      napari-brainseg train my.toml --data cases --split split.csv --out run3 --devices 4 --set training.batch_size=4
    """
    from brainseg_engine.core import device as devices_
    from brainseg_engine.core import labels
    from brainseg_engine.recipe import load_recipe, recipe_names
    from brainseg_engine.train import TrainOptions

    if epochs is not None and steps is not None:
        raise RecipeError(f"--epochs {epochs} and --steps {steps} contradict each other; give one of them.")
    overrides = [*(settings or []), *([f"training.epochs={epochs}"] if epochs else [])]
    overrides += [f"training.precision={precision}"] if precision else []
    chosen = load_recipe(recipe, overrides, preset)
    if resume and recipe in recipe_names():
        chosen = _as_begun(chosen, out, overrides)
    devices_.keep_heap()
    options = TrainOptions(data, split, out, steps, seed, resume, device, workers, name, init)
    options.fold, options.devices, options.nodes = fold_of(fold), devices, nodes
    options.cache, options.tensorboard, options.mlflow, options.case_names = cache, tensorboard, mlflow, case_names
    if coding is not None:
        labels.coding(coding)  # raises before any work
    options.coding = coding
    _train(chosen, options, as_json)


def _train(recipe: Recipe, options: TrainOptions, as_json: bool) -> None:
    """Train, and show it: as bars, or as a line of JSON for each event."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from brainseg_engine.cli.stopping import Stop
    from brainseg_engine.core.events import Finished
    from brainseg_engine.train import train as run

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    out = options.out
    stop = Stop("Stopping after this step; once more to stop at once.")
    others = rank_zero_only.rank > 0  # of several processes, the first one shows and reports
    with stop.listening(), Progress(*columns, console=messages(), disable=others or as_json) as bars:
        display = TrainingDisplay(bars, "validation Dice", lambda: _draw_curves(out))
        model = run(recipe, options, _print_event if as_json else display, stop)
    if others:
        return
    _draw_curves(out)
    if as_json:
        _print_event(Finished("train", {"model": str(model), "metrics": str(out / "metrics.csv")}))
        return
    say(f"The best model is {model}; the curves are in {out / 'curves.png'}.")
    say(f"Use it: napari-brainseg predict STUDY --out masks --model {model}")


def _as_begun(today: Recipe, out: Path, overrides: list[str]) -> Recipe:
    """The recipe that a run was begun with, where the program's own of that name has become another since."""
    from brainseg_engine.core import records
    from brainseg_engine.recipe import overridden, parse_recipe

    file = out / "recipe.json"
    if not file.is_file():
        return today
    try:
        begun = parse_recipe(records.read_object(file), str(file))
    except (OSError, ValueError) as e:
        raise RecipeError(f"The recipe of the run, {file}, cannot be read ({e}). Begin anew in another --out.") from e
    return overridden(begun, overrides) if (begun.name, begun.preset) == (today.name, today.preset) else today


def fold_of(given: str | None) -> Fold | None:
    """What ``--fold`` says. Raises RecipeError."""
    if given is None:
        return None
    if given == "all":
        return "all"
    if not given.isdigit():
        raise RecipeError(f"--fold {given}: give the number of a fold, counted from 0, or 'all'.")
    return int(given)


def _print_event(event: Event) -> None:
    """One line of JSON, at once."""
    print(event.to_json(), flush=True)


def _draw_curves(out: Path) -> None:
    """A picture that cannot be drawn is no reason to end a training."""
    from brainseg_engine.core.errors import BrainsegError
    from brainseg_engine.figures import curves_figure

    try:
        curves_figure(out / "metrics.csv", out / "curves.png")
    except BrainsegError as e:
        _log.warning("%s", e)
