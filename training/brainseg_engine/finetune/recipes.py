"""The recipe of a fine-tuning: the base model's, with what is done otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from brainseg_engine.core.errors import RecipeError
from brainseg_engine.finetune import plan
from brainseg_engine.finetune.options import CHANGEABLE, PARTS
from brainseg_engine.recipe import Recipe, overridden, parse_recipe

PULL, RATE = 1e-3, 0.3
"""Unless they are chosen: see :class:`brainseg_engine.finetune.options.FinetuneOptions`."""


def require_changeable(changes: Sequence[str]) -> None:
    """Raise RecipeError for a change (``section.key=value``) that would make it another model."""
    for item in changes:
        if item.partition(".")[0].strip() not in CHANGEABLE:
            raise RecipeError(
                f"--set {item}: fine-tuning keeps the model what it is, so only {', '.join(CHANGEABLE)} can be changed."
            )


def recipe_of(base: Recipe, made: plan.FinetunePlan) -> Recipe:
    """The base model's recipe as this plan changes it. Raises RecipeError."""
    chosen = made.settings
    tree = base.model_dump(mode="json")
    usual = 0.0 if made.gate else PULL  # a model that keeps its base need not stay near it
    pull = usual if chosen["pull"] is None else chosen["pull"]
    tree["training"] |= {"parts": PARTS[chosen["parts"] or "everything"], "pull": pull}
    if chosen["epochs"] is not None:
        tree["training"]["epochs"] = chosen["epochs"]
    tree["optimiser"]["learning_rate"] *= RATE if chosen["rate"] is None else chosen["rate"]
    if pull:
        tree["optimiser"]["weight_decay"] = 0.0  # the pull is what holds the weights
    tree["augmentation"]["transplant"] = 0.0  # no phantom's lesion in a brain, none of another scanner
    tree["schedule"] = {"name": "cosine", "warmup_steps": 5, "floor": 0.05}
    if chosen.get("precision"):
        tree["training"]["precision"] = chosen["precision"]
    changes = chosen.get("set") or ()
    require_changeable(changes)
    return overridden(parse_recipe(tree), changes)
