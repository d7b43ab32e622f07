"""Short trainings that benchmarks compare with one another: a whole brain a step, AdamW, averaged weights."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from brainseg_engine import nets
from brainseg_engine.augment import augment, generator
from brainseg_engine.core.labels import REGION_LABELS
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.io import load_study
from brainseg_engine.recipe import Recipe
from brainseg_engine.scores.overlap import dice
from brainseg_engine.train import losses

DECAY = 0.98
Case = tuple[torch.Tensor, torch.Tensor]
"""Image (C, X, Y, Z) in half precision, labels (X, Y, Z)."""
Answer = Callable[[torch.Tensor], torch.Tensor]
"""Images (N, C, X, Y, Z) → logits (N, K, X, Y, Z)."""


@dataclass(frozen=True)
class Schedule:
    """Steps, of which the first ``warm_up`` raise the rate to ``rate``; it then falls to 0 by a cosine."""

    steps: int
    rate: float
    warm_up: int
    seed: int

    def at(self, step: int) -> float:
        """The rate of a step."""
        return self.rate * min(1, (step + 1) / self.warm_up) * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def prepared(folder: Path, recipe: Recipe) -> Case:
    """What the network sees of a case, and its labels there."""
    study = load_study(folder)
    assert study.segmentation is not None
    image, inverse = preprocess(study, recipe, nets.divisor(recipe))
    return image.half(), torch.from_numpy(inverse.forward_labels(study.segmentation.labels).copy())


def fit(
    module: nn.Module,
    answer: Answer,
    cases: Sequence[Case],
    recipe: Recipe,
    schedule: Schedule,
    lacking: Sequence[int] = (),
    look: Callable[[int, dict[str, torch.Tensor]], None] = lambda step, average: None,
) -> dict[str, torch.Tensor]:
    """The averaged weights of ``module``, after it has learnt ``answer`` from cases changed as the recipe's augmentation does and
    without the series ``lacking``, by its loss. ``look`` is shown the average after every 50 steps."""
    torch.manual_seed(schedule.seed)
    bags, weights, loss = random.Random(schedule.seed), list(module.parameters()), losses.build(recipe)
    optimiser = torch.optim.AdamW(weights, lr=schedule.rate, weight_decay=1e-2)
    average = {k: v.detach().clone() for k, v in module.state_dict().items()}
    began, total, bag = time.process_time(), 0.0, list[int]()
    for step in range(schedule.steps):
        if not bag:
            bag = bags.sample(range(len(cases)), len(cases))
        image, labels = cases[bag.pop()]
        drawn = generator(schedule.seed, step, 0)
        image, labels = augment(image.float(), labels, recipe.augmentation, drawn, recipe.modalities)
        image = image.clone()
        image[list(lacking)] = 0
        for group in optimiser.param_groups:
            group["lr"] = schedule.at(step)
        x = image[None].contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            logits = answer(x)
        value = loss(logits.float(), labels[None], {}, x)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        with torch.no_grad():
            for k, v in module.state_dict().items():
                average[k].lerp_(v, 1 - min(DECAY, (step + 1) / (step + 10)))
        total += float(value.detach())
        if step % 50 == 49:
            seconds = time.process_time() - began
            print(f"step {step + 1} of {schedule.steps}, loss {total / 50:.3f}, {seconds:.0f} s", flush=True)
            total = 0.0
            look(step + 1, average)
    return average


@torch.inference_mode()
def scored(answer: Answer, case: Case, recipe: Recipe, lacking: Sequence[int] = ()) -> list[float]:
    """Dice of each region, at one half and without the rule for specks."""
    image = case[0].float()
    image[list(lacking)] = 0
    logits = answer(image[None])[0]
    truths = (torch.isin(case[1], torch.tensor([int(v) for v in REGION_LABELS[r]])) for r in recipe.output.regions)
    return [dice((z > 0).numpy(), t.numpy()) for z, t in zip(logits, truths, strict=True)]
