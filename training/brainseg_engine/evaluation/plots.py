"""The figure of an evaluation, and of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from brainseg_engine.core.labels import Region
from brainseg_engine.core.stats import Estimate
from brainseg_engine.evaluation.comparison import COMPARED, Comparison
from brainseg_engine.evaluation.result import Evaluation
from brainseg_engine.figures import Panel, comparison_figure, scores_figure
from brainseg_engine.scores.scorer import METRICS


def plot_scores(result: Evaluation, png: Path, title: str = "") -> None:
    """A PNG: one point a case for each region and metric, with means and intervals. Raises OutputError."""
    panels = []
    for key in COMPARED:
        values = {
            region: [(v,) for case in result.cases.values() if (v := getattr(case[region], key)) is not None]
            for region in Region
        }
        panels.append(_panel(key, values, {region: result.summary[region][key] for region in Region}))
    scores_figure(panels, png, title)


def plot_comparison(comparison: Comparison, names: tuple[str, str], png: Path) -> None:
    """A PNG: one line a case, from the second set of masks to the first. Raises OutputError."""
    panels = []
    for key in COMPARED:
        values = {region: list(comparison.pairs(region, key).values()) for region in Region}
        paired = {region: comparison.regions[region][key] for region in Region}
        means = {region: Estimate(p.n, p.difference, p.low, p.high) for region, p in paired.items()}
        panels.append(_panel(key, values, means))
    comparison_figure(panels, names, png)


def _panel(key: str, values: Mapping[Region, Sequence[tuple[float, ...]]], means: Mapping[Region, Estimate]) -> Panel:
    metric = METRICS[key]
    heading = metric.heading[0].upper() + metric.heading[1:]
    return Panel(heading, values, means, metric.best, mm=metric.unit == "mm")
