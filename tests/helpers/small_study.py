"""A study small enough for any machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume


def write_cohort(folder: Path, cases: int = 4) -> tuple[Path, Path]:
    """Studies Case_0, Case_1, … in a folder, and a split that holds the last one out."""
    from brainseg_engine.phantom import write_study

    names = [f"Case_{i}" for i in range(cases)]
    for i, name in enumerate(names):
        write_study(make_study(i, id=name), folder)
    split = folder / "split.csv"
    split.write_text("case,split\n" + "".join(f"{n},{'validation' if n == names[-1] else 'train'}\n" for n in names))
    return folder, split


def make_study(
    seed: int = 0, shape: tuple[int, int, int] = (28, 32, 24), affine: np.ndarray | None = None, id: str = "Case_1"
) -> Study:
    """A ball of brain with a nested tumour, bright where a real one is; zero outside the brain."""
    rng = np.random.default_rng(seed)
    grid = Grid(shape, np.diag([-1.0, -1.0, 1.0, 1.0]) if affine is None else affine)
    position = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    brain = (position**2).sum(axis=0) < 0.9
    centre = rng.uniform(-0.3, 0.3, size=3)[:, None, None, None]
    distance = np.sqrt(((position - centre) ** 2).sum(axis=0))
    labels = np.zeros(shape, dtype=np.uint8)
    for radius, label in ((0.5, Label.ED), (0.36, Label.ET), (0.2, Label.NCR)):
        labels[distance < radius] = label
    bright = {
        Modality.T1: {Label.NCR: 60, Label.ED: 80, Label.ET: 90},
        Modality.T1CE: {Label.NCR: 60, Label.ED: 85, Label.ET: 250},
        Modality.T2: {Label.NCR: 220, Label.ED: 180, Label.ET: 150},
        Modality.FLAIR: {Label.NCR: 130, Label.ED: 220, Label.ET: 180},
    }
    volumes = {}
    for m, values in bright.items():
        data = rng.normal(100, 8, size=shape)
        for label, value in values.items():
            data[labels == label] += value - 100
        data = np.where(brain, np.clip(data, 1, None), 0).astype(np.float32)
        volumes[m] = Volume(data, grid, m, sha256=f"{m}-{seed}")
    return Study(id, volumes, Segmentation(np.where(brain, labels, 0).astype(np.uint8), grid, "brats2023"))
