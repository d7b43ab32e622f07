"""Masks that were drawn on a series as acquired, or on the aligned images, brought onto the grid of 1 mm."""

from __future__ import annotations

from pathlib import Path

from brainseg_engine.core.errors import GeometryError
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.io import load_segmentation
from brainseg_engine.prepare.prepared import Prepared


def read_mask(
    path: Path, prepared: Prepared, coding: str | None = None, implied: str | None = None
) -> tuple[Segmentation, Modality | None]:
    """The mask in that file on the grid of 1 mm, and the series whose own grid it was drawn on (None: on that of 1 mm).

    Raises GeometryError for one that lies on none of these grids, and what reading a mask raises.
    """
    refused: GeometryError | None = None
    for series in (None, *_ordered(prepared)):
        grid = prepared.grid if series is None else prepared.grids[series]
        try:
            mask = load_segmentation(path, coding=coding, grid=grid, implied=implied)
        except GeometryError as e:
            refused = e if refused is None or series is prepared.reference else refused
            continue
        return (mask if series is None else prepared.forward(mask, series)), series
    assert refused is not None
    names = ", ".join(m.title for m in _ordered(prepared))
    raise GeometryError(
        f"{path} lies neither on the aligned images nor on a series as acquired ({names}). Give a mask of this study."
    ) from refused


def taken(segmentation: Segmentation, prepared: Prepared) -> Segmentation:
    """A mask that lies on the 1 mm grid or on a series' own, on the 1 mm grid. Raises GeometryError where it lies on none."""
    if segmentation.grid.same_as(prepared.grid):
        return segmentation
    for series in _ordered(prepared):
        if segmentation.grid.same_as(prepared.grids[series]):
            return prepared.forward(segmentation, series)
    raise GeometryError("The mask lies neither on the aligned images nor on a series as acquired.")


def _ordered(prepared: Prepared) -> list[Modality]:
    """The series, the reference first: of two on one grid the mask is taken for its."""
    return sorted(prepared.grids, key=lambda m: m is not prepared.reference)
