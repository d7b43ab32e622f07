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
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from brainseg_engine import models, nets
from brainseg_engine.core.study import Modality
from brainseg_engine.models import checkpoint
from brainseg_engine.nets.segresnet import FoldedSegResNet
from brainseg_engine.recipe import Recipe, SegResNetConfig, overridden

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import halves
from fitting import Case, Schedule, fit, prepared, scored

RATE, WARM_UP = 1e-3, 20
SPOILT = ["augmentation.acquisition.missing=0.3", "augmentation.affine=0.25"]
"""Of the recipe's augmentation: how often one or two series more are missing, and how often heads are turned."""


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


def trained(
    net: FoldedSegResNet, cases: Sequence[Case], recipe: Recipe, series: Modality, steps: int, seed: int
) -> None:
    """The weights of its own, on images without the series; also where more is missing than that."""
    own = net.without[series.value]
    net.requires_grad_(False)
    own.requires_grad_(True)
    net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stubs name it without its default
    lacking = [recipe.modalities.index(series)]
    schedule = Schedule(steps, RATE, WARM_UP, seed)
    own.load_state_dict(fit(own, lambda x: net._by(own, x), cases, overridden(recipe, SPOILT), schedule, lacking))


def made(args: argparse.Namespace, name: str, folders: Mapping[str, Path], learns: Sequence[str]) -> None:
    """The model of that name, from these cases of ``folders``; scored on the others, beside the model as it was."""
    out, series = Path(args.out) / f"{name}.safetensors", Modality(args.series)
    loaded, recipe, net = with_own_weights(args.model, series)
    cases = {c: prepared(f, recipe) for c, f in folders.items() if not out.is_file() or c not in learns}
    others = {c: case for c, case in cases.items() if c not in learns}
    lacking = [recipe.modalities.index(series)]
    before = {c: scored(net._first, case, recipe, lacking) for c, case in others.items()}
    if not out.is_file():
        trained(net, [cases[c] for c in learns], recipe, series, args.steps, args.seed)
        steps = loaded.card.steps + args.steps
        parameters = sum(p.numel() for p in net.parameters())
        new = {"name": name, "parameters": parameters, "steps": steps, "scores": {}, "subsets": {}}
        checkpoint.save(out, net.state_dict(), loaded.card.model_copy(update=new), recipe)
    learnt = checkpoint.load(out).network().eval()
    assert isinstance(learnt, FoldedSegResNet)
    after = {c: scored(learnt._first, case, recipe, lacking) for c, case in others.items()}
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
