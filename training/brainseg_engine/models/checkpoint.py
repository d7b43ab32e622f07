"""Model files: one safetensors file holds the weights, the recipe and the card. No pickle is ever written or read."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import CheckpointError, OutputError, RecipeError
from brainseg_engine.core.labels import Region
from brainseg_engine.core.paths import atomic
from brainseg_engine.core.study import Modality, SeriesNeeded
from brainseg_engine.models.calibration import Calibration
from brainseg_engine.recipe import Recipe, parse_recipe

if TYPE_CHECKING:  # cards are read where torch is not to be imported: in the window, by `models`
    import torch

FORMAT = "napari-brainseg-model/1"
_BASE, _GATE = "kept-base.", "kept-gate."
"""Before the names of tensors that a fine-tuned model keeps of its base."""


class Tuned(BaseModel):
    """What a fine-tuned model came from, and what it gained and lost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parent: str
    parent_version: str = ""
    parent_sha256: str
    """Of the parent's file."""
    corrections: tuple[str, ...] = ()
    """sha256 of the corrected masks it learnt from."""
    held_out: tuple[str, ...] = ()
    """sha256 of the corrected masks it was scored on."""
    anchors: str = ""
    """On what forgetting was measured, in words: "phantoms", or how many cases. No name of a folder or case."""
    alpha: float = 1.0
    """Weights = parent + alpha · (trained − parent)."""
    keeps_base: bool = False
    """Whether the file holds the base model's weights too, for studies that do not look like the corrected ones."""
    verdict: str = ""
    """better, no worse, worse, no claim, or "better, at a cost" (see ``finetune.proof``)."""
    scores: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float | None]]]] = Field(default_factory=dict)
    """"held_out" | "anchors" → "before" | "after" → region → {"dice", "hd95_mm"}: means over the cases."""
    cases: Mapping[str, int] = Field(default_factory=dict)
    """"held_out" | "anchors" → number of cases scored."""


class Card(BaseModel):
    """What a person should know of a model before using it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str = "1"
    recipe: str
    summary: str = ""
    modalities: tuple[Modality, ...]
    may_lack: tuple[Modality, ...] = ()
    """These may be missing from a study."""
    lacks_at_most: int = Field(default=1, ge=1, le=3)
    """As many of ``may_lack`` at once."""
    needs_one_of: tuple[Modality, ...] = ()
    """At least one of these must be there."""
    regions: tuple[Region, ...]
    parameters: int
    created: str = ""
    licence: str = ""
    terms: str = ""
    """What the licence limits, in words that are shown wherever the model is chosen: "research only", "not commercial"."""
    citation: str = ""
    """What its authors ask to be cited."""
    source: str = ""
    """Where it came from: the program it was made with, and its file's hash."""
    data: str = ""
    known_failures: tuple[str, ...] = ()
    scores: Mapping[str, Mapping[str, float | None]] = Field(default_factory=dict)
    """Region → {"dice", "hd95_mm"}: means over the validation cases of ``scores_on``."""
    subsets: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    """Series at hand, like "t1,flair" → region → mean Dice over the same cases with these series alone."""
    scores_on: str = ""
    training_hashes: tuple[str, ...] = ()
    """sha256 of every image the weights were fitted to (``Volume.sha256``)."""
    training_cases: int = 0
    steps: int = 0
    made_with: Mapping[str, str] = Field(default_factory=dict)
    """Library → version."""
    tuned: Tuned | None = None
    """For a fine-tuned model."""
    calibration: Calibration | None = None
    """How far its numbers can be trusted; None where that was not measured (see the command ``models calibrate``)."""

    @property
    def needed(self) -> SeriesNeeded:
        """The series that it works on."""
        return SeriesNeeded(self.modalities, self.may_lack, self.lacks_at_most, self.needs_one_of)

    def expected_dice(self, present: Container[Modality]) -> Mapping[str, float]:
        """Region → mean Dice that was measured with the ``present`` series alone; empty where it was not."""
        return self.subsets.get(",".join(m for m in self.modalities if m in present), {})

    def expectation(self, present: Container[Modality]) -> str:
        """What to expect of an answer that rests on the ``present`` series, in words; "" where all are there, or where it was
        not measured."""
        expected = self.expected_dice(present)
        if not expected or not self.needed.lacking(present):
            return ""
        scores = ", ".join(f"{region} {dice:.2f}" for region, dice in expected.items())
        return f"With these series alone its mean Dice{f' on {self.scores_on}' if self.scores_on else ''} was {scores}."


@dataclass(frozen=True)
class Kept:
    """What a fine-tuned model keeps of its base: the weights, and the gate between the corrected studies and others (numbers
    of :class:`brainseg_engine.inference.appearance.Gate`)."""

    state: Mapping[str, torch.Tensor]
    gate: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model file; tensors float32 on the CPU."""

    card: Card
    recipe: Recipe
    state: Mapping[str, torch.Tensor]
    kept: Kept | None = None

    def network(self) -> torch.nn.Module:
        """The network with these weights, in evaluation mode."""
        from brainseg_engine import nets

        net = nets.build(self.recipe)
        net.load_state_dict(self.state)
        return net.eval()


def save(
    path: Path,
    state: Mapping[str, torch.Tensor],
    card: Card,
    recipe: Recipe,
    *,
    half: bool = False,
    kept: Kept | None = None,
) -> None:
    """Write a model file atomically; ``half`` stores float16 (half the size, and exact enough for inference). With ``kept``,
    which the card tells of, the base model's weights are in it too.

    Raises OutputError, and the old file stays.
    """
    tensors = {k: v.half() if half and v.is_floating_point() else v for k, v in state.items()}
    if kept is not None:
        tensors |= _packed(kept)
    metadata = {"format": FORMAT, "card": card.model_dump_json(), "recipe": recipe.model_dump_json()}
    write_tensors(path, tensors, metadata)


def with_card(path: Path, out: Path, changed: Callable[[Card], Card]) -> None:
    """Write the model file anew as ``out`` with another card; its weights stay what they are, bit for bit.

    Raises CheckpointError, OutputError.
    """
    card, _ = read_metadata(path)
    from safetensors.torch import load_file

    tensors, metadata = load_file(path), raw_metadata(path)
    write_tensors(out, tensors, {**metadata, "card": changed(card).model_dump_json()})


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all. Raises OutputError, for a full disk too."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    try:
        with atomic(path) as part:
            save_file(plain, part, metadata=dict(metadata))
    except SafetensorError as e:  # its own class for what is an OSError elsewhere
        raise OutputError(f"Cannot write {path}: {e}. Free some space or choose another place.") from e


def load(path: Path) -> Checkpoint:
    """Read a model file. Raises CheckpointError for one that is absent, damaged, or another program's."""
    card, recipe = read_metadata(path)
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except Exception as e:  # safetensors raises its own class, OSError or ValueError, by the kind of damage
        raise CheckpointError(f"The model file {path} is damaged ({e}). Fetch or train it again.") from e
    state = {k: v.float() if v.is_floating_point() and not k.startswith(_GATE) else v for k, v in state.items()}
    expected = {k: tuple(v.shape) for k, v in _skeleton(recipe).items()}
    two = card.tuned is not None and card.tuned.keeps_base
    if two:
        expected |= {_BASE + k: shape for k, shape in expected.items()}
    gate = {k.removeprefix(_GATE): state.pop(k) for k in list(state) if two and k.startswith(_GATE)}
    shapes = {k: tuple(v.shape) for k, v in state.items()}
    if expected != shapes:
        wrong = sorted(k for k in expected.keys() | shapes.keys() if expected.get(k) != shapes.get(k))
        raise CheckpointError(
            f"The weights in {path} do not fit the network its recipe names ({len(wrong)} differ, first: {wrong[0]}). "
            "The file was mixed up; train or fetch it again."
        )
    endless = next((k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all())), None)
    if endless is not None:
        raise CheckpointError(f"The model file {path} holds weights that are no numbers, in '{endless}': its training diverged, "
                              "or it is damaged. Train or fetch it again.")  # fmt: skip
    if not two:
        return Checkpoint(card, recipe, state)
    base = {k.removeprefix(_BASE): state.pop(k) for k in list(state) if k.startswith(_BASE)}
    return Checkpoint(card, recipe, state, Kept(base, _gate(gate, path)))


def _packed(kept: Kept) -> dict[str, torch.Tensor]:
    import torch

    gate = {_GATE + k: torch.tensor(list(v), dtype=torch.float64) for k, v in kept.gate.items()}
    # a copy each: what went no way from its base shares the base's tensors, which a file may not
    return {**{_BASE + k: v.clone() for k, v in kept.state.items()}, **gate}


def _gate(found: Mapping[str, torch.Tensor], path: Path) -> Mapping[str, Sequence[float]]:
    """Raises CheckpointError for what is no gate."""
    import torch

    sizes = {tuple(v.shape) for v in found.values()}
    whole = set(found) == {"own", "other", "weight"} and len(sizes) == 1 and len(next(iter(sizes))) == 1
    if not whole or not all(v.dtype == torch.float64 and bool(v.isfinite().all()) for v in found.values()):
        raise CheckpointError(
            f"The model file {path} does not tell which studies its two sets of weights are for; it is damaged. Train or "
            "fetch it again."
        )
    return {k: v.tolist() for k, v in found.items()}


def read_metadata(path: Path) -> tuple[Card, Recipe]:
    """Card and recipe alone, without the weights; quick. Raises CheckpointError."""
    metadata = raw_metadata(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a model of napari-brainseg (its format is {metadata.get('format', 'not given')}). "
            "Only models made by 'napari-brainseg train' can be used."
        )
    try:
        card = Card.model_validate(records.parse_json(metadata["card"]))
        # a recipe that travels names no file: what it tells of one is of another machine
        return card, parse_recipe(records.parse_json(metadata["recipe"]), str(path)).for_use()
    except (KeyError, ValueError, TypeError, RecipeError) as e:
        why = f" ({e})" if isinstance(e, RecipeError) else ""
        raise CheckpointError(
            f"The model file {path} has no readable card or recipe{why}; it is damaged, or from a newer version: "
            "update napari-brainseg, or fetch the model again."
        ) from e


def raw_metadata(path: Path) -> dict[str, Any]:
    """The metadata of any safetensors file. Raises CheckpointError when it is none."""
    from safetensors import safe_open

    if not plain.is_file(path):
        raise CheckpointError(f"There is no model file {path}.")
    try:
        with safe_open(path, framework="numpy") as f:
            return dict(f.metadata() or {})
    except Exception as e:  # safetensors raises its own class, OSError or ValueError, by the kind of damage
        raise CheckpointError(
            f"{path} cannot be read as a model file (safetensors): it is damaged, or from another program."
        ) from e


def _skeleton(recipe: Recipe) -> Mapping[str, torch.Tensor]:
    import torch

    from brainseg_engine import nets

    with torch.device("meta"):
        return nets.build(recipe).state_dict()
