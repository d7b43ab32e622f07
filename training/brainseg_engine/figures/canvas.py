"""What all figures share: the dark ground, the lettering's colours, and how a file is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainseg_engine.core.paths import atomic

GROUND, TEXT, FAINT = "#0e0f12", "#f0f0f0", "#9fa3ab"


def dark_figure(width: float, height: float) -> Any:
    """An empty dark figure of that size in inches, on an Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, facecolor=GROUND)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path) -> None:
    """Write the figure as PNG, whole or not at all. Raises OutputError."""
    with atomic(path) as part:
        figure.savefig(part, format="png", facecolor=GROUND)
