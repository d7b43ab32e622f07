"""What a training remembers, on disk and back: the exact resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from brainseg_engine.core.errors import TrainingError
from brainseg_engine.recipe import Recipe
from brainseg_engine.runs import RunFolder, load_state, pack, save_state, unpack
from brainseg_engine.train.rates import Rate


@dataclass
class TrainState:
    """Where the run stands."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    """Of the steps since the last row of the metrics."""


def step_seed(seed: int, step: int, rank: int) -> int:
    """What torch's generators start a step from: dropout and noise are a function of (seed, step, rank), so that there is
    nothing to save of them, on any device."""
    return ((seed * 1_000_003 + step) * 1_009 + rank + 1) % 2**63


def save(
    folder: RunFolder,
    state: TrainState,
    seed: int,
    rate: Rate,
    scaler: Mapping[str, Any],
    net: torch.nn.Module,
    ema: Mapping[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
) -> None:
    """Write ``last.safetensors``, atomically. Raises OutputError."""
    facts = {**asdict(state), "seed": seed, "rate": rate.state(), "scaler": dict(scaler)}
    save_state(folder.last, pack(net, ema, optimiser), facts, recipe)


def restore(
    folder: RunFolder, recipe: Recipe, seed: int, net: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[TrainState, dict[str, torch.Tensor], Mapping[str, Any]]:
    """Put back what :func:`save` wrote; returns the state, the averaged weights and {"rate", "scaler"}: their states.

    Raises TrainingError when the run was started with another recipe or seed.
    """
    tensors, facts, saved = load_state(folder.last)
    changed = changes(saved.model_dump(mode="json"), recipe.model_dump(mode="json"))
    if changed:
        raise TrainingError(
            f"The run in {folder.path} was started with another recipe ({'; '.join(changed[:3])}). Resume with the same, or "
            "name another --out folder."
        )
    if facts["seed"] != seed:
        raise TrainingError(f"The run in {folder.path} was started with --seed {facts['seed']}, not {seed}.")
    ema = unpack(tensors, net, optimiser)
    state = TrainState(facts["step"], facts["best"], facts["best_step"], facts["scores"], list(facts["losses"]))
    return state, ema, {"rate": facts["rate"], "scaler": facts["scaler"]}


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two recipes, in words. The epochs may: as --steps, they say how long to go on."""
    differences = []
    for key in new:
        if isinstance(new[key], Mapping) and isinstance(old.get(key), Mapping):
            differences += changes(old[key], new[key], f"{prefix}{key}.")
        elif old.get(key) != new[key] and prefix + key != "training.epochs":
            differences.append(f"{prefix}{key} was {old.get(key)!r}, not {new[key]!r}")
    return differences
