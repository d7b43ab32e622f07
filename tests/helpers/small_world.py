"""Corrected studies on disk, a store of their corrections, and anchors: all small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from brainseg_engine.corrections import BaseModel, Correction, Store
from brainseg_engine.io import load_study
from brainseg_engine.phantom import write_study
from helpers.small_study import make_study


def correct(store: Store, folder: Path, seed: int, id: str = "", by: str = "") -> Correction:
    """A study written into that folder, and its true mask accepted as the correction of an answer that lacks a slice."""
    study = make_study(seed, id=id or f"Patient{seed}")
    place = folder / study.id if (folder / study.id).exists() else write_study(study, folder)
    loaded = load_study(place)
    answer = loaded.segmentation.labels.copy()
    answer[:, :, 12] = 0
    base = replace(loaded.segmentation, labels=answer)
    return store.add(loaded, loaded.segmentation, base=base, model=BaseModel("tiny", "1"), by=by)


def make_world(folder: Path, corrections: int = 4, anchors: int = 4) -> tuple[Store, Path]:
    """(store, folder of anchors)."""
    store = Store(folder / "corrections")
    (folder / "studies").mkdir(parents=True)
    for seed in range(corrections):
        correct(store, folder / "studies", seed)
    (folder / "anchors").mkdir()
    for seed in range(100, 100 + anchors):
        write_study(make_study(seed, id=f"Anchor{seed}"), folder / "anchors")
    return store, folder / "anchors"
