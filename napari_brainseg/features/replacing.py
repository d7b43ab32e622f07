"""What has to change in a labels layer for it to show a segmentation. Pure; runs in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainseg_engine.core.labels import LabelArray, Mask
from brainseg_engine.core.study import Segmentation
from napari_brainseg.display.axes import to_display
from napari_brainseg.features.regions.measuring import bounding_box
from napari_brainseg.features.study.reading import laid_out

if TYPE_CHECKING:
    from napari.layers import Labels


@dataclass(frozen=True, eq=False)
class Change:
    """``segmentation`` laid out for the canvas, and the ``edit`` that brings ``layer`` there: the box that differs (slices
    of the layer's data), where in it, and what to write. No edit: nothing differs, or there is no layer yet.
    """

    segmentation: Segmentation
    layer: Labels | None
    edit: tuple[tuple[slice, ...], Mask, LabelArray] | None


def prepare(layer: Labels | None, segmentation: Segmentation) -> Change:
    """Lay the segmentation out, and compare it with the layer."""
    segmentation = laid_out(segmentation)
    if layer is None:
        return Change(segmentation, None, None)
    new, _ = to_display(segmentation.labels, segmentation.grid.affine)
    changed = new != layer.data
    box = bounding_box(changed)
    return Change(segmentation, layer, (box, changed[box], new[box]) if box is not None else None)
