"""Checkpoints of other programs → model files of this one.

A foreign file tells neither its architecture nor how images were prepared: the recipe says both, and every weight must fit
it. The names of its layers are those of the network here, of what the network here is wrapped around, or of the system's
published code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.models.importers.writing import Foreign, ImportOptions, place, refuse_own, skeleton, write
from brainseg_engine.models.lineage import sha256
from brainseg_engine.nets import unet2d
from brainseg_engine.nets.foreign import read_weights
from brainseg_engine.recipe import AttentionUNetConfig, Recipe, SegResNetConfig, UNet2dConfig

Rename = Callable[[str], str]
"""Name of a tensor here → in a foreign file."""

PREFIXES = ("", "model.", "net.", "network.")
"""What training frameworks put before all names, after the attribute that holds the network."""


def import_model(file: Path, recipe: Recipe, name: str, *, force: bool = False) -> Path:
    """Bring a foreign checkpoint of the recipe's network into the user's models folder, under ``name``; returns its file.

    Raises CheckpointError for a file that is no weights or does not fit the recipe, OutputError for a name that is taken
    (unless ``force``) or no file name.
    """
    options = ImportOptions(name, force=force)
    place(name, force)
    refuse_own(file)
    found = Foreign(
        recipe,
        fit(read_weights(file), recipe, file),
        file.name,
        licence="imported; licence as its source says",
        data=f"imported from {file.name} (sha256 {sha256(file)}); training data unknown",
    )
    return write(found, options)


def fit(given: Mapping[str, torch.Tensor], recipe: Recipe, file: Path) -> dict[str, torch.Tensor]:
    """The given tensors under the names that the recipe's network has. Raises CheckpointError naming the first misfit."""
    wanted = skeleton(recipe).state_dict()
    known = set(wanted) | set(skeleton(recipe, training=True).state_dict())
    # the naming that explains most of the file; what is then wrong is reported in its words
    rename = max(_namings(recipe), key=lambda naming: sum(naming(k) in given for k in known))
    advice = f"Is it a checkpoint of another system than '{recipe.name}', or of other settings of its network?"
    missing = [rename(k) for k in wanted if rename(k) not in given and not _counts(k)]
    if missing:
        raise CheckpointError(
            f"{file} does not fit the recipe '{recipe.name}': it lacks {len(missing)} of {len(wanted)} tensors, the first "
            f"'{missing[0]}'. {advice}"
        )
    surplus = [k for k in given if k not in {rename(n) for n in known}]
    if surplus:
        raise CheckpointError(
            f"{file} does not fit the recipe '{recipe.name}': the network has no place for {len(surplus)} of its tensors, the "
            f"first '{surplus[0]}'. {advice}"
        )
    state = {
        k: given.get(rename(k), torch.zeros((), dtype=torch.int64)) for k in wanted
    }  # older torch counts no batches
    for k, tensor in state.items():
        if tensor.shape != wanted[k].shape:
            raise CheckpointError(
                f"{file} does not fit the recipe '{recipe.name}': '{rename(k)}' has the shape {list(tensor.shape)}, not "
                f"{list(wanted[k].shape)}. {advice}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{file} holds weights that are no numbers, in '{rename(k)}': its training diverged.")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def _namings(recipe: Recipe) -> list[Rename]:
    """The ways in which a foreign file may name the recipe's network, this one's own first."""
    config: Any = recipe.network
    plain: list[Rename] = [str]
    if isinstance(config, AttentionUNetConfig) or (isinstance(config, SegResNetConfig) and config.fold == 1):
        plain.append(lambda k: k.removeprefix("body."))  # MONAI's network, bare
    if isinstance(config, UNet2dConfig):
        modules = {ours: theirs for theirs, ours in unet2d.published_modules(config).items()}
        plain.append(lambda k: _published(k, modules))
    return [partial(_prefixed, prefix, naming) for prefix in PREFIXES for naming in plain]


def _prefixed(prefix: str, naming: Rename, key: str) -> str:
    return prefix + naming(key)


def _published(key: str, modules: Mapping[str, str]) -> str:
    ours = next(m for m in modules if key.startswith(m + "."))
    return modules[ours] + key.removeprefix(ours)


def _counts(key: str) -> bool:
    return key.endswith("num_batches_tracked")
