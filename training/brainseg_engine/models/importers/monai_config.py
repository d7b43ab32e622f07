"""Configurations of MONAI as data: what is plain is read, what would be run is refused.

In a bundle, ``@key`` stands for another value of the same file and ``$…`` for Python to be run. Of the latter only names of
other values and the constants are understood (``$@key``, ``$True``); anything else is refused where it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import CheckpointError

_CONSTANTS = {"True": True, "False": False, "None": None}
_REFERENCE = re.compile(r"\$?\s*@([\w#:]+)\s*")
_MOST_STEPS = 20


class Config:
    """One configuration file (JSON or YAML). Raises CheckpointError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = read(path)

    def get(self, *keys: str, default: Any = None) -> Any:
        """The first of those top-level keys that is there, resolved."""
        for key in keys:
            if key in self.tree:
                return self.plain(self.tree[key], key)
        return default

    def plain(self, value: Any, where: str, steps: int = 0) -> Any:
        """The value, with what it refers to put in its place. Raises CheckpointError for code, and for circles."""
        if steps > _MOST_STEPS:
            raise CheckpointError(f"{self.path}: '{where}' refers to itself.")
        if isinstance(value, Mapping):
            return {k: self.plain(v, f"{where}.{k}", steps + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.plain(v, where, steps + 1) for v in value]
        if not isinstance(value, str) or not value.startswith(("$", "@", "%")):
            return value
        if value.lstrip("$").strip() in _CONSTANTS:
            return _CONSTANTS[value.lstrip("$").strip()]
        reference = _REFERENCE.fullmatch(value)
        if reference is None:
            raise CheckpointError(
                f"{self.path}: '{where}' is the program code '{value[:120]}', which is never run here. Replace it by its value."
            )
        found: Any = self.tree
        for part in re.split(r"#|::", reference[1]):
            if isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            elif isinstance(found, Mapping) and part in found:
                found = found[part]
            else:
                raise CheckpointError(f"{self.path}: '{where}' refers to '{reference[1]}', which is not there.")
        return self.plain(found, where, steps + 1)

    def component(self, value: Any, where: str, known: Mapping[str, Any], what: str) -> tuple[str, dict[str, Any]]:
        """(name, arguments) of a ``{"_target_": …}`` whose last name is among the ``known``. Raises CheckpointError."""
        if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
            raise CheckpointError(f"{self.path}: '{where}' names no {what} by its _target_.")
        name = value["_target_"].rsplit(".", 1)[-1]
        if name not in known:
            raise CheckpointError(
                f"{self.path}: the {what} '{value['_target_']}' is not known here; known are {', '.join(sorted(known))}."
            )
        if self.plain(value.get("_disabled_", False), where):
            return "", {}
        return name, {k: v for k, v in value.items() if not k.startswith("_")}


def read(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file. Raises CheckpointError."""
    try:
        data = plain.read(path, records.MOST_BYTES)
        if path.suffix == ".json":
            found: Any = records.parse_json(data, finite=False)
        else:
            import yaml

            found = yaml.safe_load(data)
    except ImportError as e:
        raise CheckpointError(f"{path} is YAML: pip install PyYAML to read it.") from e
    except RecursionError as e:
        raise CheckpointError(f"{path} is nested too deeply. Fetch it again.") from e
    except Exception as e:  # OSError, ValueError, and the classes of yaml
        raise CheckpointError(f"{path} cannot be read: {e}. Fetch it again.") from e
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no configuration. Fetch it again.")
    return found
