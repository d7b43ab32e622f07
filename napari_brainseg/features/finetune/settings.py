"""What a run is to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunSettings:
    """What a run is to do. ``model`` "": the default one; ``unit``: "minutes" or "epochs"; ``parts``: of finetune.PARTS."""

    model: str = ""
    amount: float = 15.0
    unit: str = "minutes"
    parts: str = "everything"
    anchors: Path | None = None
    device: str = "auto"
