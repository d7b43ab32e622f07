"""What lies over the images is told apart by its colour."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb

from brainseg_engine.core.palette import REGION_COLOURS
from napari_brainseg.display import outlines, preview


def test_doubt_changes_preview_and_regions_have_colours_of_their_own():
    named = {region.value: to_rgb(colour) for region, colour in REGION_COLOURS.items()}
    named |= {f"change {value}": to_rgb(outlines.COLOURS[value]) for value in (1, 2, 3)}
    named |= {"doubt": to_rgb(outlines.DOUBT_COLOUR), "preview": preview.COLOUR}
    for a, b in combinations(named, 2):
        assert np.linalg.norm(np.subtract(named[a], named[b])) > 0.35, (a, b)
