"""What of a segmentation is shown, and in which colour: the intent (a frozen RegionView) and pure functions from it.

The intent speaks of regions or classes; the canvas shows disjoint labels. :func:`label_styles` is the bridge, and knows
no napari.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import LABEL_NAMES, REGION_LABELS, REGION_NAMES, Label, Region
from brainseg_engine.core.palette import LABEL_COLOURS, REGION_COLOURS, RGB


class Scheme(StrEnum):
    """Nested regions (WT ⊃ TC ⊃ ET), or the disjoint classes."""

    REGIONS = "regions"
    CLASSES = "classes"


@dataclass(frozen=True)
class ItemView:
    """How one region or class is shown: ``opacity`` in 0…1 holds in 2D and, as it is, for its surface in 3D."""

    colour: RGB
    visible: bool = True
    opacity: float = 0.4


@dataclass(frozen=True)
class LabelStyle:
    """How the voxels of one label are shown: RGBA, and the ``rank`` that decides which side of a border carries the line."""

    colour: RGB
    opacity: float
    rank: int


ITEMS: Mapping[Scheme, tuple[str, ...]] = {
    Scheme.REGIONS: ("WT", "TC", "ET", "RC"),
    Scheme.CLASSES: ("ED", "ET", "NCR", "RC", "TUMOUR"),
}
"""The items of each scheme, from the outside in. RC lies in no region and has an item of its own in both."""

MAIN_ITEMS: Mapping[Scheme, tuple[str, ...]] = {Scheme.REGIONS: ("WT", "TC", "ET"), Scheme.CLASSES: ("NCR", "ED", "ET")}
"""Those that a panel lists always; the others only where a segmentation holds them."""


def item_labels(scheme: Scheme | str, item: str) -> frozenset[Label]:
    """The labels an item is made of. Raises KeyError for an item that the scheme does not have."""
    if item not in ITEMS[Scheme(scheme)]:
        raise KeyError(f"the scheme '{scheme}' has no item '{item}'")
    if Scheme(scheme) is Scheme.REGIONS and item in Region.__members__:
        return REGION_LABELS[Region[item]]
    return frozenset({Label[item]})


def item_name(scheme: Scheme | str, item: str) -> str:
    """The item in words, such as "tumour core"."""
    if Scheme(scheme) is Scheme.REGIONS and item in Region.__members__:
        return REGION_NAMES[Region[item]]
    return LABEL_NAMES[Label[item]]


def _default_items(scheme: Scheme) -> Mapping[str, ItemView]:
    items = {}
    for item in ITEMS[scheme]:
        region = scheme is Scheme.REGIONS and item in Region.__members__
        items[item] = ItemView(REGION_COLOURS[Region[item]] if region else LABEL_COLOURS[Label[item]])
    return MappingProxyType(items)


@dataclass(frozen=True)
class RegionView:
    """The intent: which scheme, how each of its items is shown, filled or as outlines, shown at all or not.

    Both schemes keep their own items, so that going to the other one and back loses nothing. Frozen: ``with_…`` give
    changed copies.
    """

    scheme: Scheme = Scheme.REGIONS
    regions: Mapping[str, ItemView] = field(default_factory=lambda: _default_items(Scheme.REGIONS))
    classes: Mapping[str, ItemView] = field(default_factory=lambda: _default_items(Scheme.CLASSES))
    outline: bool = False
    visible: bool = True

    @property
    def items(self) -> Mapping[str, ItemView]:
        """Item → how it is shown, of the scheme in use, from the outside in."""
        return self.regions if self.scheme is Scheme.REGIONS else self.classes

    def with_item(
        self, item: str, *, visible: bool | None = None, colour: RGB | None = None, opacity: float | None = None
    ) -> Self:
        """A copy with one item of the scheme in use changed. Raises KeyError for an item that it does not have."""
        old = self.items[item]
        new = ItemView(
            colour=old.colour if colour is None else colour,
            visible=old.visible if visible is None else visible,
            opacity=old.opacity if opacity is None else float(min(max(opacity, 0.0), 1.0)),
        )
        items = MappingProxyType({**self.items, item: new})
        return replace(self, regions=items) if self.scheme is Scheme.REGIONS else replace(self, classes=items)

    def with_scheme(self, scheme: Scheme | str) -> Self:
        """A copy that shows nested regions or disjoint classes."""
        return replace(self, scheme=Scheme(scheme))

    def with_outline(self, outline: bool) -> Self:
        """A copy that shows outlines, or filled areas."""
        return replace(self, outline=outline)

    def with_visible(self, visible: bool) -> Self:
        """A copy that shows the overlay as a whole, or hides it."""
        return replace(self, visible=visible)


def label_styles(view: RegionView) -> dict[Label, LabelStyle]:
    """Label → how its voxels are shown; a label that is absent is not shown.

    A voxel takes the colour of the innermost visible item that holds it: with ET hidden and TC shown, enhancing voxels
    look like the rest of the core; with TC hidden as well they look like the whole tumour. The overlay as a whole being
    hidden is not looked at here: that is the layer's own visibility.
    """
    styles: dict[Label, LabelStyle] = {}
    for rank, (item, shown) in enumerate(view.items.items(), start=1):
        if shown.visible:
            for label in item_labels(view.scheme, item):
                styles[label] = LabelStyle(shown.colour, shown.opacity, rank)
    return styles


def outline_of(labels: NDArray[np.integer], ranks: NDArray[np.uint8], thickness: int = 1) -> NDArray[np.bool_]:
    """The outline pixels of a slice of labels (2D): those with a 4-neighbour of lower rank within ``thickness`` pixels.

    ``ranks``: label → rank, 0 for what is not shown. Every border is drawn once, on its inner side; labels of one rank
    (all of a whole tumour whose core is hidden) have no line between them. Beyond the border of the array the same goes
    on, so that a tumour cut off by the image has no line along the cut.
    """
    from scipy.ndimage import generate_binary_structure, grey_erosion, iterate_structure

    level = ranks[np.clip(labels, 0, len(ranks) - 1)]
    cross = iterate_structure(generate_binary_structure(level.ndim, 1), thickness)
    return np.asarray(level > grey_erosion(level, footprint=cross, mode="nearest"))


def surface_opacity(view: RegionView, item: str) -> float:
    """The opacity of an item's surface in 3D: nearly solid for the innermost that is visible, thinner than in 2D for those
    around it, which add up where one looks through several.
    """
    opacity = view.items[item].opacity
    inside = list(view.items)[list(view.items).index(item) + 1 :]
    covering = any(view.items[i].visible for i in inside if i in MAIN_ITEMS[view.scheme])
    return opacity * 0.7 if covering else opacity**0.25


DEPTHS = {"brain": -1, "WT": 0, "ED": 0, "TUMOUR": 0, "TC": 1, "ET": 2, "NCR": 3, "RC": 3}
"""How far inside an item lies, whichever the scheme: the ring of enhancement is around the necrosis."""
