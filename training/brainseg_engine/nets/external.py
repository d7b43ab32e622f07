"""A network of the user's own, named in the recipe."""

from __future__ import annotations

from typing import Any

from torch import nn

from brainseg_engine.core.errors import RecipeError
from brainseg_engine.core.named import named
from brainseg_engine.recipe import ExternalConfig

GROUP = "brainseg.networks"


def build(inputs: int, outputs: int, config: ExternalConfig) -> nn.Module:
    """``target(inputs, outputs, **options)``: a module (N, inputs, *spatial) → logits (N, outputs, *spatial).

    Raises RecipeError where there is none of that name, or where it cannot be made so.
    """
    make = named(config.target, GROUP, error=RecipeError)
    try:
        net: Any = make(inputs, outputs, **config.options)
    except Exception as e:  # code of somebody else's
        raise RecipeError(
            f"The network '{config.target}' cannot be made with ({inputs}, {outputs}) and network.options "
            f"{dict(config.options)}: {type(e).__name__}: {e}."
        ) from e
    if not isinstance(net, nn.Module):
        raise RecipeError(f"'{config.target}' gives a {type(net).__name__}, and a torch.nn.Module is expected.")
    return net
