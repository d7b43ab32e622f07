"""Studies → training samples: preprocessed once, kept in memory, augmented anew at each visit."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from brainseg_engine import augment
from brainseg_engine.checks import require_usable
from brainseg_engine.errors import InputError
from brainseg_engine.io import load_study
from brainseg_engine.labels import LabelArray
from brainseg_engine.preprocess import preprocess
from brainseg_engine.recipe import Augmentation, Recipe
from brainseg_engine.study import Study

_log = logging.getLogger(__name__)
Key = tuple[int, int]  # epoch, index of the case


@dataclass(frozen=True)
class Case:
    """One preprocessed case: image float16 (C, X, Y, Z) (half the memory; the values are z-scores), labels uint8 (X, Y, Z)."""

    id: str
    image: torch.Tensor
    labels: torch.Tensor
    hashes: tuple[str, ...]


def with_truth(folder: Path, recipe: Recipe) -> tuple[Study, LabelArray]:
    """One study and its true labels. Raises InputError when there are none, or they tell less than the recipe's regions."""
    study = load_study(folder)
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


def usable(folder: Path, recipe: Recipe) -> tuple[Study, LabelArray]:
    """As :func:`with_truth`, with the images checked: InputError for what cannot be used, doubts as warnings in the log."""
    study, truth = with_truth(folder, recipe)
    for doubt in require_usable(study, recipe.modalities):
        _log.warning("%s: %s", folder.name, doubt.message)
    return study, truth


def hashes_of(study: Study, recipe: Recipe) -> tuple[str, ...]:
    """sha256 of the images that the network sees."""
    return tuple(study.volumes[m].sha256 for m in recipe.modalities)


def prepare(folder: Path, recipe: Recipe, divisor: int) -> Case:
    """Read, check and preprocess one study with its truth. Raises as :func:`usable`."""
    study, truth = usable(folder, recipe)
    image, inverse = preprocess(study, recipe, divisor)
    return Case(study.id, image.half(), torch.from_numpy(inverse.forward_labels(truth)), hashes_of(study, recipe))


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
    return DataLoader(
        samples, 1, sampler=visits, num_workers=workers, generator=torch.Generator(), worker_init_fn=_leave_signals
    )


def _leave_signals(_: int) -> None:
    """Ctrl-C reaches a terminal's whole process group, and a forked worker has its parent's handlers: to stop is the
    parent's business, which still needs its workers to end a step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
