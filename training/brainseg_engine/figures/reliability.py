"""How far probabilities can be taken at their word: the reliability diagram of a calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from brainseg_engine.core.labels import REGION_NAMES, Region
from brainseg_engine.core.palette import REGION_COLOURS
from brainseg_engine.figures.canvas import FAINT, GROUND, TEXT, dark_figure, save

Bins = Sequence[tuple[float, float, float]]
"""(mean probability, part of the voxels that truly belong to the region, part of all voxels) of each bin."""
_LINE, _EDGE = "#2b2d33", "#4a4d55"
_LETTERS = 56  # of the footer, below one panel


@dataclass(frozen=True)
class Reliability:
    """Of one region, before and after its calibration: bins, and the expected calibration error."""

    before: Bins
    after: Bins
    error_before: float
    error_after: float


def reliability_figure(regions: Mapping[Region, Reliability], png: Path, title: str = "", footer: str = "") -> None:
    """A PNG with a panel for each region: the mean probability of each bin against the part of its voxels that truly belong to
    the region. On the diagonal a probability is what it says. Raises OutputError when nothing can be written.
    """
    columns = max(2, len(regions))  # one alone has no room for its lettering
    left = 0.15 / columns
    figure = dark_figure(3.9 * columns, 4.7)
    figure.subplots_adjust(left=left, right=0.985, top=0.83, bottom=0.2, wspace=0.2)
    for n, (region, found) in enumerate(regions.items()):
        ax = figure.add_subplot(1, columns, n + 1)
        ax.plot([0, 1], [0, 1], color=_EDGE, linewidth=1.2, zorder=1)
        _curve(ax, found.before, FAINT, "--", f"as the model gives it: error {found.error_before:.4f}")
        _curve(ax, found.after, REGION_COLOURS[region], "-", f"calibrated: error {found.error_after:.4f}")
        _finish(ax, f"{region} {REGION_NAMES[region]}", first=n == 0)
    figure.text(left, 0.94, title, color=TEXT, fontsize=12, va="center", parse_math=False)
    words = "\n".join(wrap(footer, _LETTERS * columns))
    figure.text(left, 0.055, words, color=FAINT, fontsize=8.5, va="center", parse_math=False)
    save(figure, png)


def _curve(ax: Any, bins: Bins, colour: Any, line: str, label: str) -> None:
    p, y, _ = np.array(bins).T
    ax.plot(p, y, line, color=colour, linewidth=1.8, marker="o", markersize=4, label=label, zorder=2)


def _finish(ax: Any, title: str, first: bool) -> None:
    """Axes, ticks and lettering."""
    ax.set_facecolor(GROUND)
    ax.set_title(title, loc="left", color=TEXT, fontsize=11)
    ax.set_aspect("equal")
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
    ax.set_xlabel("mean probability", color=FAINT, fontsize=9)
    if first:
        ax.set_ylabel("part of the voxels in the true region", color=FAINT, fontsize=9)
    ax.tick_params(colors=FAINT, labelsize=8, length=0)
    ax.grid(color=_LINE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.legend(loc="upper left", frameon=False, labelcolor=TEXT, fontsize=8.5)
    for name, spine in ax.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_EDGE)
