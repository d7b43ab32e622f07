"""What a person chose for corrections, remembered from start to start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg_engine.core import records
from brainseg_engine.core.paths import atomic, home


def remembered() -> Mapping[str, Any]:
    """What was chosen before: where to keep corrections ("store"), a name ("by"), whether to name studies ("named")."""
    try:
        choices = records.read_object(_file(), most=2**16)
    except (OSError, ValueError):
        return {}
    kinds = {"store": str, "by": str, "named": bool}
    return {k: v for k, v in choices.items() if isinstance(v, kinds.get(k, object))}


def remember(choices: Mapping[str, Any]) -> None:
    """Keep that for the next start. Raises OSError or OutputError."""
    home().mkdir(parents=True, exist_ok=True)
    with atomic(_file()) as part:
        part.write_text(json.dumps(choices, ensure_ascii=False) + "\n", encoding="utf-8")


def _file() -> Path:
    return home() / "keeping.json"
