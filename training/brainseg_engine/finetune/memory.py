"""What to try when memory runs out: first smaller pieces on the same device, then the CPU. Each in words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from brainseg_engine.core import device
from brainseg_engine.core.errors import DeviceError, RecipeError
from brainseg_engine.recipe import Recipe, parse_recipe

CPU = "the CPU"
PIECE = 112
"""Side of the first pieces cut from a whole brain, in voxels; then some 3/4 of it."""


@dataclass(frozen=True)
class Level:
    """How to train. ``words``: what was lowered, "" for nothing."""

    recipe: Recipe
    device: str
    words: str = ""


def levels(recipe: Recipe, where: str) -> list[Level]:
    """What is tried one after the other. The model is always used with the window of ``recipe``."""
    ladder = [Level(recipe, where)]
    training = recipe.training
    if recipe.window.policy != "brain" and training.batch_size > training.accumulate:
        parts = {"batch_size": training.batch_size, "accumulate": training.batch_size}
        changed = _changed(recipe, "training", parts)
        ladder.append(Level(changed, where, f"the batch in {training.batch_size} parts"))
        recipe = changed
    for share in (1.0, 0.75) if recipe.window.policy == "brain" else (0.75, 0.5):
        size = _size(recipe, share)
        if size is not None and (recipe.window.size is None or list(recipe.window.size) != size):
            piece = "×".join(map(str, size))
            with contextlib.suppress(RecipeError):  # what the recipe's other settings do not go with is not tried
                smaller = _changed(recipe, "window", _window(recipe, size))
                ladder.append(Level(smaller, where, f"pieces of {piece} voxels"))
    if device.choose(where) != "cpu":
        ladder.append(Level(ladder[0].recipe, "cpu", CPU))
    return ladder


def ran_out(error: DeviceError) -> bool:
    """True when that error says that memory ran out, not that a device is absent."""
    return error.__cause__ is not None and device.out_of_memory(error.__cause__)


def with_less(
    level: int, tried: list[Level], attempt: Callable[[Level], None], tell: Callable[[int, str], None]
) -> None:
    """Make the attempt from that level on, until one has memory enough. ``tell`` hears the next level and a sentence.

    Raises the DeviceError of the last one.
    """
    for n in range(level, len(tried)):
        try:
            return attempt(tried[n])
        except DeviceError as e:
            if not ran_out(e) or n + 1 == len(tried):
                raise
        tell(n + 1, f"The device was out of memory; training began again with {tried[n + 1].words}.")
    return None


def _window(recipe: Recipe, size: list[int]) -> dict[str, object]:
    if recipe.window.policy == "slice":
        return {"size": size[:2], "samples_per_case": max(recipe.window.samples_per_case, 16)}
    pieces = max(recipe.window.samples_per_case, 1)
    return {
        "policy": "patch",
        "size": size,
        "samples_per_case": pieces,
        "foreground": max(recipe.window.foreground, 0.5),
    }


def _size(recipe: Recipe, share: float) -> list[int] | None:
    """Of a piece, as the network allows it; None where it allows none but its own."""
    net, window = recipe.network, recipe.window
    sides = window.size or (PIECE,) * net.dimensions
    steps = getattr(net, "training_divisor", net.divisor)
    out = []
    for side, step, least in zip(sides, steps, net.smallest, strict=False):
        fixed = side == step
        out.append(side if fixed else max(least, int(side * share) // step * step, step))
    return out


def _changed(recipe: Recipe, section: str, values: Mapping[str, object]) -> Recipe:
    tree = recipe.model_dump(mode="json")
    tree[section] |= values
    if tree["window"]["policy"] != "brain":
        tree["augmentation"]["transplant"] = 0.0  # needs whole brains
    return parse_recipe(tree)
