"""Observed cases → a model's calibration: scalings, intervals, confidence and appearance, each tried by cross-validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask, Region
from brainseg_engine.inference.calibrated import Softness
from brainseg_engine.models.calibration import (
    AS_IS,
    LEVEL,
    Appearance,
    Calibration,
    RegionCalibration,
    Scaling,
    about,
    conformal_quantile,
    distance,
    score,
)

EDGES = np.linspace(-12.0, 12.0, 481)
"""Of the logits that are counted; farther ones count in the outermost."""
BINS = 15
FALSE_ALARMS = 0.07
"""Part of cases like the training cases that may be called unlike them."""
_CENTRES = (EDGES[1:] + EDGES[:-1]) / 2
_LEAST = 1e-3
_T = TypeVar("_T")
Counts = NDArray[np.int64]
Bins = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Observed:
    """One region of one case: ``true`` and ``other``, how many of the brain's voxels in and outside the true region have a logit
    in each bin of ``EDGES``; volumes in mL, and what is to be told of the answer."""

    true: Counts
    other: Counts
    true_ml: float
    ml: float
    spread: float
    dice: float
    answer: Softness

    @property
    def score(self) -> float:
        """Of the predicted volume."""
        return score(self.true_ml, self.ml, self.spread)


@dataclass(frozen=True)
class Case:
    """One case, answered by a model that had not learnt from it."""

    id: str
    regions: Mapping[Region, Observed]
    features: NDArray[np.float64]

    @property
    def dice(self) -> float:
        """Mean over the regions."""
        return float(np.mean([o.dice for o in self.regions.values()]))


def counted(probability: NDArray[np.floating], truth: Mask, brain: Mask) -> tuple[Counts, Counts]:
    """(true, other) of :class:`Observed`."""
    p = np.clip(probability[brain].astype(np.float64), 1e-9, 1 - 1e-9)
    logits = np.clip(np.log(p / (1 - p)), EDGES[0], EDGES[-1])
    inside = truth[brain]
    true, other = (np.histogram(logits[where], EDGES)[0].astype(np.int64) for where in (inside, ~inside))
    return true, other


def scaling(observed: Sequence[Observed]) -> Scaling:
    """That makes the true regions the most likely (Platt 1999; a temperature alone: Guo 2017, arXiv:1706.04599)."""
    from scipy.optimize import minimize

    true, other = sum((o.true for o in observed), 0 * EDGES[1:]), sum((o.other for o in observed), 0 * EDGES[1:])
    total = max(1, int((true + other).sum()))

    def loss(x: NDArray[np.float64]) -> float:
        z = _CENTRES * math.exp(x[0]) + x[1]
        return float((true * np.logaddexp(0, -z) + other * np.logaddexp(0, z)).sum()) / total

    found = minimize(loss, [0.0, 0.0], method="L-BFGS-B", bounds=[(-2.3, 1.6), (-5.0, 5.0)], options={"ftol": 1e-12})
    return round(math.exp(-float(found.x[0])), 4), round(float(found.x[1]), 4)


def reliability(observed: Sequence[Observed], scalings: Sequence[Scaling]) -> tuple[float, Bins]:
    """(expected calibration error, bins) of all these cases' voxels, each case with its scaling."""
    sums = np.zeros((BINS, 3))
    for o, (temperature, offset) in zip(observed, scalings, strict=True):
        p = 1 / (1 + np.exp(-(_CENTRES / temperature + offset)))
        at = np.minimum((p * BINS).astype(int), BINS - 1)
        for column, values in enumerate((p * (o.true + o.other), o.true, o.true + o.other)):
            np.add.at(sums[:, column], at, values)
    held = sums[sums[:, 2] > 0]
    bins = tuple((float(a / n), float(b / n), float(n / held[:, 2].sum())) for a, b, n in held)
    rounded = tuple((round(p, 4), round(y, 4), float(f"{part:.3g}")) for p, y, part in bins)
    return sum(part * abs(p - y) for p, y, part in bins), rounded


def calibration(cases: Sequence[Case], checked: Sequence[Case], series: int, made_from: str) -> Calibration:
    """The calibration fitted to cases out of fold; ``checked`` are cases of the model itself, which change nothing in it."""
    regions = {r: _region([c.regions[r] for c in cases], [c.regions[r] for c in checked]) for r in cases[0].regions}
    return Calibration(
        regions=regions,
        cases=len(cases),
        checked_cases=len(checked),
        made_from=made_from,
        confidence_correlation=correlation(cases),
        appearance=appearance([c.features for c in cases], [c.features for c in checked], series),
    )


def _region(observed: Sequence[Observed], checked: Sequence[Observed]) -> RegionCalibration:
    held_out, own_scaling = leave_one_out(observed, scaling), scaling(observed)
    before, after = reliability(observed, [AS_IS] * len(observed)), reliability(observed, held_out)
    errors = [round(reliability(checked, [s] * len(checked))[0], 6) if checked else None for s in (AS_IS, own_scaling)]
    quantiles = leave_one_out(observed, _quantile)
    widths = [_width(o, q) for o, q in zip(observed, quantiles, strict=True) if o.ml > 0]
    own = _quantile(observed)
    return RegionCalibration(
        temperature=own_scaling[0],
        offset=own_scaling[1],
        checked_before=errors[0],
        checked_after=errors[1],
        error_before=round(before[0], 6),
        error_after=round(after[0], 6),
        bins_before=before[1],
        bins_after=after[1],
        quantile=round(own, 4),
        coverage=round(float(np.mean([o.score <= q for o, q in zip(observed, quantiles, strict=True)])), 4),
        width=round(float(np.median(widths)), 3) if widths else 0.0,
        checked=round(float(np.mean([o.score <= own for o in checked])), 4) if checked else None,
    )


def _quantile(observed: Sequence[Observed]) -> float:
    return conformal_quantile([o.score for o in observed], LEVEL)


def _width(o: Observed, quantile: float) -> float:
    low, high = about(o.ml, o.spread, quantile)
    return (high - low) / o.ml


def leave_one_out(observed: Sequence[Observed], fit: Callable[[Sequence[Observed]], _T]) -> list[_T]:
    """For each of them, what is fitted to the others."""
    return [fit([*observed[:n], *observed[n + 1 :]]) for n in range(len(observed))]


def confidences(cases: Sequence[Case]) -> list[float]:
    """Of each case, with the scaling of the others."""
    by_region = {}
    for region in cases[0].regions:
        observed = [c.regions[region] for c in cases]
        held_out = leave_one_out(observed, scaling)
        by_region[region] = [o.answer.confidence(s) for o, s in zip(observed, held_out, strict=True)]
    return [float(np.mean(each)) for each in zip(*by_region.values(), strict=True)]


def correlation(cases: Sequence[Case]) -> float | None:
    """Spearman's, of confidence and true mean Dice; None where either is the same for all."""
    from scipy.stats import spearmanr

    found = float(spearmanr(confidences(cases), [c.dice for c in cases]).statistic)
    return round(found, 3) if math.isfinite(found) else None


def appearance(
    features: Sequence[NDArray[np.float64]], others: Sequence[NDArray[np.float64]], series: int
) -> Appearance | None:
    """What the cases look like. ``others``, of the same kind, only count in the false alarms, which are found by leaving each
    case out of all that the others make."""
    known = [f for f in features if np.isfinite(f).all()]
    if len(known) < math.ceil(1 / FALSE_ALARMS):  # no distance could be rare among fewer
        return None
    alarms = [_is_far(f, [k for n, k in enumerate(known) if n != at], series) for at, f in enumerate(known)]
    alarms += [_is_far(f, known, series) for f in others]
    mean, spread, threshold = _look(known, series)
    return Appearance(
        mean=tuple(float(f"{x:.5g}") for x in mean),
        spread=tuple(float(f"{x:.5g}") for x in spread),
        threshold=round(threshold, 4),
        series=series,
        false_alarms=round(float(np.mean(alarms)), 4),
    )


def _is_far(features: NDArray[np.float64], known: Sequence[NDArray[np.float64]], series: int) -> bool:
    mean, spread, threshold = _look(known, series)
    return distance(features, mean, spread, series) > threshold


def _look(known: Sequence[NDArray[np.float64]], series: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """(mean, spread, distance that few of the cases have from the others)."""
    apart = []
    for n, own in enumerate(known):
        others = np.array([*known[:n], *known[n + 1 :]])
        apart.append(distance(own, others.mean(axis=0), others.std(axis=0, ddof=1) + _LEAST, series))
    whole = np.array(known)
    quantile = conformal_quantile(apart, 1 - FALSE_ALARMS)
    return whole.mean(axis=0), whole.std(axis=0, ddof=1) + _LEAST, min(quantile, max(apart))
