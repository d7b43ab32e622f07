"""Pictures for people: a segmentation in three planes, and the curves of a training.

Drawn with matplotlib's Agg canvas, never in a window; a file is written whole or not at all.
"""

from brainseg_engine.figures.curves import curves_figure
from brainseg_engine.figures.overlay import PLANES, Plane, overlay_figure

__all__ = ["PLANES", "Plane", "curves_figure", "overlay_figure"]
