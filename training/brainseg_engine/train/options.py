"""The options of a training besides its recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from brainseg_engine.core.events import Event
from brainseg_engine.studies import cohort

Report = Callable[[Event], None]


@dataclass
class TrainOptions:
    """Where the data is, how long, and on what."""

    data: Path
    split: Path
    out: Path
    steps: int | None = None
    seed: int = 0
    resume: bool = False
    device: str = "auto"
    workers: int = 0
    name: str = ""
    init: str | None = None
    fold: cohort.Fold | None = None
    """Of a split in folds: the one held out for validation, or "all" to hold none out."""
    devices: int = 1
    """On each host."""
    nodes: int = 1
    cache: Path | None = None
    """Of preprocessed volumes; None: the user's."""
    tensorboard: bool = False
    mlflow: bool = False
    minutes: float | None = None
    """Of training and validation, instead of steps: the pace of the first steps decides how many, once for the run."""
    visits: Mapping[str, int] = field(default_factory=dict)
    """Case → how often an epoch visits it; once where it is not named."""
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    """Case → what ``load_study`` takes, of cases of the split that do not lie in ``data``."""
    validations: int | None = None
    """How many over the whole run, instead of the recipe's interval."""
    keep: Literal["best", "last"] = "best"
    """Which averaged weights become the model: those of the best validation, or those of the last step."""
    case_names: bool = False
    """Whether ``run.json`` and the pictures name the cases, which may tell who the patients are."""
    coding: str | None = None
    """Of the masks, where files do not tell it, or tell it wrongly."""
    codings: Mapping[str, str] = field(default_factory=dict)
    """Case → the coding of its mask, where it is another."""
    rows: int | None = None
    """About how many rows ``metrics.csv`` shall have; None: one every 25 steps."""
