"""What is known of one series before its voxels are read: the tags of a scanner or a sidecar, the grid and the names.

One record for every format. The DICOM reader fills it from tags; of a NIfTI file the grid, the name, BIDS entities and a
JSON sidecar give some of it. What is not given stays None or empty: no field is ever guessed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from brainseg_engine.core.geometry import Grid, Shape3

Plane = Literal["axial", "coronal", "sagittal", ""]

_PLANES: Mapping[str, Plane] = {
    "R": "sagittal",
    "L": "sagittal",
    "A": "coronal",
    "P": "coronal",
    "S": "axial",
    "I": "axial",
}
_IN_MEMORY_ONLY = ("id", "acquired", "study_uid", "frame_of_reference")


@dataclass(frozen=True)
class SeriesFacts:
    """One series (or one part of it, where a reader split echoes, time points or b-values).

    ``id``: what tells it from all others of the study (a series UID and a part's number, or a path).
    ``label``: how it is shown in a table; ``description``, ``protocol``: the scanner's (or file's) words, as they are.
    ``contrast``: the contrast agent as the tag has it; "" where the tag is there and empty, None where there is none.
    ``image_type``: DICOM's values, like ("ORIGINAL", "PRIMARY", "M", "ND"). Times in ms, field in tesla, sizes in mm;
    a time of 0 where the scanner wrote 0. ``b_value`` in s/mm². ``echo``, ``echoes``: which echo of how many.
    ``orientations``: how many slice directions it has (localisers have three); ``time_points``: images a position.
    ``calibrated`` is False where voxel sizes are unknown. ``acquired``, ``id``, ``study_uid`` and ``frame_of_reference`` may
    identify a patient: they stay in memory and out of :meth:`to_dict`.
    """

    id: str = field(repr=False)
    label: str = ""
    description: str = ""
    protocol: str = ""
    modality: str = "MR"
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    sequence_name: str = ""
    acquisition_type: str = ""
    te_ms: float | None = None
    tr_ms: float | None = None
    ti_ms: float | None = None
    flip_deg: float | None = None
    field_t: float | None = None
    contrast: str | None = None
    image_type: tuple[str, ...] = ()
    echo: int | None = None
    echoes: int = 1
    b_value: float | None = None
    body_part: str = ""
    manufacturer: str = ""
    number: int | None = None
    shape: Shape3 | None = None
    spacing: tuple[float, float, float] | None = None
    orientation: str = ""
    plane: Plane = ""
    coverage_mm: tuple[float, float, float] | None = None
    calibrated: bool = True
    orientations: int = 1
    time_points: int = 1
    file_name: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    acquired: datetime | None = field(default=None, repr=False)
    study_uid: str = field(default="", repr=False)
    frame_of_reference: str = field(default="", repr=False)

    @property
    def slices(self) -> int | None:
        """How many slices there are across its plane; None where no grid is known."""
        axis = _slice_axis(self.spacing)
        return None if self.shape is None else self.shape[axis]

    @property
    def slice_mm(self) -> float | None:
        """Distance of its slices in mm; None where it is not known."""
        return None if self.spacing is None or not self.calibrated else self.spacing[_slice_axis(self.spacing)]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what may identify a patient and without what is not known."""
        every = {k: v for k, v in vars(self).items() if k not in _IN_MEMORY_ONLY}
        plain = {
            k: list(v) if isinstance(v, tuple) else dict(v) if isinstance(v, Mapping) else v for k, v in every.items()
        }
        return {k: v for k, v in plain.items() if v is not None and v not in ("", [], {})}


def grid_facts(grid: Grid) -> dict[str, Any]:
    """The fields of :class:`SeriesFacts` that a grid tells: shape, spacing, orientation, plane, coverage, calibrated.

    The plane is across the axis of the widest spacing, and the last axis where all are within 5 %; ``coverage_mm`` is the
    extent along the patient's x, y and z as the closest voxel axes have it.
    """
    spacing, codes = grid.spacing, grid.orientation
    extent = {_PLANES[c]: n * s for c, n, s in zip(codes, grid.shape, spacing, strict=True)}
    return {
        "shape": grid.shape,
        "spacing": spacing,
        "orientation": codes,
        "plane": plane_across(codes[_slice_axis(spacing)]),
        "coverage_mm": (extent["sagittal"], extent["coronal"], extent["axial"]),
        "calibrated": grid.calibrated,
    }


def plane_across(code: str) -> Plane:
    """The plane of slices that follow each other along that axis code: "S" → axial."""
    return _PLANES[code]


def _slice_axis(spacing: tuple[float, float, float] | None) -> int:
    if spacing is None or max(spacing) <= 1.05 * min(spacing):
        return 2
    return int(np.argmax(spacing))
