"""Synthetic glioma studies in the BraTS space: made for the demo, the tests and the benchmarks; nothing of a patient.

What is modelled: a skull-stripped head of varying size and tilt with two hemispheres, temporal lobes, cerebellum and
brain stem; sulci and fissures, a grey ribbon, white matter, deep nuclei, ventricles of young to old width; vessels,
sagittal sinus and choroid plexus that enhance without being tumour; a glioma with core and oedema of realistic volumes
and irregular fronts, one or several foci, an enhancing rim of uneven thickness around necrosis (sometimes hardly any,
sometimes none), oedema that follows white matter, spares fluid and halts at grey matter and at the midline, and mass
effect; four co-registered modalities with the contrasts of glioma studies, texture, partial volume, thick slices, bias
field, Rician noise, and an intensity scale of its own for every modality and case.

What is not: real anatomy (no lobe or gyrus can be named), white-matter tracts, haemorrhage, calcification, cysts with
fluid levels, surgery, motion, distortion and other artefacts, remains of skull, errors of registration, errors and
habits of human raters. The mean contrasts were fitted to those of 38 public BraTS cases, the validation cases of the
bundled model among them: a model trained on phantoms could not call these held out. A score on phantoms says that a
program works; it says nothing about patients.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from brainseg_engine.phantom.anatomy import Head, anatomy
from brainseg_engine.phantom.contrast import MODALITIES, images
from brainseg_engine.phantom.fields import Box
from brainseg_engine.phantom.files import cached, write_study
from brainseg_engine.phantom.tumour import TumourPlan, find_site, grow

__all__ = [
    "DEMO_SEED",
    "HELD_OUT_SEED",
    "SHAPE",
    "brats_grid",
    "demo_folder",
    "phantom_study",
    "study_id",
    "write_study",
]

HELD_OUT_SEED = 1_000_000
"""Seeds from here on are never trained on."""

DEMO_SEED = 1_000_040
"""The seed of the sample study that the demo and the window show."""

SHAPE = (240, 240, 155)
FIELD_MM = (240.0, 240.0, 155.0)
MADE_BY = "phantom (known truth)"


def phantom_study(seed: int, shape: tuple[int, int, int] = SHAPE) -> Study:
    """A synthetic study with its true segmentation, the same for the same seed.

    The grid is that of BraTS: 1 mm voxels, x to the patient's left, y to the back, z up. Images are int16, exactly 0
    outside the brain. Another ``shape`` keeps the 1 mm voxels and gives a head scaled to fit it, for quick tests.
    """
    box, window = _box(shape)
    form, growth, scan = (np.random.default_rng([seed, stream]) for stream in range(3))
    head = Head.place(form, box)
    plan = TumourPlan.draw(growth)
    site = find_site(growth, head, plan)
    tissue = anatomy(form, head, site.mass(plan))
    labels = grow(growth, head, tissue, plan, site)
    grid = brats_grid(shape)
    volumes: dict[Modality, Volume] = {}
    for modality, image in images(scan, head, tissue, labels).items():
        data = np.zeros(shape, dtype=np.int16)
        data[window] = image
        volumes[modality] = Volume(data, grid, modality)
    truth: LabelArray = np.zeros(shape, dtype=np.uint8)
    truth[window] = labels
    segmentation = Segmentation(truth, grid, coding="brats2023", made_by=MADE_BY)
    return Study(study_id(seed), {m: volumes[m] for m in MODALITIES}, segmentation, coding="brats2023")


def demo_folder() -> Path:
    """The folder of the sample study (seed DEMO_SEED) as files in the user's folder; written there on the first call.

    Making it takes some seconds, and needs no download. Raises OutputError when the user's folder takes no files.
    """
    return cached(study_id(DEMO_SEED), lambda: phantom_study(DEMO_SEED))


def study_id(seed: int) -> str:
    """The name of the study of that seed."""
    return f"Phantom_{seed:07d}"


def brats_grid(shape: tuple[int, int, int] = SHAPE) -> Grid:
    """The grid of BraTS files: 1 mm, LPS voxel order, the origin at the last row."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = shape[1] - 1
    return Grid(shape, affine)


def _box(shape: tuple[int, int, int]) -> tuple[Box, tuple[slice, slice, slice]]:
    """Anatomical coordinates of the part of the array that a head can fill, and which part that is."""
    x, y, z = (
        (np.arange(n, dtype=np.float32) + np.float32(0.5)) * np.float32(mm / n)
        for n, mm in zip(shape, FIELD_MM, strict=True)
    )
    axes = (np.float32(120) - x, np.float32(129) - y, z - np.float32(71))
    limits = ((-79.0, 79.0), (-97.0, 97.0), (-71.5, 79.0))
    window = []
    for axis, (low, high) in zip(axes, limits, strict=True):
        within = np.flatnonzero((axis >= low) & (axis <= high))
        window.append(slice(int(within[0]), int(within[-1]) + 1))
    part = Box(*(np.ascontiguousarray(a[w], dtype=np.float32) for a, w in zip(axes, window, strict=True)))
    return part, (window[0], window[1], window[2])
