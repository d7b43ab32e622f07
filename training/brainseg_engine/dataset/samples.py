"""What one visit of a training sees: a whole brain, a random piece, or a slice, changed at random."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from brainseg_engine import augment
from brainseg_engine.augment.draw import chance, whole
from brainseg_engine.core.geometry import Shape3
from brainseg_engine.dataset.cases import TrainingCase
from brainseg_engine.dataset.transplant import distance, transplant
from brainseg_engine.inference import normalise
from brainseg_engine.recipe import Recipe

Key = tuple[int, int]
"""Epoch, index of the sample."""
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

_PLACES = 1
"""The stream of random numbers that places pieces; augmentation has its own, so that it may be done elsewhere."""
_DONORS = 2
"""The stream that chooses and cuts other cases' lesions."""
_TRIES = 200


def augmented(
    image: torch.Tensor, labels: torch.Tensor, recipe: Recipe, seed: int, key: Key
) -> tuple[torch.Tensor, torch.Tensor]:
    """One sample (without a batch's axis) as the recipe changes it, on whatever device it is on: what the workers do
    unless :class:`Samples` is asked to leave it out."""
    return augment.augment(
        image, labels, recipe.augmentation, augment.generator(seed, *key), recipe.modalities,
        background=normalise.outside(recipe.preprocess), spacing_mm=recipe.preprocess.spacing_mm or 1.0,
    )  # fmt: skip


class Samples(Dataset[Sample]):
    """(epoch, index) → (image float32 (C, *spatial), labels uint8 (*spatial), the key as int64 (2,)); a pure function of
    the seed and the key.

    Spatial axes are (X, Y, Z), of slices (Y, X). An epoch has every case once (whole brains), ``samples_per_case`` pieces
    of every case, or every slice once. ``augmented`` False leaves the random changes of single samples out, not the random
    places, nor the transplants.
    """

    def __init__(self, cases: Sequence[TrainingCase], recipe: Recipe, seed: int, augmented: bool = True) -> None:
        self.cases, self.recipe, self.seed, self.augmented = tuple(cases), recipe, seed, augmented
        window = recipe.window
        if window.policy == "slice" and window.size is None:
            counts = [case.shape[1] for case in self.cases]
        else:
            counts = [1 if window.policy == "brain" else window.samples_per_case] * len(self.cases)
        self._distances: dict[int, torch.Tensor | None] = {}
        self._ends = list(itertools.accumulate(counts))

    def __len__(self) -> int:
        """Samples of an epoch."""
        return self._ends[-1] if self._ends else 0

    def case_id(self, index: int) -> str:
        """The study that a sample is of."""
        return self.cases[self._place(index)[0]].id

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        number, within = self._place(index)
        case, window = self.cases[number], self.recipe.window
        if window.policy == "brain":
            image, labels = case.image, case.labels
        elif window.policy == "patch":
            image, labels = self._patch(case, augment.generator(self.seed, epoch, index, _PLACES))
        else:
            image, labels = self._slice(case, within, augment.generator(self.seed, epoch, index, _PLACES))
        if window.policy == "brain" and len(self.cases) > 1:
            image, labels = self._transplanted(
                image, labels, number, augment.generator(self.seed, epoch, index, _DONORS)
            )
        if self.augmented:
            image, labels = augmented(image, labels, self.recipe, self.seed, key)
        return image, labels, torch.tensor(key)

    def _transplanted(
        self, image: torch.Tensor, labels: torch.Tensor, number: int, g: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """With another case's lesion, as often as the recipe says."""
        if not chance(self.recipe.augmentation.transplant, g):
            return image, labels
        other = whole(0, len(self.cases) - 2, g)
        other += other >= number
        if other not in self._distances:
            self._distances[other] = distance(self.cases[other])
        signed = self._distances[other]
        return (image, labels) if signed is None else transplant(image, labels, self.cases[other], signed, g)

    def __getstate__(self) -> dict[str, Any]:
        """Another process works out the distances itself."""
        return {**self.__dict__, "_distances": {}}

    def _place(self, index: int) -> tuple[int, int]:
        """Index of a sample → (case, which of its samples)."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - (self._ends[number - 1] if number else 0)

    def _patch(self, case: TrainingCase, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        size = _three(self.recipe.window.size or ())
        x, y, z = self._start(case, _three(case.shape[1:]), size, g)
        across = (slice(y, y + size[1]), slice(z, z + size[2]))
        return case.slab(x, x + size[0])[(..., *across)], case.labels[(slice(x, x + size[0]), *across)]

    def _slice(self, case: TrainingCase, within: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        size = self.recipe.window.size
        _, depth, rows, columns = case.shape
        if size is None:
            z = within
            if self._wants_tumour(case, g):
                z = _tumour_voxel(case.tumour, g)[2]
            return case.slab(z, z + 1)[:, 0], case.labels[z]
        x, y, z = self._start(case, (columns, rows, depth), (size[0], size[1], 1), g)
        where = (slice(y, y + size[1]), slice(x, x + size[0]))
        return case.slab(z, z + 1)[(slice(None), 0, *where)], case.labels[(z, *where)]

    def _wants_tumour(self, case: TrainingCase, g: torch.Generator) -> bool:
        share = self.recipe.window.foreground
        return share > 0 and len(case.tumour) > 0 and float(torch.rand((), generator=g)) < share

    def _start(self, case: TrainingCase, shape: Shape3, size: Shape3, g: torch.Generator) -> Shape3:
        """Where a piece begins, wholly inside: centred on a tumour voxel as nearly as that allows, or on a random voxel of
        the brain (Kermi 2018) among those whose piece is inside."""
        if self._wants_tumour(case, g):
            centre = _tumour_voxel(case.tumour, g)
            return _three(min(max(c - s // 2, 0), n - s) for c, s, n in zip(centre, size, shape, strict=True))
        start = (0, 0, 0)
        for _ in range(_TRIES):
            start = _three(int(torch.randint(n - s + 1, (), generator=g)) for n, s in zip(shape, size, strict=True))
            if self._is_brain(case, _three(a + s // 2 for a, s in zip(start, size, strict=True))):
                break
        return start

    def _is_brain(self, case: TrainingCase, voxel: Shape3) -> bool:
        first, second, third = voxel[::-1] if self.recipe.window.policy == "slice" else voxel
        values = case.slab(first, first + 1)[:, 0, second, third]
        return bool(((values != 0) & (values != normalise.outside(self.recipe.preprocess))).any())


def _tumour_voxel(tumour: torch.Tensor, g: torch.Generator) -> Shape3:
    """One of the classes that are there, then one of its voxels."""
    present, counts = torch.unique_consecutive(tumour[:, 3], return_counts=True)
    chosen = int(torch.randint(len(present), (), generator=g))
    before = int(counts[:chosen].sum())
    row = before + int(torch.randint(int(counts[chosen]), (), generator=g))
    return _three(int(n) for n in tumour[row, :3])


def _three(numbers: Iterable[int]) -> Shape3:
    x, y, z = numbers
    return x, y, z
