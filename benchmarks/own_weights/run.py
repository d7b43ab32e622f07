"""Weights of its own for studies without a series, added to the bundled model: trained on two halves of the training cases, each
scored on the other half, and on all.

    python benchmarks/own_weights/run.py --data DIR --out FOLDER [--series flair]

The model's weights stay as they are. Those of its own (``network.own_weights_without``) begin as the model's and learn, alone,
from whole brains without that series, changed as the recipe's augmentation does. Written into FOLDER: ``half-a``, ``half-b`` and
``whole``; what is there already is not done again. ``--only`` makes one of them, so that several processes can share the work.

The first network alone is scored (no second stage), at one half and without the rule for specks. The model has learnt from all of
these cases, without the series too: what is told is what the weights of its own add to that.

What it gave: docs/models/runs.md.

``--data`` holds brats/<case>/ and brats_split.csv (default: BRAINSEG_DATA).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from brainseg_engine import models, nets
from brainseg_engine.augment import augment, generator
from brainseg_engine.core.labels import REGION_LABELS
from brainseg_engine.core.study import Modality
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.io import load_study
from brainseg_engine.models import checkpoint
from brainseg_engine.nets.segresnet import FoldedSegResNet
from brainseg_engine.recipe import Recipe, SegResNetConfig, overridden
from brainseg_engine.scores.overlap import dice
from brainseg_engine.train import losses

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import halves

RATE, WARM_UP, DECAY = 1e-3, 20, 0.98
SPOILT = ["augmentation.acquisition.missing=0.3", "augmentation.affine=0.25"]
"""Of the recipe's augmentation: how often one or two series more are missing, and how often heads are turned."""
Case = tuple[torch.Tensor, torch.Tensor]
"""Image (C, X, Y, Z) in half precision, labels (X, Y, Z)."""


def with_own_weights(model: str, series: Modality) -> tuple[checkpoint.Checkpoint, Recipe, FoldedSegResNet]:
    """The model's network with weights of its own for studies without the series too, which begin as the body's."""
    loaded = checkpoint.load(models.find(model))
    assert isinstance(loaded.recipe.network, SegResNetConfig), "only a SegResNet has weights of its own"
    without = [*(m.value for m in loaded.recipe.network.own_weights_without), series.value]
    recipe = overridden(loaded.recipe, [f"network.own_weights_without={json.dumps(without)}"])
    net = nets.build(recipe)
    assert isinstance(net, FoldedSegResNet)
    net.load_state_dict({**net.state_dict(), **loaded.state})
    own = net.without[series.value]
    own.load_state_dict({k: v for k, v in net.body.state_dict().items() if k in own.state_dict()})
    return loaded, recipe, net.eval()


def prepared(folder: Path, recipe: Recipe) -> Case:
    """What the network sees of a case, and its labels there."""
    study = load_study(folder)
    assert study.segmentation is not None
    image, inverse = preprocess(study, recipe, nets.divisor(recipe))
    return image.half(), torch.from_numpy(inverse.forward_labels(study.segmentation.labels).copy())


def trained(
    net: FoldedSegResNet, cases: Sequence[Case], recipe: Recipe, series: Modality, steps: int, seed: int
) -> None:
    """The weights of its own: AdamW, falling to 0 by a cosine, averaged weights."""
    number, own, g = recipe.modalities.index(series), net.without[series.value], random.Random(seed)
    torch.manual_seed(seed)
    net.requires_grad_(False)
    weights = list(own.requires_grad_(True).parameters())
    loss, changes = losses.build(recipe), overridden(recipe, SPOILT).augmentation
    order = torch.channels_last_3d if net.channels_last else torch.contiguous_format
    net.to(memory_format=order)  # type: ignore[call-overload]  # torch's stubs name it without its default
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=1e-2)
    average = {k: v.detach().clone() for k, v in own.state_dict().items()}
    began, total, bag = time.time(), 0.0, list[int]()
    for step in range(steps):
        if not bag:
            bag = g.sample(range(len(cases)), len(cases))
        image, labels = cases[bag.pop()]
        image, labels = augment(image.float(), labels, changes, generator(seed, step, 0), recipe.modalities)
        image = image.clone()
        image[number] = 0
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        x = image[None].contiguous(memory_format=order)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net._by(own, x)  # also where more is missing than this series
        value = loss(logits.float(), labels[None], {}, x)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        with torch.no_grad():
            for k, v in own.state_dict().items():
                average[k].lerp_(v, 1 - min(DECAY, (step + 1) / (step + 10)))
        total += float(value.detach())
        if step % 50 == 49:
            print(f"step {step + 1} of {steps}, loss {total / 50:.3f}, {time.time() - began:.0f} s", flush=True)
            total = 0.0
    own.load_state_dict(average)


@torch.inference_mode()
def scored(net: FoldedSegResNet, case: Case, recipe: Recipe, series: Modality) -> list[float]:
    """Dice of each region without the series, by the first network."""
    image = case[0].float()
    image[recipe.modalities.index(series)] = 0
    logits = net._first(image[None])[0]
    truths = (torch.isin(case[1], torch.tensor([int(v) for v in REGION_LABELS[r]])) for r in recipe.output.regions)
    return [dice((z > 0).numpy(), t.numpy()) for z, t in zip(logits, truths, strict=True)]


def made(args: argparse.Namespace, name: str, folders: Mapping[str, Path], learns: Sequence[str]) -> None:
    """The model of that name, from these cases of ``folders``; scored on the others, beside the model as it was."""
    out, series = Path(args.out) / f"{name}.safetensors", Modality(args.series)
    loaded, recipe, net = with_own_weights(args.model, series)
    cases = {c: prepared(f, recipe) for c, f in folders.items() if not out.is_file() or c not in learns}
    others = {c: case for c, case in cases.items() if c not in learns}
    before = {c: scored(net, case, recipe, series) for c, case in others.items()}
    if not out.is_file():
        trained(net, [cases[c] for c in learns], recipe, series, args.steps, args.seed)
        steps = loaded.card.steps + args.steps
        parameters = sum(p.numel() for p in net.parameters())
        new = {"name": name, "parameters": parameters, "steps": steps, "scores": {}, "subsets": {}}
        checkpoint.save(out, net.state_dict(), loaded.card.model_copy(update=new), recipe)
    learnt = checkpoint.load(out).network().eval()
    assert isinstance(learnt, FoldedSegResNet)
    after = {c: scored(learnt, case, recipe, series) for c, case in others.items()}
    for c in others:
        print(name, c, *(f"{a:.3f} → {b:.3f}" for a, b in zip(before[c], after[c], strict=True)))
    if others:
        means = (" / ".join(f"{d:.3f}" for d in np.mean(list(rows.values()), axis=0)) for rows in (before, after))
        print(f"| {name} | {' | '.join(means)} |")


def main() -> int:
    """Train, score, print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--model", default="brats-baseline")
    options.add_argument("--series", choices=[m.value for m in Modality], default="flair")
    options.add_argument("--steps", type=int, default=400)
    options.add_argument("--seed", type=int, default=14)
    options.add_argument("--only", choices=["half-a", "half-b", "whole"])
    args = options.parse_args()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    folders, learns = halves(args.data)
    for name in [args.only] if args.only else learns:
        made(args, name, folders, learns[name])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
