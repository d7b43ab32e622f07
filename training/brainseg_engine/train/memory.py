"""What to lower when memory runs out, and by how much."""

from __future__ import annotations

from brainseg_engine.core import device
from brainseg_engine.recipe import MyronenkoConfig, Recipe


def advice(recipe: Recipe, where: str) -> str:
    """One sentence: the setting, its value and a value that about halves the memory of a step on that device."""
    training, window = recipe.training, recipe.window
    parts = training.accumulate
    if window.policy != "brain" and training.batch_size > parts:
        more = next(n for n in range(parts + 1, training.batch_size + 1) if training.batch_size % n == 0)
        return f"Set training.accumulate to {more} instead of {parts}: the same batch, in smaller parts."
    if window.size is not None and (smaller := _smaller(recipe)) is not None:
        return f"Set window.size to {smaller} instead of {list(window.size)}."
    if training.precision == "32-true" and not device.imitates("bf16-mixed", where):
        return 'Set training.precision to "bf16-mixed" instead of "32-true", which about halves what is kept of a step.'
    if recipe.preprocess.spacing_mm is not None:
        spacing = recipe.preprocess.spacing_mm
        return f"Set preprocess.spacing_mm to {spacing * 1.26:.2f} instead of {spacing:g}: half as many voxels."
    return "Take a network with fewer filters."


def _smaller(recipe: Recipe) -> list[int] | None:
    """A legal window of about half the voxels; None when there is none."""
    net, size = recipe.network, recipe.window.size
    if size is None:
        return None
    steps = net.training_divisor if isinstance(net, MyronenkoConfig) else net.divisor
    free = [axis for axis in range(len(size)) if steps[axis] < size[axis]]
    if not free:
        return None
    shrink = 0.5 ** (1 / len(free))
    out = list(size)
    for axis in free:
        out[axis] = max(net.smallest[axis], int(size[axis] * shrink) // steps[axis] * steps[axis])
    return out if out != list(size) else None
