"""The project's colours, shared by the window and the figures.

Chosen from the Okabe–Ito set (Okabe & Ito 2008, "Color Universal Design"), which readers with any of the common colour
vision deficiencies tell apart: a cool colour outside, warm colours towards the core, each brighter or more saturated
than the grey of an MR image around it. Lightness falls from the whole tumour to the enhancing part, so that the order
survives in a grey print as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from brainseg_engine.core.labels import Label, Region

RGB = tuple[float, float, float]
"""Red, green, blue in 0…1 (sRGB)."""


def _rgb(hexadecimal: str) -> RGB:
    """``"56B4E9"`` → three floats in 0…1."""
    red, green, blue = (int(hexadecimal[i : i + 2], 16) / 255.0 for i in (0, 2, 4))
    return red, green, blue


SKY_BLUE = _rgb("56B4E9")
YELLOW = _rgb("F0E442")
VERMILLION = _rgb("D55E00")
REDDISH_PURPLE = _rgb("CC79A7")
BLUISH_GREEN = _rgb("009E73")

LABEL_COLOURS: Mapping[Label, RGB] = {
    Label.NCR: YELLOW,
    Label.ED: SKY_BLUE,
    Label.ET: VERMILLION,
    Label.RC: REDDISH_PURPLE,
    Label.TUMOUR: BLUISH_GREEN,
}
"""Class → colour (the background has none)."""

REGION_COLOURS: Mapping[Region, RGB] = {
    Region.WT: LABEL_COLOURS[Label.ED],
    Region.TC: LABEL_COLOURS[Label.NCR],
    Region.ET: LABEL_COLOURS[Label.ET],
}
"""Region → colour: that of the class which the region adds to the region inside it, so that both views look alike."""
