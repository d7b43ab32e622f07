"""What a model's card says of how far its numbers can be trusted, and what that makes of one study. Needs no torch.

All of it was fitted to predictions out of fold: of cases that the model answering them had not learnt from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainseg_engine.core.labels import Region

FLOOR_ML = 1.0
"""Added to volumes before their ratio is taken, so that small and empty regions have one."""
LEAST_SPREAD = 0.1
"""Added to the model's own spread: an answer with sharp borders may be wrong too."""
LEVEL = 0.9
"""Part of the true volumes that the intervals are made to hold."""
SURE, POSSIBLE = 0.9, 0.1
"""Probabilities, before any calibration: the volumes above each tell how soft an answer is."""

Scaling = tuple[float, float]
"""(temperature, offset): a calibrated logit is the logit / temperature + offset (Platt's scaling)."""
AS_IS: Scaling = (1.0, 0.0)
_Numbers = NDArray[np.floating[Any]]


class RegionCalibration(BaseModel):
    """Of one region."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(gt=0, allow_inf_nan=False)
    """Logits are divided by it …"""
    offset: float = Field(default=0.0, allow_inf_nan=False)
    """… and this is added. A temperature alone cannot mend a model that finds too much or too little."""
    error_before: float
    """Expected calibration error over the brain's voxels, 15 bins, without and with these (by cross-validation)."""
    error_after: float
    checked_before: float | None = None
    """The same of the model itself on its validation cases."""
    checked_after: float | None = None
    bins_before: tuple[tuple[float, float, float], ...] = ()
    """(mean probability, part of the voxels that truly belong to the region, part of all voxels) of each bin that has any."""
    bins_after: tuple[tuple[float, float, float], ...] = ()
    quantile: float = Field(gt=0, allow_inf_nan=False)
    """Of the scores (see :func:`score`); makes the interval."""
    coverage: float
    """Part of the true volumes within their intervals, each made from the other cases."""
    width: float
    """Median of (high − low) / predicted volume there."""
    checked: float | None = None
    """Coverage of the model itself on its validation cases."""


class Appearance(BaseModel):
    """What the training cases look like: mean and standard deviation of each feature of a study's images
    (:mod:`brainseg_engine.inference.appearance`), and from which distance on a study is unlike them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    threshold: float
    series: int = Field(ge=1)
    false_alarms: float
    """Part of the cases it was made and checked with that are called unlike the others, each by the others."""

    def distance(self, features: Sequence[float] | _Numbers) -> float:
        """Of the series that is farthest from the training cases: root mean square of its features, standardised."""
        return distance(np.asarray(features), np.array(self.mean), np.array(self.spread), self.series)


class Calibration(BaseModel):
    """Of one model, by the command ``models calibrate``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    regions: Mapping[Region, RegionCalibration]
    level: float = LEVEL
    cases: int
    """Number of cases out of fold."""
    checked_cases: int = 0
    made_from: str = ""
    """In words: which models answered the cases."""
    confidence_correlation: float | None = None
    """Spearman's, of the confidence with the true mean Dice, over the cases out of fold (each with the scaling of the others)."""
    appearance: Appearance | None = None

    @property
    def scaling(self) -> dict[Region, Scaling]:
        """Region → how its logits are to be taken."""
        return {r: (c.temperature, c.offset) for r, c in self.regions.items()}

    def interval(self, region: Region, ml: float, spread: float) -> tuple[float, float] | None:
        """(low, high) in mL about a predicted volume whose answer has that ``spread`` (see :func:`spread`)."""
        own = self.regions.get(region)
        return None if own is None else about(ml, spread, own.quantile)

    def unlike(self, features: Sequence[float] | _Numbers) -> str:
        """A sentence where images with these features look unlike anything the model has learnt from; else ""."""
        look = self.appearance
        if look is None or len(features) != len(look.mean) or look.distance(features) <= look.threshold:
            return ""
        return (
            "These images look unlike any that the model has learnt from (another scanner, slice thickness or preparation): "
            "look closely at the result."
        )


def spread(possible_ml: float, sure_ml: float) -> float:
    """How soft an answer is: the logarithm of the ratio of the volumes above :data:`POSSIBLE` and :data:`SURE`; ≥ 0."""
    return max(0.0, math.log((possible_ml + FLOOR_ML) / (sure_ml + FLOOR_ML)))


def score(true_ml: float, ml: float, spread: float) -> float:
    """How far the truth is from a predicted volume, in units of the answer's own spread (normalised conformal scores:
    Lei 2018, doi:10.1080/01621459.2017.1307116)."""
    return abs(math.log((true_ml + FLOOR_ML) / (ml + FLOOR_ML))) / (LEAST_SPREAD + spread)


def about(ml: float, spread: float, quantile: float) -> tuple[float, float]:
    """(low, high): all volumes whose :func:`score` is at most ``quantile``. Holds ``ml`` itself; low is never below 0."""
    factor = math.exp(min(quantile * (LEAST_SPREAD + spread), 50.0))
    low, high = (ml + FLOOR_ML) / factor - FLOOR_ML, (ml + FLOOR_ML) * factor - FLOOR_ML
    return min(ml, max(0.0, low)), max(ml, high)


def conformal_quantile(scores: Sequence[float], level: float = LEVEL) -> float:
    """The ⌈(n + 1) · level⌉-th smallest: of one more score from where these came from, at least ``level`` are no larger.

    Infinite where there are too few.
    """
    rank = math.ceil((len(scores) + 1) * level - 1e-9)
    return sorted(scores)[rank - 1] if rank <= len(scores) else math.inf


def scaled(probabilities: _Numbers, scaling: Scaling) -> NDArray[np.float32]:
    """Calibrated probabilities, which rise with the probabilities given: thresholds can be taken along."""
    p = np.asarray(probabilities, dtype=np.float32)
    if scaling == AS_IS:
        return p
    temperature, offset = scaling
    with np.errstate(divide="ignore", over="ignore"):  # 0 and 1 stay what they are
        logit = np.log(p) - np.log1p(-p)
        out: NDArray[np.float32] = (1 / (1 + np.exp(-(logit / temperature + offset)))).astype(np.float32)
    return out


def distance(features: _Numbers, mean: _Numbers, spread: _Numbers, series: int) -> float:
    """See :meth:`Appearance.distance`; features that are no numbers (of a missing series) do not count."""
    z = ((features - mean) / spread).reshape(series, -1) ** 2
    return float(np.sqrt(max((row[np.isfinite(row)].mean() for row in z if np.isfinite(row).any()), default=0.0)))
