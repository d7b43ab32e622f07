"""`napari-brainseg sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainseg_engine.cli.options import (
    CacheOption,
    CasesOption,
    DataOption,
    DeviceOption,
    MaskCodingOption,
    PresetOption,
    RecipeArgument,
    SettingsOption,
    WorkersOption,
)
from brainseg_engine.cli.printing import TrainingDisplay, messages, say, say_json


def sweep(
    recipe: RecipeArgument,
    space: Annotated[
        Path, typer.Option("--space", help="TOML file with what is tried of which key.", show_default=False)
    ],
    data: DataOption,
    split: CasesOption,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the sweep: a run folder for each trial.", show_default=False)
    ],
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many, of all processes together.")] = 20,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Of each trial.", show_default="the recipe's")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of each training.")] = 0,
    device: DeviceOption = "auto",
    workers: WorkersOption = 0,
    cache: CacheOption = None,
    coding: MaskCodingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best trial as one JSON object.")] = False,
) -> None:
    """Train a recipe with other settings again and again, chosen by Optuna from the space; weak trials end early, judged by
    their Dice on the validation cases.

    The same command, on any hosts that share the folder, works on one sweep; stopped, it goes on. trials.csv lists all.

    Examples:

      napari-brainseg sweep baseline --space space.toml --data cases --split split.csv --out sweep1 --trials 40
    """
    from rich.progress import BarColumn, Progress, TextColumn

    from brainseg_engine.cli.stopping import Stop
    from brainseg_engine.core import device as devices
    from brainseg_engine.core import labels
    from brainseg_engine.recipe import load_recipe
    from brainseg_engine.train import TrainOptions
    from brainseg_engine.train import sweep as sweeping

    if coding is not None:
        labels.coding(coding)
    chosen = load_recipe(recipe, settings or [], preset)
    ranges = sweeping.read_space(space, chosen)
    devices.keep_heap()
    options = TrainOptions(data, split, out, steps, seed, device=device, workers=workers, cache=cache, coding=coding)
    stop = Stop("Stopping after this step; once more to stop at once.")
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with stop.listening(), Progress(*columns, console=messages(), disable=as_json) as bars:
        display = TrainingDisplay(bars, "validation Dice", lambda: None)
        best = sweeping.sweep(chosen, ranges, options, trials, display, stop)
    if as_json:
        say_json({"dice": best.dice, "settings": list(best.settings), "folder": str(best.folder)})
        return
    say(f"Best validation Dice {best.dice:.4f}, in {best.folder}: {' '.join(f'--set {s}' for s in best.settings)}")
