"""This package's side: its recipe `baseline` trained from scratch, and any of its model files run over studies."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import budget
import numpy as np
from numpy.typing import NDArray

SEED = 0


def train(cases: Mapping[str, Path], work: Path, minutes: float) -> dict[str, Any]:
    """Train `baseline` as `napari-brainseg train` does, by the clock; the model is ``work/model.safetensors``."""
    import torch

    from brainseg_engine import dataset, nets
    from brainseg_engine.models import checkpoint
    from brainseg_engine.recipe import load_recipe
    from brainseg_engine.train import ranks
    from brainseg_engine.train.options import TrainOptions
    from brainseg_engine.train.rates import Rate
    from brainseg_engine.train.step import Learner

    recipe = load_recipe("baseline")
    options = TrainOptions(Path(), Path(), work, device="cpu", seed=SEED)
    learner = Learner(recipe, ranks.make_fabric(recipe, options), SEED, None)
    divisor = nets.divisor(recipe)
    prepared = [dataset.prepare(folder, recipe, divisor, work / "cache") for folder in cases.values()]
    samples = dataset.Samples(prepared, recipe, SEED)
    batches: Iterator[Any] = iter(())

    def step(number: int, part: float) -> float:
        nonlocal batches
        if number % len(samples) == 0 or number == first:
            batches = iter(dataset.loader(samples, dataset.Visits(len(samples), number, 10**6, SEED)))
        expected = max(number + 1, round(number / part)) if part > 0.01 else 10**6
        rate = Rate(recipe.schedule, expected, len(samples), by_steps=True).factor(number)
        return learner.step(batches, number, recipe.optimiser.learning_rate * rate)

    def state() -> dict[str, Any]:
        return {"net": learner.raw.state_dict(), "ema": learner.ema, "optimiser": learner.optimiser.state_dict()}

    def restore(kept: dict[str, Any]) -> None:
        learner.raw.load_state_dict(kept["net"])
        learner.ema = kept["ema"]
        learner.optimiser.load_state_dict(kept["optimiser"])

    last = work / "last.pt"
    first = torch.load(last, weights_only=True)["steps"] if last.is_file() else 0
    told = budget.train(last, minutes, step, state, restore)
    card = checkpoint.Card(
        name="from-scratch", recipe=recipe.name, modalities=recipe.modalities, may_lack=recipe.may_lack,
        lacks_at_most=recipe.lacks_at_most, needs_one_of=recipe.needs_one_of, regions=recipe.output.regions,
        parameters=nets.count_parameters(learner.averaged()), training_cases=len(prepared), steps=told["steps"],
        training_hashes=tuple(h for case in prepared for h in case.hashes),
    )  # fmt: skip
    checkpoint.save(work / "model.safetensors", nets.for_use(recipe, learner.ema), card, recipe.for_use(), half=True)
    return told


def imported(folder: Path, work: Path) -> Path:
    """nnU-Net's trained folder as a model file of this package, to be run without mirroring."""
    from brainseg_engine.models.importers import ImportOptions, import_foreign

    os.environ["BRAINSEG_HOME"] = str(work / "home")  # not among the user's own
    return import_foreign(folder, ImportOptions("imported", force=True, settings=("window.mirror_axes=[]",)))


class Ours:
    """A model file of this package, ready to be run."""

    def __init__(self, model: Path) -> None:
        from brainseg_engine.inference.predictor import Predictor

        self._predictor = Predictor(model, "cpu")
        self.megabytes = model.stat().st_size / 1e6

    def predict(self, folder: Path) -> NDArray[np.uint8]:
        """Canonical labels (X, Y, Z) on the grid of the study's files."""
        from brainseg_engine.io import load_study

        return self._predictor.predict(load_study(folder)).segmentation.labels
