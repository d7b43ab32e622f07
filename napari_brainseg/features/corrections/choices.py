"""What a person chose for corrections, remembered from start to start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg_engine.core.paths import atomic, home


def remembered() -> Mapping[str, Any]:
    """What was chosen before: where to keep corrections ("store"), a name ("by"), whether to name studies ("named")."""
    try:
        choices = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return choices if isinstance(choices, dict) else {}


def remember(choices: Mapping[str, Any]) -> None:
    """Keep that for the next start. Raises OSError or OutputError."""
    home().mkdir(parents=True, exist_ok=True)
    with atomic(_file()) as part:
        part.write_text(json.dumps(choices, ensure_ascii=False) + "\n", encoding="utf-8")


def _file() -> Path:
    return home() / "keeping.json"
