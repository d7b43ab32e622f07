"""A recipe's file: bundled or one's own, its presets, overrides, and what is wrong in it in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import RecipeError
from brainseg_engine.recipe.whole import DEFAULT_NAMES, Recipe


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
        if tree.get(section) is None:  # not there, or "none of it"
            tree[section] = {}
        tree = tree[section]
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
