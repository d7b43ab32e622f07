"""Small studies with a marker on each anatomical axis, in any orientation, in memory and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume

CODES = ("RAS", "LPS", "LAS", "PIR")
_SHAPE = (44, 52, 36)  # R, A, S extents in voxels
_SPACING = (1.5, 1.25, 2.0)
CENTRE = (-31.0, -40.0, -20.0)
"""Centre of the ellipsoid, RAS mm: not the origin, so that a sign that is lost shows."""

MARKERS: dict[Label, tuple[float, float, float]] = {
    Label.ET: (18.0, 0.0, 0.0),  # to the patient's right
    Label.NCR: (0.0, 18.0, 0.0),  # anterior
    Label.ED: (0.0, 0.0, 20.0),  # superior
}
"""Label → offset of its marker from the centre, RAS mm: one marker on each anatomical axis."""

MARKER_RADIUS_MM = 6.0


def affine_of(code: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """The affine of an array in that orientation, its centre at the RAS origin."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(code):
        world, sign = ("RAS".index(letter), 1) if letter in "RAS" else ("LPI".index(letter), -1)
        affine[world, axis] = sign * spacing[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def rotated(affine: np.ndarray, degrees: float) -> np.ndarray:
    """The affine of a gantry tilted about the left–right axis, and half as much about the others."""
    a, b = np.radians([degrees, degrees / 2])
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    out = affine.copy()
    out[:3] = (turn @ tilt) @ affine[:3]
    return out


BRIGHT: dict[Modality, tuple[Label, ...]] = {
    Modality.T1: (Label.NCR,),
    Modality.T1CE: (Label.ET,),
    Modality.T2: (Label.ET, Label.NCR, Label.ED),
    Modality.FLAIR: (Label.ED,),
}
"""Modality → the markers that are bright in it: T2 shows all three, each of the others one."""


def marker_study(code: str, *, degrees: float = 0.0) -> Study:
    """A head-like ellipsoid with three markers, labelled ET, NCR and ED, stored in that orientation: the patient is the
    same for all codes.
    """
    order = ["RAS".index(letter) if letter in "RAS" else "LPI".index(letter) for letter in code]
    shape = tuple(_SHAPE[w] for w in order)
    spacing = tuple(_SPACING[w] for w in order)
    affine = affine_of(code, shape, spacing)
    affine[:3, 3] += CENTRE
    grid = Grid(shape, affine)
    world = grid.to_world(np.moveaxis(np.indices(shape), 0, -1)) - CENTRE
    labels = np.zeros(shape, dtype=np.uint8)
    for label, offset in MARKERS.items():
        labels[np.linalg.norm(world - offset, axis=-1) < MARKER_RADIUS_MM] = label
    brain = ((world / (30.0, 29.0, 31.0)) ** 2).sum(-1) < 1
    grid = Grid(shape, rotated(affine, degrees)) if degrees else grid
    volumes = {}
    for i, (modality, bright) in enumerate(BRIGHT.items()):
        data = np.where(brain, np.int16(100 + i), np.int16(0))
        data[np.isin(labels, bright)] = 1000 + i
        volumes[modality] = Volume(data, grid, modality)
    segmentation = Segmentation(labels, grid, coding="brats2023", made_by="markers")
    return Study(f"Markers-{code}", volumes, segmentation, coding="brats2023")


def write_files(study: Study, folder: Path) -> Path:
    """The study as BraTS 2023 files in ``folder/<id>``; written by nibabel alone, so that tests read what others wrote."""
    import nibabel as nib

    target = folder / study.id
    target.mkdir(parents=True)
    endings = {Modality.T1: "t1n", Modality.T1CE: "t1c", Modality.T2: "t2w", Modality.FLAIR: "t2f"}
    for modality, volume in study.volumes.items():
        nib.save(nib.Nifti1Image(volume.data, volume.grid.affine), target / f"{study.id}-{endings[modality]}.nii.gz")
    assert study.segmentation is not None
    mask = nib.Nifti1Image(study.segmentation.labels, study.segmentation.grid.affine)
    nib.save(mask, target / f"{study.id}-seg.nii.gz")
    return target
