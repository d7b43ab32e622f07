"""Studies → training samples: preprocessed once, kept in memory, augmented anew at each visit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from brainseg_engine import augment
from brainseg_engine.errors import InputError
from brainseg_engine.io import load_study
from brainseg_engine.preprocess import preprocess
from brainseg_engine.recipe import Augmentation, Recipe

Key = tuple[int, int]  # epoch, index of the case


@dataclass(frozen=True)
class Case:
    """One preprocessed case: image float16 (C, X, Y, Z) (half the memory; the values are z-scores), labels uint8 (X, Y, Z)."""

    id: str
    image: torch.Tensor
    labels: torch.Tensor
    hashes: tuple[str, ...]


def prepare(folder: Path, recipe: Recipe, divisor: int) -> Case:
    """Read and preprocess one study with its truth. Raises InputError when it has none."""
    study = load_study(folder)
    if study.segmentation is None:
        raise InputError(f"The training case {folder} has no segmentation file.")
    image, inverse = preprocess(study, recipe, divisor)
    labels = torch.from_numpy(inverse.forward_labels(study.segmentation.labels))
    hashes = tuple(study.volumes[m].sha256 for m in recipe.modalities)
    return Case(study.id, image.half(), labels, hashes)


class TrainingSamples(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """(epoch, index) → augmented (image float32, labels uint8); a pure function of the seed and the key."""

    def __init__(self, cases: Sequence[Case], config: Augmentation, seed: int) -> None:
        self.cases, self.config, self.seed = cases, config, seed

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        case = self.cases[key[1]]
        return augment.augment(case.image.float(), case.labels, self.config, augment.generator(self.seed, *key))


class Visits(Sampler[Key]):
    """Every case once an epoch, in an order drawn from (seed, epoch); from visit ``first`` up to ``last``."""

    def __init__(self, n_cases: int, first: int, last: int, seed: int) -> None:
        self.n, self.first, self.last, self.seed = n_cases, first, last, seed

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[Key]:
        order: torch.Tensor | None = None
        for visit in range(self.first, self.last):
            epoch, position = divmod(visit, self.n)
            if order is None or position == 0:
                order = torch.randperm(self.n, generator=augment.generator(self.seed, epoch, self.n))
            yield epoch, int(order[position])


def loader(samples: TrainingSamples, visits: Visits, workers: int) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of one (brains differ in size); the loop accumulates gradients where a recipe wants more."""
    # a generator of its own: the loader's start must not move torch's global one, which dropout draws from
    return DataLoader(samples, batch_size=1, sampler=visits, num_workers=workers, generator=torch.Generator())
