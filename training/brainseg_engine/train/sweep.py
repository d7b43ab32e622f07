"""Many trainings of one recipe with other settings, chosen by Optuna; weak ones end early. Extra ``sweep``.

Each trial is a run folder of its own. What is known of all stands in ``journal.log``, which any number of processes on hosts that
share the folder read and append to: the same command on each of them works on one sweep.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from brainseg_engine.core import outputs, plain, records
from brainseg_engine.core.errors import BrainsegError, Cancelled, InputError, RecipeError
from brainseg_engine.core.events import CancelCheck, EpochDone, Event, never
from brainseg_engine.core.paths import atomic
from brainseg_engine.recipe import Recipe, overridden
from brainseg_engine.train.options import Report, TrainOptions

_log = logging.getLogger(__name__)
_NAME = "sweep"
JOURNAL, TABLE = "journal.log", "trials.csv"
Space = Mapping[str, Mapping[str, Any]]
"""Key of the recipe → {"choices"} or {"low", "high", "log", "step"}."""


@dataclass(frozen=True)
class Best:
    """The best trial: its mean validation Dice, the settings, its run folder."""

    dice: float
    settings: tuple[str, ...]
    folder: Path


def read_space(file: Path, recipe: Recipe) -> Space:
    """The ranges in that TOML file. Raises RecipeError for keys that the recipe does not have and ranges that are none."""
    try:
        tree = records.parse_toml(plain.read(file, records.MOST_TOML).decode("utf-8-sig"))
    except (OSError, ValueError) as e:
        raise RecipeError(f"The space {file} cannot be read ({e}). Correct it.") from e
    if not tree:
        raise RecipeError(
            f'The space {file} names no key. Write one like ["optimiser.learning_rate"] low = 1e-4, high = 1e-2.'
        )
    for key, given in tree.items():
        choices = given.get("choices") if isinstance(given, dict) else None
        ranged = (
            isinstance(given, dict) and set(given) <= {"low", "high", "log", "step"} and {"low", "high"} <= set(given)
        )
        if not ranged and not (isinstance(choices, list) and choices and set(given) == {"choices"}):
            raise RecipeError(f"{file}: '{key}' needs choices = [...], or low and high (with log or step).")
        if ranged and not given["low"] < given["high"]:
            raise RecipeError(f"{file}: '{key}' has low {given['low']} and high {given['high']}; low must be less.")
        for value in choices or (given["low"], given["high"]):
            overridden(recipe, [_override(key, value)])  # raises for unknown keys, naming the nearest
    return tree


def sweep(
    recipe: Recipe, space: Space, options: TrainOptions, trials: int, report: Report, cancelled: CancelCheck = never
) -> Best:
    """Train until the sweep in ``options.out`` has that many trials, finished or ended early; returns the best.

    Raises InputError without Optuna, or where no trial finished; as ``train`` does for what is wrong with the data; Cancelled.
    """
    optuna = _optuna()
    outputs.claim(options.out, outputs.Use.TRAINING)
    study = optuna.create_study(
        study_name=_NAME, direction="maximize", load_if_exists=True,
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(options.out / JOURNAL))
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )  # fmt: skip
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)

    def objective(trial: Any) -> float:
        return _trial(optuna, trial, recipe, space, options, report, cancelled)

    while len(study.get_trials(deepcopy=False, states=states)) < trials:
        study.optimize(objective, n_trials=1)
        _write_table(study, options.out)
    if not study.get_trials(deepcopy=False, states=states[:1]):
        raise InputError(f"No trial in {options.out} ran to its end, so none is the best. Give more --trials.")
    best = study.best_trial
    return Best(float(best.value), tuple(best.user_attrs["settings"]), _folder(options.out, best.number))


def _trial(
    optuna: Any, trial: Any, recipe: Recipe, space: Space, options: TrainOptions, report: Report, cancelled: CancelCheck
) -> float:
    from brainseg_engine.train import train

    settings = [_override(key, _drawn(trial, key, given)) for key, given in space.items()]
    trial.set_user_attr("settings", settings)
    best, weak = 0.0, False

    def heard(event: Event) -> None:
        nonlocal best, weak
        if isinstance(event, EpochDone) and event.dice:
            mean = sum(event.dice.values()) / len(event.dice)
            best = max(best, mean)
            trial.report(mean, event.step)
            weak = weak or trial.should_prune()
        report(event)

    try:
        train(
            overridden(recipe, settings), replace(options, out=_folder(options.out, trial.number)), heard,
            lambda: weak or cancelled(),
        )  # fmt: skip
    except Cancelled:
        if cancelled():
            raise
        raise optuna.TrialPruned from None
    return best


def _drawn(trial: Any, key: str, given: Mapping[str, Any]) -> Any:
    if "choices" in given:
        return trial.suggest_categorical(key, given["choices"])
    low, high, step = given["low"], given["high"], given.get("step")
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, step=step or 1, log=bool(given.get("log")))
    return trial.suggest_float(key, low, high, step=step, log=bool(given.get("log")))


def _override(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    return f"{key}={records.dumps(value)}"


def _folder(out: Path, number: int) -> Path:
    return out / f"trial-{number:04d}"


def _write_table(study: Any, out: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "dice", "settings"])
    for t in study.get_trials(deepcopy=False):
        trial_settings = " ".join(t.user_attrs.get("settings", ()))
        writer.writerow([t.number, t.state.name.lower(), "" if t.value is None else f"{t.value:.4f}", trial_settings])
    try:
        with atomic(out / TABLE) as part:
            part.write_text(text.getvalue(), encoding="utf-8")
    except BrainsegError as e:  # the journal has it
        _log.warning("%s", e)


def _optuna() -> Any:
    try:
        optuna = import_module("optuna")
    except ImportError as e:
        raise InputError(
            "A sweep needs Optuna, which is not installed. Install it with: pip install 'napari-brainseg[sweep]'"
        ) from e
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
