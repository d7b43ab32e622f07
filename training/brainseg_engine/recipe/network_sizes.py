"""What the settings of all networks are made of: numbers within bounds, and the sizes that follow from them."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

from brainseg_engine.core.geometry import Shape3
from brainseg_engine.recipe.section import RecipeSection

_C = TypeVar("_C", bound=RecipeSection)
Blocks = Annotated[tuple[Annotated[int, Field(ge=1, le=32)], ...], Field(max_length=8)]
"""How many at each level."""
Filters = Annotated[int, Field(ge=1, le=2048)]
Stride = Annotated[int, Field(ge=1, le=16)]


def divided(config: _C, key: str, *filters: int) -> _C:
    """The settings themselves; raises ValueError unless all numbers of filters of that key are multiples of 8."""
    wrong = next((n for n in filters if n < 8 or n % 8), None)
    if wrong is not None:
        raise ValueError(f"{key} must be a multiple of 8 (the groups of its normalisation), not {wrong}")
    return config


def cube(side: int) -> Shape3:
    """That many voxels along x, y and z."""
    return side, side, side
