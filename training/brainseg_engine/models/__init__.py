"""Models: the registry of what is installed, which one is used where none is named, and where each came from."""

from brainseg_engine.models.lineage import Ancestor, lineage, sha256
from brainseg_engine.models.registry import (
    ModelInfo,
    add,
    before_default,
    choose_default,
    default,
    find,
    free_name,
    installed,
    roll_back,
)

__all__ = [
    "Ancestor",
    "ModelInfo",
    "add",
    "before_default",
    "choose_default",
    "default",
    "find",
    "free_name",
    "installed",
    "lineage",
    "roll_back",
    "sha256",
]
