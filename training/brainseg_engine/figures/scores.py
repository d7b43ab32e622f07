"""The scores of one set of masks, or of two sets case by case, region by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Region
from brainseg_engine.core.palette import BLUISH_GREEN, REGION_COLOURS, VERMILLION
from brainseg_engine.core.stats import Estimate
from brainseg_engine.figures.canvas import FAINT, GROUND, TEXT, dark_figure, save

Colour = str | tuple[float, float, float]

_LINE, _EDGE = "#2b2d33", "#4a4d55"
_TICKS_MM = (0, 1, 3, 10, 30, 100, 374)
_TOP_MM = 520
_SPREAD = 0.22  # half the width of a region's strip, and of a pair; regions are 1 apart
_POINT = 0.03  # of the height of a panel
_MANY = 40  # cases from which on points and lines are drawn fainter


@dataclass(frozen=True)
class Panel:
    """One metric: the values of each case by region, and the mean that is written below.

    ``values``: of one set (v,), of two (first, second). ``means``: of one set the mean with its interval, of two that of
    the difference first − second. ``best``: 1 where higher is better, -1 where lower is. In mm: shown on a scale that
    is linear up to 1 and logarithmic above.
    """

    title: str
    values: Mapping[Region, Sequence[tuple[float, ...]]]
    means: Mapping[Region, Estimate]
    best: int = 1
    mm: bool = False


def scores_figure(panels: Sequence[Panel], png: Path, title: str = "") -> None:
    """A PNG with a strip of points for each region, one point a case; the bar is the mean with its interval.

    Raises OutputError when nothing can be written.
    """
    figure, axes = _canvas(panels, title)
    for ax, panel in zip(axes, panels, strict=True):
        for x, region in enumerate(Region):
            _strip(ax, x, [v[0] for v in panel.values.get(region, ())], panel, region)
        _finish(ax, panel, [_mean_text(panel, region) for region in Region])
    _footer(figure, "A point a case. Diamond and below: the mean over cases, with its 95 % interval.")
    save(figure, png)


def comparison_figure(panels: Sequence[Panel], names: tuple[str, str], png: Path) -> None:
    """A PNG with a line for each case, from the second set (left) to the first (right), green where the first is better.

    The white line joins the means; below stands the mean difference with its interval. ``names``: of the first and the
    second set. Raises OutputError when nothing can be written.
    """
    figure, axes = _canvas(panels, f"{names[1]}  →  {names[0]}")
    for ax, panel in zip(axes, panels, strict=True):
        for x, region in enumerate(Region):
            _slopes(ax, x, [(v[1], v[0]) for v in panel.values.get(region, ())], panel.best)
        _finish(ax, panel, [_mean_text(panel, region, signed=True) for region in Region])
    _legend(figure)
    _footer(figure, f"A line a case. Below: the mean of {names[0]} minus {names[1]}, with its 95 % interval.")
    save(figure, png)


def _canvas(panels: Sequence[Panel], title: str) -> tuple[Any, list[Any]]:
    """A figure with two panels a row."""
    rows = (len(panels) + 1) // 2
    height = 3.7 * rows + 0.7
    figure = dark_figure(9.6, height)
    figure.subplots_adjust(left=0.07, right=0.975, top=1 - 0.8 / height, bottom=0.95 / height, wspace=0.17, hspace=0.47)
    figure.text(0.07, 1 - 0.28 / height, title, color=TEXT, fontsize=12, va="center")
    return figure, [figure.add_subplot(rows, 2, i + 1) for i in range(len(panels))]


def _strip(ax: Any, x: float, values: Sequence[float], panel: Panel, region: Region) -> None:
    alpha = 0.8 if len(values) < _MANY else 0.4
    heights = np.log1p(values) / np.log1p(_TOP_MM) if panel.mm else np.asarray(values)
    places = x + _swarm(heights)
    ax.scatter(places, values, s=26, color=[REGION_COLOURS[region]], alpha=alpha, linewidths=0, zorder=2)
    mean = panel.means.get(region)
    if mean is None or mean.mean is None:
        return
    side = x + _SPREAD + 0.12
    ax.scatter([side], [mean.mean], s=34, marker="D", color=TEXT, zorder=3)
    if mean.interval is not None:
        ax.plot([side, side], mean.interval, color=TEXT, linewidth=1.6, zorder=3)


def _swarm(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """A sideways shift for each point at a height in about 0…1: outwards in turn for those that would hide each other."""
    shift = np.zeros(len(heights))
    order = np.argsort(heights, kind="stable")
    run = 0
    for before, i in pairwise(order):
        run = run + 1 if heights[i] - heights[before] < _POINT else 0
        shift[i] = (run + 1) // 2 * (1 if run % 2 else -1)
    widest = np.abs(shift).max(initial=0.0)
    return shift * min(0.07, _SPREAD / widest) if widest else shift


def _slopes(ax: Any, x: float, pairs: Sequence[tuple[float, float]], best: int) -> None:
    """A line for each (left, right); the ones that changed for the worse are drawn last."""
    alpha = 0.85 if len(pairs) < _MANY else 0.35
    ends = (x - _SPREAD, x + _SPREAD)
    for left, right in sorted(pairs, key=lambda p: best * (p[0] - p[1])):
        colour = _colour(best * (right - left))
        ax.plot(ends, (left, right), color=colour, alpha=alpha, linewidth=1.2, marker="o", markersize=4, zorder=2)
    if pairs:
        ax.plot(ends, np.mean(pairs, axis=0), color=TEXT, linewidth=2.6, marker="D", markersize=5, zorder=3)


def _colour(gain: float) -> Colour:
    if abs(gain) < 1e-9:
        return FAINT
    return BLUISH_GREEN if gain > 0 else VERMILLION


def _mean_text(panel: Panel, region: Region, signed: bool = False) -> str:
    """What stands below a region: its name, and the mean with its interval and number of cases."""
    mean = panel.means.get(region)
    if mean is None or mean.mean is None:
        return f"{region}\nnot measured"
    form = f"{'+' if signed else ''}z.{1 if panel.mm else 3}f"
    between = "" if mean.interval is None else "{:{f}} to {:{f}}".format(*mean.interval, f=form)
    return f"{region} (n = {mean.n})\n{mean.mean:{form}}\n{between}".replace("-", "−")


def _finish(ax: Any, panel: Panel, labels: Sequence[str]) -> None:
    """Axes, ticks and lettering."""
    ax.set_facecolor(GROUND)
    ax.set_title(panel.title, loc="left", color=TEXT, fontsize=11)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    ax.set_xticks(range(len(labels)), labels)
    if panel.mm:
        ax.set_yscale("symlog", linthresh=1.0, linscale=0.4)
        ax.set_ylim(-0.2, _TOP_MM)
        ax.set_yticks(_TICKS_MM, [str(t) for t in _TICKS_MM])
        ax.minorticks_off()
    else:
        ax.set_ylim(-0.03, 1.03)
    ax.tick_params(colors=FAINT, labelsize=8, length=0)
    ax.tick_params(axis="x", colors=TEXT, labelsize=8.5)
    ax.grid(axis="y", color=_LINE, linewidth=0.6)
    ax.set_axisbelow(True)
    for name, spine in ax.spines.items():
        spine.set_visible(name == "left")
        spine.set_color(_EDGE)


def _footer(figure: Any, text: str) -> None:
    figure.text(0.07, 0.14 / figure.get_figheight(), text, color=FAINT, fontsize=8.5, va="center")


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    shown = ((BLUISH_GREEN, "better"), (VERMILLION, "worse"), (FAINT, "equal"), (TEXT, "mean"))
    lines = [Line2D([], [], color=colour, linewidth=2.2, label=label) for colour, label in shown]
    figure.legend(
        handles=lines,
        loc="center right",
        bbox_to_anchor=(0.98, 1 - 0.28 / figure.get_figheight()),
        ncols=4,
        frameon=False,
        labelcolor=TEXT,
        fontsize=9,
    )
