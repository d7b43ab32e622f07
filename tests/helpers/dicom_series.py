"""DICOM series that results stand on, and a tumour on their grids: classic thick oblique, classic thin, enhanced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dicom_studies import SeriesPlan, ball, grid_of, new_person, write_series

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Segmentation

_GEOMETRY = {
    "thick": ((0.8, 0.9, 5.5), (14.0, 3.0, 0.0)), "thin": ((1.0, 1.1, 1.2), (0.0, 0.0, 0.0)),
    "enhanced": ((1.0, 1.0, 2.0), (0.0, 0.0, 0.0)),
}  # fmt: skip
_VISIT = {"study_uid": "1.2.826.0.1.3680043.8.498.1", "frame_of_reference": "1.2.826.0.1.3680043.8.498.2"}


def grid_of_series(kind: str, shape: tuple[int, int, int] = (64, 56, 12)) -> Grid:
    """``shape``: columns, rows, slices."""
    spacing, degrees = _GEOMETRY[kind]
    return grid_of(shape, spacing, degrees)


def write_dicom_series(
    folder: Path, kind: str = "thick", *, name: str = "Müller^Jörg", description: str = "T1 post", number: int = 5,
    series_uid: str = "", enhanced: bool | None = None,
) -> list[Path]:  # fmt: skip
    """One series; instances are numbered from the top down, against Z. ``enhanced``: other than its kind says."""
    grid = grid_of_series(kind)
    person = new_person(name=name, patient_id="P-77", birth_date="19600203", **_VISIT)
    enhanced = kind == "enhanced" if enhanced is None else enhanced
    order = None if enhanced else range(grid.shape[2])[::-1]
    plan = SeriesPlan(
        description=description,
        number=number,
        enhanced=enhanced,
        order=order,
        tags={"AccessionNumber": "A1"},
        series_uid=series_uid,
    )
    return write_series(folder, ball(grid, number), grid, person, plan)


def tumour_on(grid: Grid) -> Segmentation:
    """An asymmetric tumour with a hole and an island, so that no flip goes unseen."""
    position = np.stack(np.indices(grid.shape), -1) * np.array(grid.spacing)
    centre = (np.array(grid.shape) - 1) * np.array(grid.spacing) * np.array([0.35, 0.55, 0.45])
    distance = np.sqrt((((position - centre) / np.array([1.0, 1.25, 1.1])) ** 2).sum(-1))
    labels = np.zeros(grid.shape, np.uint8)
    for radius, label in ((17, Label.ED), (12, Label.ET), (7, Label.NCR), (3, Label.BACKGROUND)):
        labels[distance < radius] = label
    columns, _, slices = grid.shape
    labels[columns - 12 : columns - 8, 6:11, slices // 3 : slices // 3 + 3] = Label.ET
    return Segmentation(labels, grid, made_by="a model 1")
