"""Pictures for people: a segmentation in three planes, the curves of a training, scores, and reliability.

Drawn with matplotlib's Agg canvas, never in a window; a file is written whole or not at all.
"""

from brainseg_engine.figures.curves import curves_figure
from brainseg_engine.figures.overlay import PLANES, PagePlane, overlay_figure
from brainseg_engine.figures.reliability import Reliability, reliability_figure
from brainseg_engine.figures.scores import Panel, comparison_figure, scores_figure

__all__ = [
    "PLANES",
    "PagePlane",
    "Panel",
    "Reliability",
    "comparison_figure",
    "curves_figure",
    "overlay_figure",
    "reliability_figure",
    "scores_figure",
]
