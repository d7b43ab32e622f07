"""Corrected studies on disk, a store of their corrections, and anchors: all small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d

from brainseg_engine.core.study import Study, Volume
from brainseg_engine.corrections import BaseModel, Correction, Store
from brainseg_engine.io import load_study
from brainseg_engine.phantom import write_study
from helpers.small_study import make_study


def thick(study: Study, slices: int = 4) -> Study:
    """The study as if its slices had been that many voxels thick."""

    def smoothed(volume: Volume) -> Volume:
        data = np.asarray(volume.data)
        return replace(volume, data=np.where(data != 0, uniform_filter1d(data, slices, axis=2), 0).astype(np.float32))

    return replace(study, volumes={m: smoothed(v) for m, v in study.volumes.items()})


def correct(
    store: Store,
    folder: Path,
    seed: int,
    id: str = "",
    by: str = "",
    change: Callable[[Study], Study] = lambda study: study,
) -> Correction:
    """A study written into that folder, and its true mask accepted as the correction of an answer that lacks a slice.
    ``change`` is what is done to the study before it is written."""
    study = change(make_study(seed, id=id or f"Patient{seed}"))
    place = folder / study.id if (folder / study.id).exists() else write_study(study, folder)
    loaded = load_study(place)
    answer = loaded.segmentation.labels.copy()
    answer[:, :, 12] = 0
    base = replace(loaded.segmentation, labels=answer)
    return store.add(loaded, loaded.segmentation, base=base, model=BaseModel("tiny", "1"), by=by)


def make_world(
    folder: Path, corrections: int = 4, anchors: int = 4, change: Callable[[Study], Study] = lambda study: study
) -> tuple[Store, Path]:
    """(store, folder of anchors). ``change`` is what is done to the studies that are corrected."""
    store = Store(folder / "corrections")
    (folder / "studies").mkdir(parents=True)
    for seed in range(corrections):
        correct(store, folder / "studies", seed, change=change)
    (folder / "anchors").mkdir()
    for seed in range(100, 100 + anchors):
        write_study(make_study(seed, id=f"Anchor{seed}"), folder / "anchors")
    return store, folder / "anchors"
