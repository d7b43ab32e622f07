"""What all sections of a recipe share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

Fraction = float
Range = tuple[float, float]
LARGEST = 1e9
MOST_ITEMS = 64
LONGEST = 10_000


class RecipeSection(BaseModel):
    """Frozen; refuses unknown keys, numbers that are none, and what is out of all bounds: a recipe may come inside a model
    of anybody's, and every number in it is a size or a duration of something."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping):
            for key, value in tree.items():
                _require_bounded(str(key)[:80], value)
        return tree


def _require_bounded(key: str, value: Any) -> None:
    if isinstance(value, bool) or value is None or isinstance(value, BaseModel):
        return
    if isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{key} is out of bounds: it must lie within ±{LARGEST:g}")
    if isinstance(value, str) and len(value) > LONGEST:
        raise ValueError(f"{key} is longer than {LONGEST} characters")
    if isinstance(value, list | tuple | Mapping):
        if len(value) > MOST_ITEMS:
            raise ValueError(f"{key} has {len(value)} entries, and at most {MOST_ITEMS} make sense")
        inner: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        for item in inner:
            _require_bounded(key, item)
