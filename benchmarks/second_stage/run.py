"""The second stage of the bundled model, trained: on two halves of the training cases, each scored on the other half, and on all.

    python benchmarks/second_stage/run.py --data DIR --out FOLDER

The first stage is a model that is there already (its weights stay as they are). It answers each case as it is, with series
missing, and as hospitals might have acquired it (thick slices, a field of view that ends inside the head, series moved or
missing; ``brainseg_engine.augment``). The second stage then learns, alone, from cubes about the tumour of these views, with
flips, a zoom, another contrast, blur and noise: so the whole tumour that it sees is the one that the first stage finds in just
such series. Written into FOLDER: the models ``half-a`` and ``half-b``, whose second stages answer alone (for ``napari-brainseg
models calibrate --fold``), and ``whole``, where both stages' answers are averaged. What is there already is not done again.
``--only`` makes one of them, so that several processes can share the work (``--only views``: the views alone, first).

What it gave: docs/models/runs.md.

``--data`` holds brats/<case>/ and brats_split.csv (default: BRAINSEG_DATA). The folder then holds patients' images too: 10 GB.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from brainseg_engine import models, nets
from brainseg_engine.augment import generator
from brainseg_engine.augment.acquisition import acquired
from brainseg_engine.core.labels import REGION_LABELS, Region
from brainseg_engine.core.morphology import bounding_box
from brainseg_engine.dataset import hashes_of
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.io import load_study
from brainseg_engine.models import checkpoint
from brainseg_engine.nets.second_stage import POSSIBLE, SecondStage, grown
from brainseg_engine.recipe import Acquisition, Recipe, SegResNetConfig, overridden
from brainseg_engine.scores.overlap import dice

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import halves

SIDE = 64
"""Voxels of a cube that is learnt from."""
MARGIN = 20
CLEAN = 0.4
"""Of the cubes that are learnt from; the others are from the other views."""
LACKING = {"clean": (), "t1": (0,), "t1ce": (1,), "t2": (2,), "flair": (3,), "t1+t1ce": (0, 1), "t1+flair": (0, 3)}
ACQUIRED = {f"acquired-{n}": n for n in range(6)}
HOSPITAL = Acquisition(thick=0.3, cut=0.15, missing=0.15, moved=0.35, quantised=0.15)
Tensors = Mapping[str, torch.Tensor]
"""``labels`` (X, Y, Z) and, of each view, ``image.<view>`` (C, X, Y, Z) and ``tumour.<view>`` (1, X, Y, Z)."""


def first_stage(model: str) -> tuple[checkpoint.Card, Recipe, nn.Module]:
    """That of a model, whether it has a second one or not."""
    loaded = checkpoint.load(models.find(model))
    network = loaded.recipe.network
    assert isinstance(network, SegResNetConfig), "only a SegResNet has a second stage"
    recipe = loaded.recipe.model_copy(update={"network": network.model_copy(update={"second_stage": None})})
    net = nets.build(recipe)
    net.load_state_dict({k: v for k, v in loaded.state.items() if not k.startswith("second_stage.")})
    return loaded.card, recipe, net.eval()


def views(image: torch.Tensor, case: str) -> Iterator[tuple[str, torch.Tensor]]:
    """As it is, with series missing, and as hospitals might have acquired it: seeded by the case's name."""
    for name, lacking in LACKING.items():
        lacks = torch.tensor([n in lacking for n in range(len(image))])
        yield name, image.masked_fill(lacks[:, None, None, None], 0)
    for name, n in ACQUIRED.items():
        yield name, acquired(image, HOSPITAL, generator(zlib.crc32(case.encode()), 0, n))


def prepared(folder: Path, net: nn.Module, recipe: Recipe, out: Path) -> Tensors:
    """What lies about a case's tumour: its views, the first stage's logits of the whole tumour in each (float16), and labels."""
    if not out.is_file():
        study = load_study(folder)
        assert study.segmentation is not None
        image, inverse = preprocess(study, recipe, nets.divisor(recipe))
        labels = torch.from_numpy(inverse.forward_labels(study.segmentation.labels).copy())
        kept, at = {}, None
        for name, view in views(image, folder.name):
            with torch.inference_mode():
                tumour = net(view[None])[0, :1]
            if at is None:  # the first one is the case as it is
                box = bounding_box(((tumour[0] > 0) | (labels > 0)).numpy())
                assert box is not None
                at = tuple(slice(max(0, s.start - MARGIN) // 2 * 2, s.stop + MARGIN) for s in box)
                kept["labels"] = labels[at]
            kept[f"image.{name}"] = view[(slice(None), *at)].half()
            kept[f"tumour.{name}"] = tumour[(slice(None), *at)].half()
        out.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous().clone() for k, v in kept.items()}, out.with_suffix(".part"))
        out.with_suffix(".part").replace(out)
    return load_file(out)


def cube(case: Tensors, view: str, g: random.Random) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A cube about a voxel of the core (half of them), of the tumour, or where the first stage is wrong (one of seven): images,
    logits of the whole tumour, labels."""
    labels, tumour, chosen = case["labels"], case[f"tumour.{view}"], g.random()
    wanted = torch.isin(labels, torch.tensor([int(v) for v in REGION_LABELS[Region.TC]]))
    if chosen >= 0.85:
        wanted = (tumour[0] > 0) != (labels > 0)
    if 0.5 <= chosen < 0.85 or not bool(wanted.any()):
        wanted = labels > 0
    places = wanted.nonzero()
    centre = places[g.randrange(len(places))].tolist()
    starts = [
        min(max(0, c - SIDE // 2 + g.randint(-12, 12)), max(0, n - SIDE))
        for c, n in zip(centre, labels.shape, strict=True)
    ]
    at = tuple(slice(s, s + SIDE) for s in starts)
    short = [SIDE - n for n in labels[at].shape]
    pads = (0, short[2], 0, short[1], 0, short[0])
    image = functional.pad(case[f"image.{view}"][(slice(None), *at)].float(), pads)
    logits = functional.pad(tumour[(slice(None), *at)].float(), pads, value=-20.0)
    return image, logits, functional.pad(labels[at], pads)[None]


def zoomed(
    image: torch.Tensor, tumour: torch.Tensor, labels: torch.Tensor, g: random.Random
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each axis by its own factor; labels by the nearest voxel. From outside come zeros, and no tumour."""
    theta = torch.zeros(1, 3, 4)
    for axis in range(3):
        theta[0, axis, axis] = 1 / g.uniform(0.85, 1.2)
    grid = functional.affine_grid(theta, [1, 1, SIDE, SIDE, SIDE], align_corners=False)

    def moved(x: torch.Tensor, mode: str) -> torch.Tensor:
        return functional.grid_sample(x[None].float(), grid, mode=mode, align_corners=False)[0]

    return moved(image, "bilinear"), moved(tumour + 20, "bilinear") - 20, moved(labels, "nearest").to(labels.dtype)


def varied(
    image: torch.Tensor, tumour: torch.Tensor, labels: torch.Tensor, contrast: tuple[int, int], g: random.Random
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As another scanner, another day, another side of the head would show it. ``contrast``: the numbers of T1 and T1ce."""
    for axis in (1, 2, 3):
        if g.random() < 0.5:
            image, tumour, labels = image.flip(axis), tumour.flip(axis), labels.flip(axis)
    if g.random() < 0.5:
        image, tumour, labels = (x.transpose(1, 2) for x in (image, tumour, labels))
    if g.random() < 0.3:
        image, tumour, labels = zoomed(image, tumour, labels, g)
    there = image != 0
    image = image.clone()
    before, after = contrast
    if bool(there[before].any() and there[after].any()) and g.random() < 0.5:  # more or less contrast medium
        image[after] = image[before] + g.uniform(0.6, 1.5) * (image[after] - image[before])
    for n in range(len(image)):
        image[n] = one_series(image[n], g)
    return image * there, tumour, labels


def one_series(x: torch.Tensor, g: random.Random) -> torch.Tensor:
    """Contrast and brightness, blur, noise, each at random; (X, Y, Z)."""
    if g.random() < 0.5:
        x = x * g.uniform(0.8, 1.25) + g.uniform(-0.3, 0.3)
    if g.random() < 0.15:
        x = functional.avg_pool3d(x[None], 3, 1, 1)[0]
    if g.random() < 0.3:
        x = x + torch.randn(x.shape) * g.uniform(0, 0.25)
    return x


def loss(answer: torch.Tensor, truth: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and soft Dice of each region (K, X, Y, Z), in ``where``."""
    entropy = functional.binary_cross_entropy_with_logits(answer, truth, reduction="none")
    p, over = answer.sigmoid() * where, (1, 2, 3)
    shared = 1 - (2 * (p * truth).sum(over) + 50) / (p.sum(over) + truth.sum(over) + 50)
    return (entropy * where).sum() / (where.sum() * len(answer)).clamp_min(1) + shared.mean()


def trained(stage: SecondStage, cases: Sequence[Tensors], regions: Sequence[Region], steps: int, seed: int) -> None:
    """Each member for itself: AdamW, 2e-3 falling to 0 by a cosine, averaged weights."""
    g = random.Random(seed)
    torch.manual_seed(seed)
    wanted = [torch.tensor([int(v) for v in REGION_LABELS[r]]) for r in regions]
    assert stage.difference is not None
    for member in stage.members:
        average = {k: v.clone() for k, v in member.state_dict().items()}
        optimiser = torch.optim.AdamW(member.parameters(), lr=2e-3, weight_decay=1e-2)
        began, total = time.time(), 0.0
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * min(1, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
            view = "clean" if g.random() < CLEAN else g.choice([*list(LACKING)[1:], *ACQUIRED])
            image, tumour, labels = varied(*cube(cases[g.randrange(len(cases))], view, g), stage.difference, g)
            truth = torch.cat([torch.isin(labels, values) for values in wanted]).float()
            where = grown((tumour > POSSIBLE) | (labels > 0), voxels=6).float()
            value = loss(member(stage.seen(image, tumour))[0], truth, where)
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimiser.step()
            with torch.no_grad():
                for k, v in member.state_dict().items():
                    average[k].lerp_(v, 1 - min(0.99, (step + 1) / (step + 10)))
            total += float(value.detach())
            if step % 100 == 99:
                print(f"step {step + 1} of {steps}, loss {total / 100:.3f}, {time.time() - began:.0f} s", flush=True)
                total = 0.0
        member.load_state_dict(average)


@torch.inference_mode()
def scored(stage: SecondStage, case: Tensors, regions: Sequence[Region]) -> list[float]:
    """Dice of each region at one half, by the second stage where it answers; TC and ET within the first one's whole tumour."""
    tumour = case["tumour.clean"].float()
    first = torch.cat([tumour, torch.full((len(regions) - 1, *tumour.shape[1:]), -20.0)])
    logits = stage(case["image.clean"].float()[None], first[None])[0]
    out = []
    for k, region in enumerate(regions):
        true = torch.isin(case["labels"], torch.tensor([int(v) for v in REGION_LABELS[region]]))
        found = logits[k] > 0 if region is Region.WT else (logits[k] > 0) & (tumour[0] > 0)
        out.append(dice(found.numpy(), true.numpy()))
    return out


def made(args: argparse.Namespace, name: str, folders: Mapping[str, Path], learns: Sequence[str], steps: int) -> None:
    """The model of that name, from these cases of ``folders``; scored on the others."""
    out = Path(args.out) / f"{name}.safetensors"
    card, recipe, first = first_stage(args.model)
    cases = {c: prepared(f, first, recipe, Path(args.out) / "cases" / f"{c}.safetensors") for c, f in folders.items()}
    if args.only == "views":
        return
    use = [f"network.second_stage.members={args.members}", "network.second_stage.whole_tumour=true"]
    if len(learns) < len(folders):  # out of fold it answers alone: the first stage has learnt from all cases
        use += ["network.second_stage.share=1.0"]
    recipe = overridden(recipe, use)
    torch.manual_seed(args.seed)
    net = nets.build(recipe)
    net.load_state_dict({**net.state_dict(), **first.state_dict()})
    stage, regions = net.second_stage, recipe.output.regions
    assert isinstance(stage, SecondStage)
    if not out.is_file():
        trained(stage, [cases[c] for c in learns], regions, steps, args.seed)
        learnt = [h for c in learns for h in hashes_of(load_study(folders[c]), recipe)]
        card = card.model_copy(
            update={
                "name": name,
                "parameters": nets.count_parameters(net),
                "training_hashes": tuple(learnt),
                "training_cases": len(learns),
                "steps": steps,
                "calibration": None,
                "scores": {},
                "subsets": {},
            }
        )
        checkpoint.save(out, net.state_dict(), card, recipe)
    net = checkpoint.load(out).network()
    assert isinstance(net.second_stage, SecondStage)
    rows = {c: scored(net.second_stage.eval(), case, regions) for c, case in cases.items() if c not in learns}
    for case, row in rows.items():
        print(name, case, *(f"{d:.3f}" for d in row))
    if rows:
        mean = " / ".join(f"{d:.3f}" for d in np.mean(list(rows.values()), axis=0))
        print(f"| {name} | {len(learns)} | {len(rows)} | {mean} |")


def main() -> int:
    """Train, score, print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--out", required=True)
    options.add_argument("--model", default="brats-baseline", help="whose network becomes the first stage")
    options.add_argument("--only", choices=("views", "half-a", "half-b", "whole"))
    options.add_argument("--steps", type=int, default=1200)
    options.add_argument("--members", type=int, default=1)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--threads", type=int, default=1)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    folders, parts = halves(args.data)
    print("| model | learnt from | scored on | Dice |\n|---|---|---|---|")
    for name, learns in parts.items():
        if args.only in (None, "views", name):
            made(args, name, folders, learns, args.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
