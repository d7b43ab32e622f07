"""Recipes: everything that decides what a model is and how it is trained, in one frozen, checked record.

A recipe is read from TOML, travels inside every checkpoint, and refuses what it does not know: an unknown key is named
together with the nearest right one, and a contradiction with both of its values.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import RecipeError
from brainseg_engine.core.study import Modality, SeriesNeeded
from brainseg_engine.recipe.augmentation import Acquisition, Artefacts, Augmentation
from brainseg_engine.recipe.networks import (
    AttentionUNetConfig,
    ExternalConfig,
    GraftConfig,
    MyronenkoConfig,
    NetworkConfig,
    NnUNetConfig,
    OnnxConfig,
    ResidualUNet2dConfig,
    SegResNetConfig,
    SegResNetDsConfig,
    SwinUnetrConfig,
    UNet2dConfig,
)
from brainseg_engine.recipe.schedules import (
    Constant,
    Cosine,
    Halving,
    Optimiser,
    Plateau,
    Poly,
    Schedule,
    StepSchedule,
    TimeDecay,
)
from brainseg_engine.recipe.section import RecipeSection
from brainseg_engine.recipe.sections import Loss, Output, Plans, Postprocess, Preprocess, Training, Window

__all__ = [
    "Acquisition", "Artefacts", "AttentionUNetConfig", "Augmentation", "Constant", "Cosine", "ExternalConfig",
    "GraftConfig", "Halving", "Loss", "MyronenkoConfig", "NetworkConfig", "NnUNetConfig", "OnnxConfig", "Optimiser",
    "Output", "Plans", "Plateau", "Poly", "Postprocess", "Preprocess", "Recipe", "ResidualUNet2dConfig", "Schedule",
    "SegResNetConfig", "SegResNetDsConfig", "StepSchedule", "SwinUnetrConfig", "TimeDecay", "Training", "UNet2dConfig",
    "Window", "load_recipe", "overridden", "parse_recipe", "presets", "recipe_names", "recipe_text",
]  # fmt: skip

DEFAULT_NAMES = {"network": "segresnet", "schedule": "cosine"}
"""Sections that come in kinds → the kind meant when a file names none."""


class Recipe(RecipeSection):
    """One whole recipe: data, network, training and what becomes of the answer."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    preset: str = ""
    """Which of its file's presets this is; "" where it has but one."""
    summary: str = ""
    source: str = ""
    modalities: tuple[Modality, ...] = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
    may_lack: tuple[Modality, ...] = ()
    """These may be missing from a study; the network then sees 0 in their place."""
    lacks_at_most: int = Field(default=1, ge=1, le=3)
    """As many of ``may_lack`` at once."""
    needs_one_of: tuple[Modality, ...] = ()
    """At least one of these must be there."""
    preprocess: Preprocess = Preprocess()
    plans: Plans | None = None
    """Where images are prepared as nnU-Net does it; of ``preprocess`` the orientation alone counts then."""
    window: Window = Window()
    network: NetworkConfig = SegResNetConfig()
    output: Output = Output()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Cosine()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    postprocess: Postprocess = Postprocess()

    @model_validator(mode="before")
    @classmethod
    def _kinds(cls, tree: Any) -> Any:
        """Name the kind of a section that does not, and read the zeros of TOML, which has no null, as "not at all"."""
        if not isinstance(tree, Mapping):
            return tree
        tree = dict(tree)
        for section, kind in DEFAULT_NAMES.items():
            if isinstance(tree.get(section), Mapping):
                tree[section] = {"name": kind, **tree[section]}
        for section, key in (("preprocess", "spacing_mm"), ("optimiser", "clip_norm")):
            given = tree.get(section)
            if isinstance(given, Mapping) and given.get(key, 1) == 0:
                tree[section] = {**given, key: None}
        return tree

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.modalities)) != len(self.modalities) or not self.modalities:
            raise ValueError(f"modalities must be distinct and not empty, not {[str(m) for m in self.modalities]}")
        if not set(self.may_lack) <= set(self.modalities) or (self.may_lack and len(self.modalities) == 1):
            raise ValueError(
                f"may_lack is {[str(m) for m in self.may_lack]}, and modalities {[str(m) for m in self.modalities]}"
            )
        for key in ("min_component_ml", "thresholds"):
            strange = set(getattr(self.postprocess, key)) - set(self.output.regions)
            if strange:
                raise ValueError(
                    f"postprocess.{key} names {sorted(strange)}, but output.regions is {list(self.output.regions)}"
                )
        if self.augmentation.dose and not {Modality.T1, Modality.T1CE} <= set(self.modalities):
            raise ValueError(
                f"augmentation.dose is {self.augmentation.dose} and needs t1 and t1ce, but modalities is "
                f"{[str(m) for m in self.modalities]}"
            )
        if (
            isinstance(self.network, SegResNetConfig)
            and self.network.norm_over == "brain"
            and self.output.kind != "regions"
        ):
            raise ValueError(f"network.norm_over 'brain' needs output.kind 'regions', not '{self.output.kind}'")
        if self.plans is not None and len(self.plans.normalise) != len(self.modalities):
            raise ValueError(
                f"plans.normalise has {len(self.plans.normalise)} entries, and modalities {len(self.modalities)}"
            )
        self._check_window()
        self._check_loss()
        return self

    @property
    def needed(self) -> SeriesNeeded:
        """The series that it works on."""
        return SeriesNeeded(self.modalities, self.may_lack, self.lacks_at_most, self.needs_one_of)

    def for_use(self) -> Self:
        """What travels in a model: without what only the start of a training read, which may be a path on its machine."""
        if not isinstance(self.network, GraftConfig):
            return self
        network = self.network.model_copy(update={"trunk_weights": None, "freeze_trunk": False})
        return self.model_copy(update={"network": network})

    def _check_window(self) -> None:
        net, window = self.network, self.window
        if (net.dimensions == 2) != (window.policy == "slice"):
            raise ValueError(
                f"network.name '{net.name}' works in {net.dimensions}D and window.policy is '{window.policy}': 2D networks "
                "see slices, and only they do"
            )
        if self.augmentation.transplant and window.policy != "brain":
            raise ValueError(
                f"augmentation.transplant {self.augmentation.transplant} needs window.policy 'brain', not '{window.policy}'"
            )
        divisor = net.training_divisor if isinstance(net, MyronenkoConfig) else net.divisor
        if isinstance(net, MyronenkoConfig) and net.autoencoder and window.policy != "patch":
            raise ValueError(f"network.autoencoder needs a fixed size: window.policy 'patch', not '{window.policy}'")
        if isinstance(net, GraftConfig) and window.policy != "patch":
            raise ValueError(
                f"network.name '{net.name}' has a fixed depth: window.policy 'patch', not '{window.policy}'"
            )
        if window.size is None:
            return
        for axis, side, multiple, least in zip("xyz", window.size, divisor, net.smallest, strict=False):
            fixed = isinstance(net, GraftConfig) and axis == "z"
            if side % multiple or side < least or (fixed and side != multiple):
                must = f"must be {multiple}" if fixed else f"must be a multiple of {multiple} and at least {least}"
                raise ValueError(
                    f"window.size {list(window.size)}: along {axis} it {must} for network.name '{net.name}'"
                )

    def _check_loss(self) -> None:
        loss, net = self.loss, self.network
        if isinstance(net, ExternalConfig) and self.training.parts != "all":
            raise ValueError(
                f"training.parts is '{self.training.parts}', and which weights of network.target '{net.target}' that means "
                "is not known: it can only be 'all'"
            )
        branch = isinstance(net, MyronenkoConfig) and net.autoencoder
        if not branch and (loss.reconstruction or loss.kl):
            raise ValueError(
                f"loss.reconstruction {loss.reconstruction} and loss.kl {loss.kl} need an autoencoder branch, which "
                f"network.name '{net.name}' does not have here"
            )
        if self.output.kind == "regions" and (loss.generalised_dice or loss.class_weights or loss.background):
            raise ValueError(
                "loss.generalised_dice, loss.class_weights and loss.background are for output.kind 'classes', not 'regions'"
            )


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = (), preset: str | None = None) -> Recipe:
    """A bundled recipe by name, or a TOML file, in one of its presets (the first where none is named), with
    ``section.key=value`` overrides (values in TOML). Raises RecipeError."""
    text, where = _read(name_or_path)
    tree = _parse_toml(text, where)
    tree = _in_preset(tree, preset, where)
    for item in overrides:
        _override(tree, item)
    return parse_recipe(tree, where)


def overridden(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """The recipe with ``section.key=value`` overrides (values in TOML). Raises RecipeError."""
    tree = recipe.model_dump(mode="json")
    for item in overrides:
        _override(tree, item)
    return parse_recipe(tree)


def recipe_text(name_or_path: str | Path) -> str:
    """The file of a recipe, to copy and change. Raises RecipeError."""
    return _read(name_or_path)[0]


def presets(name_or_path: str | Path) -> list[str]:
    """The presets of a recipe's file, the default first. Raises RecipeError."""
    text, where = _read(name_or_path)
    return list(_own_presets(_parse_toml(text, where), where)) or ["default"]


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
        location = _without_kinds(first["loc"], tree)
        key = ".".join(str(p) for p in location) or "the recipe"
        if first["type"] == "extra_forbidden":
            raise RecipeError(
                f"{where}: unknown key '{key}'{_nearest(str(location[-1]), _keys(location, tree))}"
            ) from e
        if first["type"] == "union_tag_invalid":
            given = str(first.get("ctx", {}).get("tag", ""))
            kinds = str(first.get("ctx", {}).get("expected_tags", "")).replace("'", "").split(", ")
            raise RecipeError(f"{where}: {key}.name: there is no '{given}'{_nearest(given, kinds)}") from e
        message = str(first["msg"]).removeprefix("Value error, ")
        given = first.get("input")
        value = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
        raise RecipeError(f"{where}: {key}: {message}{value}.") from e


def _read(name_or_path: str | Path) -> tuple[str, str]:
    """The text of a recipe's file, and how to call it in a message."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            return plain.read(path, records.MOST_TOML).decode("utf-8-sig"), str(path)
        except OSError as e:
            raise RecipeError(f"Cannot read the recipe {path}: {e.strerror or e}.") from e
        except UnicodeDecodeError as e:
            raise RecipeError(f"Cannot read the recipe {path}: it is no UTF-8 text. Save it as UTF-8.") from e
    if plain.is_file(path):
        raise RecipeError(f"The recipe file {path} must have a name that ends in .toml. Rename it.")
    if str(name_or_path) not in recipe_names():
        raise RecipeError(f"There is no recipe '{name_or_path}'{_nearest(str(name_or_path), recipe_names())}")
    source = resources.files("brainseg_engine") / "recipes" / f"{name_or_path}.toml"
    return source.read_text(encoding="utf-8"), f"the recipe '{name_or_path}'"


def _parse_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return records.parse_toml(text)
    except ValueError as e:
        raise RecipeError(f"{where} is not valid TOML: {e}.") from e


def _own_presets(tree: dict[str, Any], where: str) -> Mapping[str, Mapping[str, Any]]:
    """Take ``[presets.NAME]`` out of a file's tree: preset → what it changes in the rest."""
    presets_there = tree.pop("presets", {})
    if not isinstance(presets_there, dict) or not all(isinstance(changes, dict) for changes in presets_there.values()):
        raise RecipeError(f"{where}: presets must be tables, like [presets.as_published.optimiser].")
    return presets_there


def _in_preset(tree: dict[str, Any], preset: str | None, where: str) -> dict[str, Any]:
    own = _own_presets(tree, where)
    if preset is None:
        preset = next(iter(own), None)
    elif preset not in (own or {"default": {}}):
        raise RecipeError(f"{where} has no preset '{preset}'{_nearest(preset, list(own) or ['default'])}")
    if preset is None or preset == "default":
        return tree
    return {**_merged(tree, own[preset]), "preset": preset}


def _merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``changes`` over ``tree``. A section whose kind changes is replaced whole: other kinds have other keys."""
    out = dict(tree)
    for key, value in changes.items():
        old: Any = out.get(key)
        replaced = not isinstance(old, Mapping) or (
            isinstance(value, Mapping) and value.get("name", old.get("name")) != old.get("name")
        )
        out[key] = _merged({} if replaced else old, value) if isinstance(value, Mapping) else value
    return out


def _override(tree: dict[str, Any], item: str) -> None:
    key, equals, value = item.partition("=")
    if not equals:
        raise RecipeError(f"'{item}' is not of the form section.key=value.")
    try:
        parsed = records.parse_toml(f"v = {value}")["v"]
    except ValueError:
        parsed = value  # a bare word is a string
    *sections, leaf = key.strip().split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise RecipeError(f"'{key}': '{section}' is a value, not a section.")
    if leaf == "name" and tree.get("name") != parsed:
        tree.clear()  # another kind of network or schedule has other keys
    tree[leaf] = parsed


def _kinds_of(section: str) -> dict[str, type[BaseModel]]:
    """Kind → class, of a section that comes in kinds."""
    union = Recipe.model_fields[section].annotation
    return {m.model_fields["name"].default: m for m in get_args(union)}


def _without_kinds(location: tuple[int | str, ...], tree: Mapping[str, Any]) -> tuple[int | str, ...]:
    """pydantic puts the kind into the location of an error; a reader of the file has not written it there."""
    if len(location) > 1 and location[0] in DEFAULT_NAMES and location[1] in _kinds_of(str(location[0])):
        return (location[0], *location[2:])
    return location


def _keys(location: tuple[int | str, ...], tree: Mapping[str, Any]) -> list[str]:
    model: Any = Recipe
    for part in location[:-1]:
        if part in DEFAULT_NAMES and model is Recipe:
            section = tree.get(str(part), {})
            model = _kinds_of(str(part))[section.get("name", DEFAULT_NAMES[str(part)])]
        else:
            model = model.model_fields[str(part)].annotation
    return [k for k in model.model_fields if k != "preset"]


def _nearest(word: str, choices: list[str]) -> str:
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; the choices are: {', '.join(choices)}."
