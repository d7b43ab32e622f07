"""All that a resume needs, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from brainseg_engine.core import records
from brainseg_engine.core.errors import BrainsegError, TrainingError
from brainseg_engine.models.checkpoint import raw_metadata, write_tensors
from brainseg_engine.recipe import Recipe, parse_recipe

STATE_FORMAT = "napari-brainseg-training-state/2"


def pack(
    net: torch.nn.Module, ema: Mapping[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Weights, their average and the optimiser's state as tensors with the prefixes model/ ema/ optim/.

    Random numbers need no saving: each sample's and each step's are a function of the seed and its number.
    """
    tensors = {f"model/{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in ema.items()}
    names = _trained(net)
    for i, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optim/{slot}/{names[i]}": torch.as_tensor(v) for slot, v in slots.items() if v is not None}
    return tensors


def unpack(
    tensors: Mapping[str, torch.Tensor], net: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Put back what :func:`pack` gave; returns the averaged weights. A state of step 0 has no ``optim/``."""
    part = _by_prefix(tensors)
    net.load_state_dict(part["model"])
    slots = _by_prefix(part.get("optim", {}))
    saved = optimiser.state_dict()
    state = {i: {slot: v[n] for slot, v in slots.items() if n in v} for i, n in enumerate(_trained(net))}
    optimiser.load_state_dict({**saved, "state": {i: s for i, s in state.items() if s}})
    return part["ema"]


def save_state(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], recipe: Recipe) -> None:
    """Write what a resume needs, atomically: a kill at any moment leaves the old state or the new one. Raises OutputError."""
    write_tensors(
        path, tensors, {"format": STATE_FORMAT, "facts": records.dumps(facts), "recipe": recipe.model_dump_json()}
    )


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], Recipe]:
    """The tensors, the facts and the recipe of a saved state. Raises CheckpointError, TrainingError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    described = raw_metadata(path)
    if described.get("format") != STATE_FORMAT:
        raise TrainingError(f"{path} is not the state of a training run.")
    try:
        facts = records.parse_json(described["facts"], finite=False)
        recipe = parse_recipe(records.parse_json(described["recipe"]), str(path))
        return load_file(path), facts, recipe
    except (KeyError, ValueError, OSError, SafetensorError, BrainsegError) as e:
        raise TrainingError(
            f"The saved state {path} is damaged or from another version ({e}). Start anew into another --out folder."
        ) from e


def _trained(net: torch.nn.Module) -> list[str]:
    """Names of the weights that an optimiser has, in its order."""
    return [n for n, p in net.named_parameters() if p.requires_grad]


def _by_prefix(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    out: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        prefix, _, rest = key.partition("/")
        out.setdefault(prefix, {})[rest] = value
    return out
