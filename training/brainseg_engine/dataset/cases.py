"""Studies with their truth, read, checked, preprocessed and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Shape3
from brainseg_engine.core.labels import Label, LabelArray
from brainseg_engine.core.study import SeriesNeeded, Study
from brainseg_engine.dataset import cache as store
from brainseg_engine.dataset import packed
from brainseg_engine.dataset.doubts import Doubts, reported_once
from brainseg_engine.dataset.index import CachedCase, Index
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.io import load_study
from brainseg_engine.recipe import Recipe
from brainseg_engine.studies.checks import require_usable

TUMOUR = (Label.NCR, Label.ED, Label.ET, Label.TUMOUR)
PLACES_A_CLASS = 5000
"""Tumour voxels remembered of each class, 20 000 of a case in all."""
_HALF_IS_ENOUGH = 2048.0
"""Below this, float16 keeps steps of 1 or finer; beyond (raw intensities), float32 is kept."""


@dataclass
class TrainingCase:
    """One preprocessed case: ``image`` float32 (C, X, Y, Z), ``labels`` uint8 (X, Y, Z), ``tumour`` int16 (N, 4): x, y, z and
    class of tumour voxels drawn at random, by class. For networks of slices (C, Z, Y, X), (Z, Y, X).

    Arrays lie packed in the file ``path`` of the cache, opened when first used in a process, or in memory where it is None; each
    look at ``image`` or ``labels`` unpacks them anew.
    """

    id: str
    hashes: tuple[str, ...]
    shape: tuple[int, ...]
    """Of ``image``."""
    path: Path | None
    _tensors: Mapping[str, torch.Tensor] | None = field(default=None, repr=False)

    @property
    def image(self) -> torch.Tensor:
        """See above."""
        return packed.image_of(self._opened())

    @property
    def labels(self) -> torch.Tensor:
        """See above."""
        return packed.labels_of(self._opened())

    def slab(self, first: int, last: int) -> torch.Tensor:
        """Of ``image``, ``first`` up to ``last`` along its first spatial axis, without looking at the rest."""
        return packed.image_of(self._opened(), first, last)

    @property
    def tumour(self) -> torch.Tensor:
        """See above."""
        return self._opened()["tumour"]

    def _opened(self) -> Mapping[str, torch.Tensor]:
        if self._tensors is None and self.path is not None:
            self._tensors = store.load(self.path.parent, self.path.stem)
        if self._tensors is None:
            raise InputError(f"The cached case {self.path} has vanished or is damaged. Start again: it is made anew.")
        return self._tensors

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the file itself."""
        return {**self.__dict__, "_tensors": None if self.path is not None else self._tensors}


def with_truth(folder: Path, recipe: Recipe, coding: str | None = None) -> tuple[Study, LabelArray]:
    """One study and its true labels. Raises InputError when there are none, or they tell less than the recipe's regions.
    ``coding``: of the mask, where the files do not tell it."""
    study = load_study(folder, coding=coding)
    truth = study.segmentation
    if truth is None:
        raise InputError(f"The case {folder} has no segmentation file. Add one, or take the case out of the split.")
    untold = [r for r in recipe.output.regions if r not in truth.regions]
    if untold:
        raise InputError(
            f"The segmentation of the case {folder} (coding '{truth.coding}') does not tell {', '.join(untold)}, and the "
            "recipe's output.regions asks for it. Take the case out of the split, or the region out of the recipe."
        )
    return study, truth.labels


def usable(folder: Path, recipe: Recipe, doubts: Doubts, coding: str | None = None) -> tuple[Study, LabelArray]:
    """As :func:`with_truth`, with the images checked: InputError for what cannot be used; what is doubtful goes to ``doubts``."""
    study, truth = with_truth(folder, recipe, coding)
    _check(study, folder, recipe, doubts)
    return study, truth


def _check(study: Study, folder: Path, recipe: Recipe, doubts: Doubts) -> None:
    doubts.add(folder.name, study, require_usable(study, SeriesNeeded(recipe.modalities)))


def hashes_of(study: Study, recipe: Recipe) -> tuple[str, ...]:
    """sha256 of the images that the network sees."""
    return tuple(study.volumes[m].sha256 for m in recipe.modalities)


def prepare(
    path: Path,
    recipe: Recipe,
    divisor: Shape3,
    cache: Path | None = None,
    coding: str | None = None,
    doubts: Doubts | None = None,
) -> TrainingCase:
    """Read one study with its truth; check and preprocess it unless ``cache`` (None: the user's own) holds it. One whose
    files are as they were when it was kept is not even read.

    Raises as :func:`usable`, and as :func:`brainseg_engine.inference.preprocess.preprocess`.
    """
    folder = cache or store.default_folder()
    index = Index(folder, path, recipe, divisor, coding)
    known = index.find()
    if known is not None and (kept := store.load(folder, known.key)) is not None:
        file = folder / f"{known.key}.safetensors"
        return TrainingCase(known.id, known.hashes, packed.shape_of(kept), file, kept)
    study, truth = with_truth(path, recipe, coding)
    study.require(SeriesNeeded(recipe.modalities))
    key = _key(study, truth, recipe, divisor)
    made_in: Path | None = folder / f"{key}.safetensors"
    tensors = store.load(folder, key)
    if tensors is None:  # else these very images were checked when they were kept
        with reported_once() if doubts is None else nullcontext(doubts) as kept_back:
            _check(study, path, recipe, kept_back)
        made = _build(study, truth, recipe, divisor)
        made_in = store.save(folder, key, made)
        tensors = (store.load(folder, key) if made_in else None) or made
    if made_in is not None:
        index.note(CachedCase(key, study.id, hashes_of(study, recipe)))
    return TrainingCase(study.id, hashes_of(study, recipe), packed.shape_of(tensors), made_in, tensors)


def _key(study: Study, truth: LabelArray, recipe: Recipe, divisor: Shape3) -> str:
    """A hash of everything that the preprocessed arrays depend on: contents, grid and settings, not names."""
    grid = study.reference.grid
    facts = {
        "format": store.FORMAT,
        "images": hashes_of(study, recipe),
        "labels": hashlib.sha256(np.ascontiguousarray(truth).tobytes()).hexdigest(),
        "grid": [grid.shape, grid.affine.tolist(), grid.calibrated],
        "preprocess": recipe.preprocess.model_dump(mode="json"),
        **({"plans": recipe.plans.model_dump(mode="json")} if recipe.plans is not None else {}),
        "window": [recipe.window.policy, recipe.window.size],
        "divisor": divisor,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _build(study: Study, truth: LabelArray, recipe: Recipe, divisor: Shape3) -> dict[str, torch.Tensor]:
    image, inverse = preprocess(study, recipe, divisor)
    labels = inverse.forward_labels(truth)
    tumour = _tumour_voxels(labels)
    if float(image.abs().max()) < _HALF_IS_ENOUGH:
        image = image.half()
    array = image.numpy()
    if recipe.window.policy == "slice":  # a slice is then one piece of the file
        array, labels = np.ascontiguousarray(array.transpose(0, 3, 2, 1)), labels.transpose(2, 1, 0)
    return {**packed.pack(array, labels), "tumour": tumour}


def _tumour_voxels(labels: LabelArray) -> torch.Tensor:
    """(N, 4) int16: see :class:`Case`. Drawn with a fixed seed: the same for the same labels."""
    rng = np.random.default_rng(0)
    rows = []
    for label in TUMOUR:
        flat = np.flatnonzero(labels == label)
        if flat.size > PLACES_A_CLASS:
            flat = np.sort(rng.choice(flat, PLACES_A_CLASS, replace=False))
        places = np.stack(np.unravel_index(flat, labels.shape), axis=1)
        rows.append(np.column_stack([places, np.full(len(flat), label)]))
    return torch.from_numpy(np.concatenate(rows).astype(np.int16))
