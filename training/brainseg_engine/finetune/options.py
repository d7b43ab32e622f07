"""The options of a fine-tuning."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PARTS: Mapping[str, str] = {"everything": "all", "decoder": "decoder", "head": "head"}
"""What may be trained → how recipes call it. The head comes with the normalisation layers."""
CHANGEABLE = ("optimiser", "schedule", "augmentation", "loss", "training")
"""The sections of a recipe that say how a model is trained, not what it is."""
REAL_MIX, PHANTOM_MIX = 0.5, 0.25


@dataclass(frozen=True)
class FinetuneOptions:
    """``model`` is a name or a file, ``corrections`` a store. Exactly one of ``minutes`` (of training) and ``epochs`` is given,
    except to resume: then all but ``out`` may be left out (None), and what is given must agree."""

    out: Path
    model: str | None = None
    corrections: Path | None = None
    anchors: Path | None = None
    """Data folder of cases with masks, at best those the model was trained on; None: phantoms."""
    anchor_split: Path | None = None
    """CSV: its training cases are replayed, its validation cases scored."""
    minutes: float | None = None
    epochs: int | None = None
    parts: str | None = None
    """A key of PARTS; None: everything."""
    seed: int | None = None
    name: str | None = None
    """Of the new model; None: made from the base model's."""
    mix: float | None = None
    """Share of anchors among the samples trained on; None: REAL_MIX of cases, PHANTOM_MIX of phantoms."""
    pull: float | None = None
    """Towards the base model's weights (``training.pull``); None: 0.001."""
    rate: float | None = None
    """Peak learning rate as a multiple of the base model's; None: 0.3."""
    resume: bool = False
    device: str = "auto"
    workers: int = 0
    cache: Path | None = None
    """Of preprocessed volumes; None: the user's."""
    precision: str | None = None
    """Of the training; None: as the base model was trained."""
    set: list[str] | None = None
    """``section.key=value`` overrides of how it is trained (:data:`CHANGEABLE`), above what fine-tuning does otherwise."""
    anchor_coding: str | None = None
    """Label coding of the anchors' masks, where the files do not tell it."""

    def settings(self) -> dict[str, Any]:
        """What decides the result, as a JSON object."""
        free = {"out", "resume", "device", "workers", "cache"}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in free}
        return {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in values.items()}


def command(options: FinetuneOptions) -> list[str]:
    """The command line of that run, for a process of its own."""
    words = [sys.executable, "-m", "brainseg_engine", "finetune", "--out", str(options.out), "--device", options.device]
    given = {**options.settings(), "workers": options.workers or None, "cache": options.cache}
    for key, value in given.items():
        if isinstance(value, list):
            words += [word for item in value for word in (f"--{key}", str(item))]
        elif value is not None:
            words += [f"--{key.replace('_', '-')}", str(value)]
    return [*words, *(["--resume"] if options.resume else [])]
