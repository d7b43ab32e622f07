"""Networks: one module each; the registry is a plain dict from the recipe's network name to a builder.

A network takes (N, C, *spatial) and gives logits (N, K, *spatial), K as the recipe's output says. Every spatial size must be
a multiple of :func:`divisor`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from brainseg_engine.nets import segresnet
from brainseg_engine.recipe import Recipe

BUILDERS: Mapping[str, Callable[[Recipe], nn.Module]] = {"segresnet": segresnet.build}
DIVISORS: Mapping[str, Callable[[Recipe], int]] = {"segresnet": segresnet.divisor}


def build(recipe: Recipe) -> nn.Module:
    """The recipe's network with fresh weights from torch's global generator."""
    return BUILDERS[recipe.network.name](recipe)


def divisor(recipe: Recipe) -> int:
    """What every spatial size of the input must be a multiple of."""
    return DIVISORS[recipe.network.name](recipe)


def count_parameters(net: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
