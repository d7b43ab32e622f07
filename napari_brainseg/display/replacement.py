"""A labels layer that is to show another segmentation: the comparison, which takes its time, apart from the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainseg_engine.core.labels import LabelArray, Mask
from brainseg_engine.core.morphology import bounding_box
from brainseg_engine.core.study import Segmentation
from napari_brainseg.display.axes import laid_out, to_display

if TYPE_CHECKING:
    from napari.layers import Labels


@dataclass(frozen=True, eq=False)
class Replacement:
    """What has to change in a labels layer for it to show a segmentation.

    ``segmentation`` laid out for the canvas; ``edit`` brings ``layer`` there: the box that differs (slices of the layer's
    data), where in it, and what to write. No edit: nothing differs, or there is no layer yet.
    """

    segmentation: Segmentation
    layer: Labels | None
    edit: tuple[tuple[slice, ...], Mask, LabelArray] | None


def replacement(layer: Labels | None, segmentation: Segmentation) -> Replacement:
    """The segmentation as the canvas wants it in memory, and the box of voxels in which ``layer`` (None: there is none yet)
    differs from it. Takes some tenths of a second and touches no widget, so it may run in the background."""
    segmentation = laid_out(segmentation)
    if layer is None:
        return Replacement(segmentation, None, None)
    new, _ = to_display(segmentation.labels, segmentation.grid.affine)
    changed = new != layer.data
    box = bounding_box(changed)
    return Replacement(segmentation, layer, (box, changed[box], new[box]) if box is not None else None)
