"""The buttons of the tools that work on the whole region: what each is called, says, and asks for."""

from __future__ import annotations

NumberSpec = tuple[float, float, float, float, str]
"""(value, lowest, highest, step, unit) of a button's number."""

WORKS: tuple[tuple[str, str, str, NumberSpec | None], ...] = (
    ("interpolate", "Interpolate", "Fill in between the slices you painted in this plane, at most that many slices apart; "
     "without any, between those that hold the region (key I)", (20, 2, 99, 1, "sl.")),
    ("grow", "Grow", "Click a point: paint what is connected with it and is as bright (lies within the threshold while "
     "that is on), at most that far away (key G: from under the mouse)", (20, 2, 100, 1, "mm")),
    ("smooth", "Smooth", "Smooth the surface in 3D by that much; the volume stays", (1.0, 0.3, 5.0, 0.1, "mm")),
    ("islands", "Islands below", "Erase separate parts that are smaller than that", (0.1, 0.01, 50.0, 0.05, "mL")),
    ("holes", "Fill holes", "Fill what the region encloses on all sides", None),
    ("holes_flat", "Fill holes in slices", "Fill what the region encloses in each slice of this plane", None),
    ("relabel", "Relabel part", "Click a part: all that is connected with it and is of its class becomes the class chosen "
     "above (key K: the part under the mouse)", None),
    ("erase_part", "Erase part", "Click a part: the region's connected part there is erased "
     "(key Shift+K: the part under the mouse)", None),
)  # fmt: skip
"""Name (of its verb in ``PaintVerbs.works``), text, tooltip, and its number."""

TEXTS = {name: text for name, text, *_ in WORKS}
