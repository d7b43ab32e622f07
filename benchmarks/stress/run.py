"""What spoilt series cost: the validation cases degraded in fixed, seeded ways, one model beside another.

Studies are prepared once, as `predict` does; series are then degraded as `brainseg_engine.augment.acquisition` does in
training (standardised series; a thick one is standardised again), with parameters that are fixed here. Each model answers,
by its own thresholds and its own rule for specks; Dice is that of its labels on the working grid (1 mm).

    python benchmarks/stress/run.py --data DIR --model brats-baseline --against OLDER.safetensors
    python benchmarks/stress/run.py --unlike         which of them look unlike the training cases (a calibrated model): no network
    python benchmarks/stress/run.py --smoke          one small phantom: does it run?

``--data`` holds brats/<case>/ and brats_split.csv (default: BRAINSEG_DATA); ``--subsets`` adds all 15 subsets of the series;
``--only PATTERN`` takes the degradations whose names it fits; ``--json FILE`` keeps every case's Dice.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from brainseg_engine import models, nets
from brainseg_engine.augment import acquisition, generator
from brainseg_engine.augment.intensity import smooth_field
from brainseg_engine.core import device
from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.inference import gaps
from brainseg_engine.inference.appearance import features
from brainseg_engine.inference.postprocess import to_labels
from brainseg_engine.inference.preprocess import Inverse, preprocess
from brainseg_engine.inference.tiles import probabilities
from brainseg_engine.models import checkpoint
from brainseg_engine.scores.overlap import dice

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import stored_cases

Degraded = Callable[[torch.Tensor], torch.Tensor]
"""(C, X, Y, Z) → the same degraded, a copy; margins may be added to X, Y and Z."""

THICK_MM, PART, MOVED_MM, MOVED_DEG, LEVELS, STRIPPED_MM = 6, 0.25, 3.0, 3.0, 24, 4
AXES = "xyz"
PLANES = {0: "sagittal", 1: "coronal", 2: "axial"}


def degradations(subsets: bool) -> Iterator[tuple[str, Degraded]]:
    """Name → what is done, in the order of the table."""
    series = list(enumerate(Modality))
    yield "as they are", torch.clone
    for (i, m), axis in itertools.product(series, range(3)):
        yield f"{m.title} {THICK_MM} mm, {PLANES[axis]}", _each({i: axis})
    yield "T1 sagittal and FLAIR axial", _each({0: 0, 3: 2})
    yield "T1ce coronal and FLAIR sagittal", _each({1: 1, 3: 0})
    yield "T1 axial, T2 coronal, FLAIR sagittal", _each({0: 2, 2: 1, 3: 0})
    for (i, m), far in zip(series, (True, False, True, False), strict=True):
        yield f"{m.title} ends at a quarter of the head, {'top' if far else 'bottom'}", _cut(i, 2, far)
    yield "FLAIR ends at a quarter of the head, left", _cut(3, 0, False)
    for i, m in series:
        yield f"{m.title} moved {MOVED_MM:g} mm and {MOVED_DEG:g}°", _moved(i)
    yield "all: bias field", _biased
    yield f"all: {LEVELS} levels", _coarse
    yield f"all: up to {STRIPPED_MM} mm of brain stripped", _stripped(rim=False)
    yield f"all: a rim of up to {STRIPPED_MM} mm left", _stripped(rim=True)
    yield "mirrored", lambda image: image.flip(1)
    for margin in (8, 16, 32):
        yield f"{margin} empty voxels on every side", _margin(margin, stray=False)
    yield "16 empty voxels, a stray in the corner", _margin(16, stray=True)
    numbers = range(3, 0, -1) if subsets else (3,)
    for kept in itertools.chain.from_iterable(itertools.combinations(range(4), n) for n in numbers):
        lacking = [m.title for i, m in series if i not in kept]
        yield f"without {', '.join(lacking)}", _without([i for i, _ in series if i not in kept])


def _each(planes: Mapping[int, int]) -> Degraded:
    def degraded(image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        for i, axis in planes.items():
            image[i] = acquisition.standardised(acquisition.thick(image[i], axis, THICK_MM, gap=0.15, offset=0.5))
        return image

    return degraded


def _cut(i: int, axis: int, far: bool) -> Degraded:
    def degraded(image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        acquisition.cut(image[i], axis, PART, far)
        image[i] = acquisition.standardised(image[i])
        return image

    return degraded


def _moved(i: int) -> Degraded:
    def degraded(image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        acquisition.move(image[i], (MOVED_DEG, -MOVED_DEG, MOVED_DEG), (MOVED_MM, -MOVED_MM, MOVED_MM))
        return image

    return degraded


def _biased(image: torch.Tensor) -> torch.Tensor:
    g = generator(14, 0, 0)
    out = []
    for channel in image:
        field = smooth_field(torch.randn(3, 3, 3, generator=g) * 0.3, channel)
        out.append(acquisition.standardised((channel + field) * (channel != 0)))
    return torch.stack(out)


def _coarse(image: torch.Tensor) -> torch.Tensor:
    out = []
    for channel in image:
        low, high = torch.aminmax(channel)
        step = ((high - low) / LEVELS).clamp_min(1e-6)
        out.append(((channel - low) / step).round().mul(step).add(low) * (channel != 0))
    return torch.stack(out)


def _stripped(rim: bool) -> Degraded:
    def degraded(image: torch.Tensor) -> torch.Tensor:
        labels = torch.zeros(image.shape[1:], dtype=torch.uint8)
        return acquisition.stripped(image, labels, STRIPPED_MM, rim, generator(14, 0, 2))[0]

    return degraded


def _margin(n: int, stray: bool) -> Degraded:
    def degraded(image: torch.Tensor) -> torch.Tensor:
        image = torch.nn.functional.pad(image, [n] * 6)
        if stray:
            image[:, -1, -1, -1] = 1.0
        return image

    return degraded


def _without(lacking: list[int]) -> Degraded:
    def degraded(image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        image[lacking] = 0
        return image

    return degraded


def _swapped(a: int, b: int) -> Degraded:
    order = list(range(len(Modality)))
    order[a], order[b] = b, a
    return lambda image: image[order]


def _noisy(image: torch.Tensor) -> torch.Tensor:
    return torch.where(image != 0, image + 0.5 * torch.randn(image.shape, generator=generator(14, 0, 1)), image)


def _smooth(image: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool3d(image[None], 3, 1, 1)[0] * (image != 0)


OTHER_KINDS: Mapping[str, Degraded] = {
    "T1 and T2 swapped": _swapped(0, 2),
    "T1 and T1ce swapped": _swapped(0, 1),
    "T2 and FLAIR swapped": _swapped(2, 3),
    "all: noise of 0.5 standard deviations": _noisy,
    "all: smoothed over 3 mm": _smooth,
}
"""What no training has taught; only asked whether it looks unlike the training cases."""


class Model:
    """One model, ready to answer what was prepared."""

    def __init__(self, name: str) -> None:
        loaded = checkpoint.load(models.find(name))
        self.title = f"{loaded.card.name} {loaded.card.version}"
        self.recipe, self.net = loaded.recipe, loaded.network()

    def _answered(self, image: torch.Tensor) -> torch.Tensor:
        found = probabilities(self.net(image[None]), self.recipe.output)[0]
        if not self.recipe.window.mirror:
            return found
        mirrored = probabilities(self.net(image.flip(1)[None]), self.recipe.output)[0]
        return (found + mirrored.flip(1)) / 2

    @torch.inference_mode()
    def scores(self, image: torch.Tensor, truth: torch.Tensor, inverse: Inverse) -> dict[str, float]:
        """Region → Dice; margins that the degradation added are cut off again."""
        found = gaps.filled(self._answered, image, gaps.found(image, self.recipe), self.recipe.output, logits=False)
        inner = [slice((a - b) // 2, (a - b) // 2 + b) for a, b in zip(found.shape[1:], truth.shape, strict=True)]
        found = found[(slice(None), *inner)]
        grid = inverse.working.crop((0, 0, 0), (found.shape[1], found.shape[2], found.shape[3]))
        labels = to_labels(found, self.recipe.output, self.recipe.postprocess, grid)
        true = truth.numpy()
        return {r.value: dice(region_mask(labels, r), region_mask(true, r)) for r in Region}


def measure(
    cases: Mapping[str, Study], those: list[Model], subsets: bool, only: str
) -> dict[str, dict[str, dict[str, Any]]]:
    """Degradation → model → case → region → Dice."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    recipe = those[0].recipe
    for n, (case, study) in enumerate(cases.items()):
        if study.segmentation is None:
            raise SystemExit(f"{case} has no mask")
        image, inverse = preprocess(study, recipe, nets.divisor(recipe))
        truth = torch.from_numpy(inverse.forward_labels(study.segmentation.labels).copy())
        for name, degrade in degradations(subsets):
            if not re.search(only, name):
                continue
            spoilt = degrade(image)
            true = truth.flip(0) if name == "mirrored" else truth
            for model in those:
                table.setdefault(name, {}).setdefault(model.title, {})[case] = model.scores(spoilt, true, inverse)
        print(f"{n + 1} of {len(cases)}\n{page(table)}", file=sys.stderr, flush=True)
    return table


def unlike(cases: Mapping[str, Study], name: str, subsets: bool, only: str) -> str:
    """Degradation → in how many cases the images look unlike all that the model has learnt from, as a table."""
    loaded = checkpoint.load(models.find(name))
    known = loaded.card.calibration
    if known is None or known.appearance is None:
        raise SystemExit(f"{name} is not calibrated: it has no idea of what its training cases look like")
    counts: dict[str, int] = {}
    for study in cases.values():
        image, _ = preprocess(study, loaded.recipe, nets.divisor(loaded.recipe))
        for degradation, degrade in itertools.chain(degradations(subsets), OTHER_KINDS.items()):
            if re.search(only, degradation):
                counts[degradation] = counts.get(degradation, 0) + bool(known.unlike(features(degrade(image))))
    rows = [f"| {d} | {n} of {len(cases)} |" for d, n in counts.items()]
    return "\n".join(["| degradation | looks unlike the training cases |", "|---|---|", *rows]) + "\n"


def page(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The table of means, in Markdown."""
    titles = list(next(iter(table.values())))
    lines = [f"| degradation | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, of_models in table.items():
        cells = []
        for title in titles:
            of_cases = of_models[title].values()
            means = [sum(c[r.value] for c in of_cases) / len(of_cases) for r in Region]
            cells.append(" / ".join(f"{m:.3f}" for m in means))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def validation_cases(data: Path | None) -> dict[str, Study]:
    """The stored validation cases. Raises SystemExit where they are not."""
    from brainseg_engine.io import load_study

    return {name: load_study(folder) for name, folder in stored_cases(data).items()}


def main() -> int:
    """Degrade, answer, score, print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--model", default="brats-baseline")
    options.add_argument("--against", nargs="*", default=[], help="other models, by name or file")
    options.add_argument("--subsets", action="store_true", help="all 15 subsets of the series")
    options.add_argument("--only", default="", help="regular expression: the degradations whose names it fits")
    options.add_argument("--json", type=Path, help="keep every case's Dice there")
    options.add_argument("--unlike", action="store_true", help="only whether the images look unlike the training cases")
    options.add_argument("--smoke", action="store_true", help="one small phantom")
    args = options.parse_args()
    device.keep_heap()
    if args.smoke:
        from brainseg_engine.phantom import phantom_study

        cases = {"phantom": phantom_study(1)}
    else:
        cases = validation_cases(args.data)
    if args.unlike:
        print(unlike(cases, args.model, args.subsets, args.only))
        return 0
    table = measure(cases, [Model(name) for name in (*args.against, args.model)], args.subsets, args.only)
    if args.json is not None:
        args.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"Dice WT / TC / ET, means of {len(cases)} cases\n\n{page(table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
