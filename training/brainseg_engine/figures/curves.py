"""The curves of a training."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import Region
from brainseg_engine.core.palette import REGION_COLOURS
from brainseg_engine.figures.canvas import FAINT, GROUND, TEXT, dark_figure, save


def curves_figure(metrics_csv: Path, png: Path) -> None:
    """A PNG of a training: loss, and validation Dice of each region, over the steps.

    Reads the columns ``step``, ``loss``, ``dice_WT``, ``dice_TC``, ``dice_ET``; a field may be empty. Raises InputError
    when the file is no such table, OutputError when nothing can be written.
    """
    table = _read_metrics(metrics_csv)
    figure = dark_figure(9.6, 3.9)
    left, right = figure.subplots(1, 2)
    steps, loss = table["step"], table["loss"]
    known = np.isfinite(loss)
    if known.any():
        left.plot(steps[known], loss[known], color="#56B4E9", alpha=0.35, linewidth=1.0)
        left.plot(steps[known], _smoothed(loss[known]), color="#56B4E9", linewidth=2.2)
    left.set_title("training loss", loc="left", color=TEXT, fontsize=11)
    for region in Region:
        dice, colour = table[f"dice_{region}"], REGION_COLOURS[region]
        known = np.isfinite(dice)
        if known.any():
            label = f"{region}  {dice[known][-1]:.3f}"
            right.plot(steps[known], dice[known], color=colour, linewidth=2.0, marker="o", markersize=3.5, label=label)
    right.set_title(f"validation Dice{_best(table)}", loc="left", color=TEXT, fontsize=11)
    right.set_ylim(0, 1)
    if right.get_lines():
        right.legend(loc="lower right", frameon=False, labelcolor=TEXT, fontsize=9)
    for ax in (left, right):
        _style_plot(ax, steps)
    figure.subplots_adjust(left=0.07, right=0.97, bottom=0.14, top=0.9, wspace=0.17)
    save(figure, png)


def _read_metrics(path: Path) -> dict[str, NDArray[np.float64]]:
    """Column → values, NaN where a field is empty."""
    columns = ("step", "loss", *(f"dice_{region}" for region in Region))
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {c: np.array([float(row.get(c) or "nan") for row in rows]) for c in columns}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as e:
        raise InputError(f"{path} is no table of training metrics ({e}). It needs the columns step and loss.") from e


def _best(table: Mapping[str, NDArray[np.float64]]) -> str:
    mean = np.mean([table[f"dice_{region}"] for region in Region], axis=0)
    if not np.isfinite(mean).any():
        return ""
    i = int(np.nanargmax(mean))
    return f" (best mean {mean[i]:.3f}, step {table['step'][i]:.0f})"


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A running mean over a tenth of the curve, ends included."""
    width = max(len(values) // 10, 1) | 1
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _style_plot(ax: Any, steps: NDArray[np.float64]) -> None:
    ax.set_facecolor(GROUND)
    ax.set_xlabel("step", color=FAINT, fontsize=9)
    ax.tick_params(colors=FAINT, labelsize=8)
    ax.grid(color="#2b2d33", linewidth=0.6)
    known = steps[np.isfinite(steps)]
    if len(known):
        ax.set_xlim(0, max(float(known.max()) * 1.02, 1.0))
    for name, spine in ax.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color("#4a4d55")
