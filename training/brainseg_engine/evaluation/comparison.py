"""Two sets of masks of the same cases, compared case by case.

Each metric of each region gives one paired difference a case, first minus second. Shown are its mean with a 95 %
interval, in how many cases the first is better, and the p value of a paired test, plain and adjusted for the number of
tests (:mod:`brainseg_engine.core.stats`). A small p says that the difference is more than these cases' chance; it says nothing
about patients of another kind, nor that the difference matters.
"""

from __future__ import annotations

import csv
import io as text
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from brainseg_engine.core.labels import Region
from brainseg_engine.core.stats import CONFIDENCE, Bounds, estimate, holm, signed_rank
from brainseg_engine.evaluation.result import Evaluation
from brainseg_engine.scores.scorer import METRICS

COMPARED = ("dice", "hd95_mm", "lesion_dice", "lesion_hd95_mm")
"""The metrics that are compared. Every further one would make each test weaker."""

_SAME = 1e-9


@dataclass(frozen=True)
class Paired:
    """One metric of one region over the ``n`` cases that have it in both sets; None where it is not known.

    ``difference`` is the mean of first − second, ``low`` … ``high`` its 95 % interval (None below 3 cases). ``better``
    and ``worse``: cases in which the first is better, and worse, than the second. ``p``: paired Wilcoxon signed-rank,
    two-sided; ``p_holm``: the same, adjusted for all tests of the comparison. ``note``: why there is no p, or how it
    was found.
    """

    n: int
    first: float | None = None
    second: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    better: int = 0
    worse: int = 0
    equal: int = 0
    p: float | None = None
    p_holm: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two evaluations side by side. ``cases``: those that both scored, which alone are compared."""

    first: Evaluation
    second: Evaluation

    @property
    def cases(self) -> tuple[str, ...]:
        """The ids in both."""
        return tuple(case for case in self.first.cases if case in self.second.cases)

    def pairs(self, region: Region, metric: str) -> dict[str, tuple[float, float]]:
        """Case → its value in the first and in the second, where both have one."""
        out = {}
        for case in self.cases:
            a, b = (getattr(e.cases[case][region], metric) for e in (self.first, self.second))
            if a is not None and b is not None:
                out[case] = (float(a), float(b))
        return out

    @cached_property
    def regions(self) -> Mapping[Region, Mapping[str, Paired]]:
        """Region → metric → what may be said of the differences."""
        keys = [(region, metric) for region in Region for metric in COMPARED]
        rows = [_paired(list(self.pairs(*key).values()), METRICS[key[1]].best, METRICS[key[1]].bounds) for key in keys]
        adjusted = holm([p.p for p in rows])
        table = {key: replace(p, p_holm=q) for key, p, q in zip(keys, rows, adjusted, strict=True)}
        return {region: {metric: table[region, metric] for metric in COMPARED} for region in Region}

    @property
    def tests(self) -> int:
        """How many p values there are, for which ``p_holm`` is adjusted."""
        return sum(p.p is not None for of_region in self.regions.values() for p in of_region.values())

    def to_dict(self) -> dict[str, Any]:
        """The JSON form as a dictionary; numbers or None, never NaN."""
        return {
            "cases": list(self.cases),
            "difference": "predictions minus against",
            "confidence": CONFIDENCE,
            "test": "Wilcoxon signed-rank, paired, two-sided",
            "tests": self.tests,
            "regions": {r.value: {m: asdict(p) for m, p in of_r.items()} for r, of_r in self.regions.items()},
        }

    def to_csv(self) -> str:
        """A long table: a row for each region, metric and case, and one with the means (case ``mean``) after each."""
        columns = ("low", "high", "n", "better", "worse", "equal", "p", "p_holm", "note")
        out = text.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["region", "metric", "case", "first", "second", "difference", *columns])
        for region, of_region in self.regions.items():
            for metric, paired in of_region.items():
                for case, (a, b) in self.pairs(region, metric).items():
                    writer.writerow([region, metric, case, *map(_cell, (a, b, a - b)), *[""] * len(columns)])
                means = (paired.first, paired.second, paired.difference)
                row = [region, metric, "mean", *map(_cell, (*means, *(getattr(paired, name) for name in columns)))]
                writer.writerow(row)
        return out.getvalue()


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """``first`` against ``second``, such as after and before fine-tuning: differences are first − second."""
    return Comparison(first, second)


def _paired(pairs: list[tuple[float, float]], best: int, bounds: Bounds) -> Paired:
    """``best``: 1 where higher is better, -1 where lower is; ``bounds``: of one value."""
    if not pairs:
        return Paired(0, note="measured in no case of both")
    differences = [a - b for a, b in pairs]
    mean = estimate(differences, (bounds[0] - bounds[1], bounds[1] - bounds[0]))
    test = signed_rank(differences)
    better = sum(best * d > _SAME for d in differences)
    worse = sum(best * d < -_SAME for d in differences)
    n = len(pairs)
    return Paired(
        n=n,
        first=sum(a for a, _ in pairs) / n,
        second=sum(b for _, b in pairs) / n,
        difference=mean.mean,
        low=mean.low,
        high=mean.high,
        better=better,
        worse=worse,
        equal=n - better - worse,
        p=test.p,
        note=test.note,
    )


def _cell(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return "" if value is None else str(value)
