"""Recipes: everything that decides what a model is and how it is trained, in one frozen, checked record.

A recipe is read from TOML, travels inside every checkpoint, and refuses what it does not know: an unknown key is named
together with the nearest right one, and a contradiction with both of its values.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainseg_engine.errors import RecipeError
from brainseg_engine.labels import Region
from brainseg_engine.study import Modality

Fraction = float


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preprocess(_Section):
    """What happens to the images before the network: RAS order, resampling, crop to the brain, normalisation."""

    spacing_mm: float = Field(default=1.0, gt=0, le=10)
    """Isotropic voxel side the network works at."""
    clip_percentiles: tuple[float, float] = (0.1, 99.9)
    """Per modality, of the voxels inside the brain; tames single bright vessels before the z-score."""
    margin_voxels: int = Field(default=2, ge=0)
    """Kept around the brain's bounding box."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.clip_percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"clip_percentiles must rise within 0…100, not {low}, {high}")
        return self


class Window(_Section):
    """How large a piece the network sees at once, in training and in inference alike.

    ``brain`` is the whole brain's box in one pass. A net with group or instance normalisation answers differently when the
    window changes, so the policy belongs to the model. A box beyond ``largest`` is cut into overlapping tiles.
    """

    policy: Literal["brain"] = "brain"
    largest: tuple[int, int, int] = (208, 240, 208)
    overlap: Fraction = Field(default=0.25, ge=0, lt=1)

    @model_validator(mode="after")
    def _some_room(self) -> Self:
        if min(self.largest) < 16:
            raise ValueError(f"largest must be at least 16 voxels along every axis, not {list(self.largest)}")
        return self


class SegResNetConfig(_Section):
    """Encoder–decoder of Myronenko 2018 (arXiv:1810.11654) without the autoencoder branch, in MONAI's form.

    ``fold`` = r folds each r×r×r block of voxels into channels before the first convolution and unfolds the logits at the
    end, so that images and answers are at full resolution while the convolutions run on a grid r times coarser.
    """

    name: Literal["segresnet"] = "segresnet"
    fold: int = Field(default=2, ge=1, le=4)
    init_filters: int = Field(default=16, ge=8)
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    blocks_up: tuple[int, ...] = (1, 1, 1)
    dropout: Fraction = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.blocks_up) != len(self.blocks_down) - 1:
            raise ValueError(
                f"blocks_up needs one entry less than blocks_down, not {len(self.blocks_up)} and {len(self.blocks_down)}"
            )
        if self.init_filters % 8:
            raise ValueError(
                f"init_filters must be a multiple of 8 (the groups of its normalisation), not {self.init_filters}"
            )
        return self


class Output(_Section):
    """What the channels mean: independent sigmoid regions, nested when they become labels."""

    kind: Literal["regions"] = "regions"
    regions: tuple[Region, ...] = (Region.WT, Region.TC, Region.ET)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.regions)) != len(self.regions) or not self.regions:
            raise ValueError(f"regions must be distinct and not empty, not {[str(r) for r in self.regions]}")
        return self


class Loss(_Section):
    """Weighted sum of the soft Dice loss (per case and region) and the binary cross-entropy."""

    dice: float = Field(default=1.0, ge=0)
    cross_entropy: float = Field(default=1.0, ge=0)
    squared: bool = False
    """Squares in Dice's denominator (V-Net), or none."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.dice == 0 and self.cross_entropy == 0:
            raise ValueError("dice and cross_entropy are both 0: there is nothing to minimise")
        return self


class Optimiser(_Section):
    """AdamW (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)


class Schedule(_Section):
    """Learning rate over steps: linear warm-up, then cosine down to ``floor`` times the peak."""

    name: Literal["cosine"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    floor: Fraction = Field(default=0.01, ge=0, le=1)


class Augmentation(_Section):
    """Random changes of a training case; probabilities per case, intensity changes per modality."""

    flip: Fraction = Field(default=0.5, ge=0, le=1)
    affine: Fraction = Field(default=0.5, ge=0, le=1)
    rotation_deg: float = Field(default=15.0, ge=0)
    scale: tuple[float, float] = (0.85, 1.15)
    intensity: Fraction = Field(default=0.8, ge=0, le=1)
    shift: float = Field(default=0.2, ge=0)
    contrast: tuple[float, float] = (0.75, 1.3)
    gamma: Fraction = Field(default=0.3, ge=0, le=1)
    gamma_range: tuple[float, float] = (0.7, 1.4)
    bias_field: Fraction = Field(default=0.25, ge=0, le=1)
    noise: Fraction = Field(default=0.2, ge=0, le=1)
    noise_sd: float = Field(default=0.15, ge=0)
    blur: Fraction = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for key in ("scale", "contrast", "gamma_range"):
            low, high = getattr(self, key)
            if not 0 < low <= high:
                raise ValueError(f"{key} must be two positive numbers that rise, not {low}, {high}")
        return self


class Training(_Section):
    """The loop."""

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=1, ge=1)
    ema_decay: Fraction = Field(default=0.995, ge=0, lt=1)
    """Exponential moving average of the weights, which is what is validated and kept; 0 for none."""
    validate_every_steps: int = Field(default=250, ge=1)
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"


class Postprocess(_Section):
    """Probabilities → labels."""

    threshold: Fraction = Field(default=0.5, gt=0, lt=1)
    min_component_ml: Mapping[Region, float] = Field(default_factory=dict)
    """Region → connected components below that volume are removed."""


class Recipe(_Section):
    """One whole recipe."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    summary: str = ""
    source: str = ""
    modalities: tuple[Modality, ...] = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
    preprocess: Preprocess = Preprocess()
    window: Window = Window()
    network: SegResNetConfig = SegResNetConfig()
    output: Output = Output()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    postprocess: Postprocess = Postprocess()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.modalities)) != len(self.modalities) or not self.modalities:
            raise ValueError(f"modalities must be distinct and not empty, not {[str(m) for m in self.modalities]}")
        strange = set(self.postprocess.min_component_ml) - set(self.output.regions)
        if strange:
            raise ValueError(
                f"postprocess.min_component_ml names {sorted(strange)}, but output.regions is {list(self.output.regions)}"
            )
        return self


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A bundled recipe by name, or a TOML file, with ``section.key=value`` overrides (values in TOML). Raises RecipeError."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            text, where = path.read_text(encoding="utf-8"), str(path)
        except OSError as e:
            raise RecipeError(f"Cannot read the recipe {path}: {e.strerror}.") from e
        except UnicodeDecodeError as e:
            raise RecipeError(f"Cannot read the recipe {path}: it is no UTF-8 text. Save it as UTF-8.") from e
    else:
        source = resources.files("brainseg_engine") / "recipes" / f"{name_or_path}.toml"
        if path.is_file():
            raise RecipeError(f"The recipe file {path} must have a name that ends in .toml. Rename it.")
        if not source.is_file():
            raise RecipeError(f"There is no recipe '{name_or_path}'{_nearest(str(name_or_path), recipe_names())}")
        text, where = source.read_text(encoding="utf-8"), f"the recipe '{name_or_path}'"
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise RecipeError(f"{where} is not valid TOML: {e}.") from e
    for item in overrides:
        _override(tree, item)
    return parse_recipe(tree, where)


def recipe_names() -> list[str]:
    """The bundled recipes."""
    folder = resources.files("brainseg_engine") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def parse_recipe(tree: Mapping[str, Any], where: str = "the recipe") -> Recipe:
    """A checked Recipe from nested mappings. Raises RecipeError naming the key, the value and the nearest right key."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(str(p) for p in first["loc"]) or "the recipe"
        if first["type"] == "extra_forbidden":
            raise RecipeError(
                f"{where}: unknown key '{key}'{_nearest(str(first['loc'][-1]), _keys(first['loc']))}"
            ) from e
        message = str(first["msg"]).removeprefix("Value error, ")
        given = first.get("input")
        value = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
        raise RecipeError(f"{where}: {key}: {message}{value}.") from e


def _override(tree: dict[str, Any], item: str) -> None:
    key, equals, value = item.partition("=")
    if not equals:
        raise RecipeError(f"'{item}' is not of the form section.key=value.")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is a string
    *sections, leaf = key.strip().split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise RecipeError(f"'{key}': '{section}' is a value, not a section.")
    tree[leaf] = parsed


def _keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Recipe
    for part in location[:-1]:
        model = model.model_fields[str(part)].annotation
    return list(model.model_fields)


def _nearest(word: str, choices: list[str]) -> str:
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; the choices are: {', '.join(choices)}."
