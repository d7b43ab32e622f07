"""What an evaluation gives: scores per case, their means, and their intervals."""

from __future__ import annotations

import csv
import io as text
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from brainseg_engine.core.labels import Region
from brainseg_engine.core.stats import Estimate, estimate
from brainseg_engine.scores.scorer import METRICS, NSD_MM, CaseScore


@dataclass(frozen=True)
class Evaluation:
    """Scores per case and region, and what could not be scored.

    ``cases``: id → region → score, all regions, None where not measured. ``mean``: over the cases that were scored.
    ``seen_in_training``: ids of cases the model was fitted to. ``missing``: ids without a prediction. ``failed``: id
    → why.
    """

    cases: Mapping[str, CaseScore]
    mean: CaseScore
    seen_in_training: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    nsd_mm: float = NSD_MM
    """The tolerance of the surface Dice."""
    own: Mapping[str, Mapping[str, Mapping[Region, float | None]]] = field(default_factory=dict)
    """Name of a metric of the user's own → case → region → value."""

    @cached_property
    def summary(self) -> Mapping[Region, Mapping[str, Estimate]]:
        """Region → metric → its mean, its number of cases and its 95 % interval over them."""
        return {
            region: {
                key: estimate((getattr(score[region], key) for score in self.cases.values()), metric.bounds)
                for key, metric in METRICS.items()
            }
            for region in Region
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON form as a dictionary; numbers or None, never NaN."""
        return {
            "cases": {case: _plain(score) for case, score in self.cases.items()},
            "mean": _plain(self.mean),
            "interval": {r.value: {key: e.interval for key, e in self.summary[r].items()} for r in Region},
            "n": {r.value: {key: e.n for key, e in self.summary[r].items()} for r in Region},
            "seen_in_training": list(self.seen_in_training),
            "missing": list(self.missing),
            "failed": dict(self.failed),
            "surface_dice_tolerance_mm": self.nsd_mm,
            **({"own": self._own()} if self.own else {}),
        }

    def own_estimate(self, name: str, region: Region) -> Estimate:
        """The mean of a metric of the user's own, and its interval over the cases."""
        return estimate(case.get(region) for case in self.own[name].values())

    def _own(self) -> dict[str, Any]:
        return {
            name: {
                "cases": {case: {r.value: v for r, v in values.items()} for case, values in cases.items()},
                "mean": {r.value: self.own_estimate(name, r).mean for r in Region},
            }
            for name, cases in self.own.items()
        }

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=2)

    def to_csv(self) -> str:
        """A table with a header, a row for each case, and the means in the last row; empty where not measured.

        Columns: ``case``, Dice and HD95 of each region, ``seen_in_training``, then the other metrics of each region.
        """
        out = text.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        first = ("dice", "hd95_mm")
        front = [(region, key) for region in Region for key in first]
        back = [(region, key) for region in Region for key in METRICS if key not in first]
        mine = [(name, region) for region in Region for name in self.own]
        names = [f"{region}_{name}" for name, region in mine]
        writer.writerow(["case", *map("_".join, front), "seen_in_training", *map("_".join, back), *names])
        for case, score in [*self.cases.items(), ("mean", self.mean)]:
            seen = "" if case == "mean" else int(case in self.seen_in_training)
            own = [
                self.own_estimate(name, r).mean if case == "mean" else self.own[name].get(case, {}).get(r)
                for name, r in mine
            ]
            further = ["" if v is None else f"{v:.6f}" for v in own]
            writer.writerow([case, *_cells(score, front), seen, *_cells(score, back), *further])
        return out.getvalue()


def _cells(score: CaseScore, columns: list[tuple[Region, str]]) -> list[str]:
    values = [getattr(score[region], key) for region, key in columns]
    return ["" if v is None else f"{v:.6f}" for v in values]


def _plain(score: CaseScore) -> dict[str, dict[str, float | None]]:
    return {region.value: score[region].to_dict() for region in Region}
