"""What all importers share: what is asked for, what they find, and the model file that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from brainseg_engine import nets
from brainseg_engine.core.errors import CheckpointError, OutputError
from brainseg_engine.core.names import is_model_name
from brainseg_engine.core.paths import check_writable, models_home
from brainseg_engine.core.provenance import versions
from brainseg_engine.core.study import Modality
from brainseg_engine.models import checkpoint
from brainseg_engine.models.lineage import sha256
from brainseg_engine.recipe import Recipe, overridden

UNKNOWN = (
    "What it was trained on is unknown: it may have seen the cases that it is scored on, and scores would then flatter it.",
)


@dataclass(frozen=True)
class ImportOptions:
    """What the user says of a model that comes in."""

    name: str
    series: tuple[Modality, ...] = ()
    """The order of its channels, where its files do not tell."""
    coding: str = ""
    """What its label values mean, where its files do not tell."""
    folds: tuple[str, ...] = ()
    """Of nnU-Net; () for all there are."""
    settings: tuple[str, ...] = ()
    """``section.key=value`` of its recipe, to be changed."""
    recipe: Recipe | None = None
    """How its images are prepared and what its answers mean, for files that hold a network alone (ONNX)."""
    force: bool = False
    licence: str = ""
    """As its publisher tells it, with ``terms`` and ``citation``; "" for what its files tell."""
    terms: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Foreign:
    """A model as an importer understood it: weights under the names of this program's network."""

    recipe: Recipe
    state: Mapping[str, torch.Tensor]
    source: str
    licence: str = ""
    terms: str = ""
    citation: str = ""
    data: str = ""
    version: str = "1"
    failures: tuple[str, ...] = ()
    bytes_of: tuple[Path, ...] = ()
    """The files that its weights were read from."""


def write(found: Foreign, options: ImportOptions) -> Path:
    """Write the model file; returns it. Raises CheckpointError where the weights do not fit, OutputError, RecipeError."""
    out = place(options.name, options.force)
    recipe = overridden(found.recipe, options.settings) if options.settings else found.recipe
    state = _checked(found.state, recipe, found.source)
    hashes = ", ".join(sha256(f)[:16] for f in found.bytes_of)
    card = checkpoint.Card(
        name=options.name,
        version=found.version,
        recipe=recipe.name,
        summary=recipe.summary,
        modalities=recipe.modalities,
        regions=recipe.output.regions,
        parameters=nets.count_parameters(skeleton(recipe)),
        created=datetime.now(UTC).date().isoformat(),
        licence=options.licence or found.licence or "its files do not say: see where it was published before using it",
        terms=options.terms or found.terms or terms_of(options.licence or found.licence),
        citation=options.citation or found.citation,
        source=f"{found.source} (sha256 {hashes}…)" if hashes else found.source,
        data=found.data or "its files do not say",
        known_failures=(*found.failures, *UNKNOWN),
        made_with=versions(),
    )
    check_writable(out.parent)
    checkpoint.save(out, state, card, recipe)
    return out


def terms_of(licence: str) -> str:
    """The limits that a licence's name tells, in words."""
    text = licence.lower()
    limits = []
    if any(word in text for word in ("-nc", "noncommercial", "non-commercial", "not commercial")):
        limits.append("not for commercial use")
    if "research" in text:
        limits.append("research only")
    if "gpl" in text or "-sa" in text:
        limits.append("what is made of it keeps its licence")
    return ", ".join(limits)


def _checked(state: Mapping[str, torch.Tensor], recipe: Recipe, source: str) -> dict[str, torch.Tensor]:
    """The state as the network has it, in float32. Raises CheckpointError for any that is missing, left over or misshapen."""
    wanted = skeleton(recipe).state_dict()
    missing, left = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or left:
        what = f"lacks '{missing[0]}'" if missing else f"has '{left[0]}' besides"
        raise CheckpointError(
            f"The weights of {source} do not fit the network that its configuration names: it {what} "
            f"({len(missing)} missing, {len(left)} too many). Its files were mixed up; fetch them again."
        )
    for key, tensor in state.items():
        if tensor.shape != wanted[key].shape:
            raise CheckpointError(
                f"The weights of {source} do not fit the network that its configuration names: '{key}' is "
                f"{list(tensor.shape)}, not {list(wanted[key].shape)}. Its files were mixed up; fetch them again."
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{source} holds weights that are no numbers, in '{key}': its training diverged.")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def skeleton(recipe: Recipe, training: bool = False) -> torch.nn.Module:
    """The recipe's network without any numbers in it."""
    with torch.device("meta"):
        return nets.build(recipe, training)


def place(name: str, force: bool) -> Path:
    """The file of a new model of that name. Raises OutputError where it is taken, or no name."""
    if not is_model_name(name):
        raise OutputError(f"'{name}' cannot be a model's name: use letters, digits, '-', '_' and '.' alone (--name).")
    out = models_home() / f"{name}.safetensors"
    if out.exists() and not force:
        raise OutputError(
            f"There is a model '{name}' already: {out}. Choose another --name, or replace it with --force."
        )
    return out


def refuse_own(file: Path) -> None:
    """Raise CheckpointError for a model of this program's own."""
    if file.suffix != ".safetensors" or not file.is_file():
        return
    if checkpoint.raw_metadata(file).get("format") == checkpoint.FORMAT:
        raise CheckpointError(
            f"{file} is a model of napari-brainseg already. Name its path where a model is asked for, or copy it to "
            f"{models_home()}."
        )
