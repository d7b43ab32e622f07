"""What post-processing costs: thresholds and specks chosen from answers out of fold, and the lesions that specks take along.

Each training case of the stored split is answered by a fold model that has not learnt from it. Thresholds and the smallest
piece that stays are chosen for each region on half of the cases and scored on the other half (repeated, seeded), beside the
model's own rule. As in every answer, a region holds the ones within it: TC what the model's own rule leaves of ET, WT that of TC.

    python benchmarks/specks/run.py --data DIR --fold A.safetensors --fold B.safetensors

``--data`` holds brats/<case>/ and brats_split.csv (default: BRAINSEG_DATA).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainseg_engine import calibration, models
from brainseg_engine.core import device
from brainseg_engine.core.labels import Mask, Region, region_mask
from brainseg_engine.core.morphology import components
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import load_study
from brainseg_engine.models import checkpoint
from brainseg_engine.recipe import Postprocess
from brainseg_engine.scores.lesions import SMALLEST_MM3

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import stored_cases

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
SPECKS_ML = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0)
Choice = tuple[float, float]
"""(threshold, mL of the smallest piece that stays)."""
HALVES = 200


def scores(p: NDArray[np.float32], truth: Mask, inner: Mask, voxel_ml: float) -> dict[Choice, float]:
    """Dice of a region for every choice; ``inner``, the regions within it, belongs to it whatever is chosen."""
    total, within = int(np.count_nonzero(truth)), int(np.count_nonzero(inner))
    right = int(np.count_nonzero(inner & truth))
    out = {}
    for threshold in THRESHOLDS:
        labelled, n = components(p > threshold)
        sizes, new, hits = (
            np.bincount(labelled[where].ravel(), minlength=n + 1) for where in (slice(None), ~inner, truth & ~inner)
        )
        new[0] = hits[0] = 0
        for least in SPECKS_ML:
            stays = sizes >= round(least / voxel_ml)
            found = within + int(new[stays].sum())
            out[threshold, least] = 2 * (right + int(hits[stays].sum())) / (found + total) if found + total else 1.0
    return out


def chosen(cases: Sequence[Mapping[Choice, float]]) -> Choice:
    """The choice with the highest mean."""
    return max(cases[0], key=lambda c: float(np.mean([case[c] for case in cases])))


def halves(cases: Sequence[Mapping[Choice, float]], own: Choice) -> tuple[list[float], list[Choice]]:
    """What a choice made on half of the cases gains over ``own`` on the other half, and the choices; ``HALVES`` times."""
    rng, gains, choices = np.random.default_rng(14), [], []
    for _ in range(HALVES):
        order = rng.permutation(len(cases))
        first, second = (set(part.tolist()) for part in np.array_split(order, 2))
        choice = chosen([cases[i] for i in first])
        gains.append(float(np.mean([cases[i][choice] - cases[i][own] for i in second])))
        choices.append(choice)
    return gains, choices


def own_choice(rule: Postprocess, region: Region) -> Choice:
    """What the model's own rule says of a region."""
    return rule.thresholds.get(region, rule.threshold), rule.min_component_ml.get(region, 0.0)


def lesions_below(truth: Mask, least_ml: float, voxel_ml: float) -> tuple[int, int]:
    """(true lesions larger than what a score counts, those of them that are smaller than the rule)."""
    labelled, _ = components(truth)
    sizes = np.bincount(labelled.ravel())[1:] * voxel_ml
    real = sizes[sizes * 1000 > SMALLEST_MM3]
    return len(real), int((real < least_ml).sum())


@dataclass
class Lost:
    """Over all cases, of one region: true lesions, those smaller than the rule for specks, those found at the model's threshold
    before and after it, and pieces that touch no truth before and after it."""

    lesions: int = 0
    below: int = 0
    found: int = 0
    left: int = 0
    false: int = 0
    false_left: int = 0

    def add(self, p: NDArray[np.float32], truth: Mask, inner: Mask, choice: Choice, voxel_ml: float) -> Mask:
        """Count one case in; returns what stays, with ``inner``, the regions within it."""
        threshold, least = choice
        labelled, n = components(truth)
        sizes = np.bincount(labelled.ravel(), minlength=n + 1) * voxel_ml
        real = [i for i in range(1, n + 1) if sizes[i] * 1000 > SMALLEST_MM3]
        pieces, m = components(p > threshold)
        large = np.bincount(pieces.ravel(), minlength=m + 1) >= round(least / voxel_ml)
        large[0] = False
        stays: Mask = large[pieces] | inner
        before, after = (set(np.unique(labelled[where]).tolist()) for where in ((pieces > 0) | inner, stays))
        true = set(np.unique(pieces[truth]).tolist())
        self.lesions += len(real)
        self.below += sum(1 for i in real if sizes[i] < least)
        self.found += sum(1 for i in real if i in before)
        self.left += sum(1 for i in real if i in after)
        self.false += sum(1 for i in range(1, m + 1) if i not in true)
        self.false_left += sum(1 for i in range(1, m + 1) if i not in true and large[i])
        return stays


def choices(found: Mapping[Region, Sequence[Mapping[Choice, float]]], rule: Postprocess) -> Iterator[str]:
    """The table of choices."""
    yield "| region | own rule | Dice | without specks' rule | best of all | Dice | chosen on halves, gain on the other halves |"
    yield "|---|---|---|---|---|---|---|"
    for region, cases in found.items():
        own, best = own_choice(rule, region), chosen(cases)
        gains, each = halves(cases, own)
        often = max(set(each), key=each.count)
        low, high = np.quantile(gains, [0.05, 0.95])
        means = {c: float(np.mean([case[c] for case in cases])) for c in (own, best, (own[0], 0.0))}
        yield (
            f"| {region} | {own[0]:g}, {own[1]:g} mL | {means[own]:.3f} | {means[own[0], 0.0]:.3f} | "
            f"{best[0]:g}, {best[1]:g} mL | {means[best]:.3f} | "
            f"{np.mean(gains):+.3f} ({low:+.3f} to {high:+.3f}), most often {often[0]:g}, {often[1]:g} mL |"
        )


def losses(lost: Mapping[Region, Lost], rule: Postprocess) -> Iterator[str]:
    """The table of lesions."""
    yield "| region | true lesions | smaller than the rule | found before it | found after it | false pieces before | after |"
    yield "|---|---|---|---|---|---|---|"
    for r, c in lost.items():
        least = own_choice(rule, r)[1]
        yield f"| {r} | {c.lesions} | {c.below} (of {least:g} mL) | {c.found} | {c.left} | {c.false} | {c.false_left} |"


def main() -> int:
    """Answer, choose, count, print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--model", default="brats-baseline")
    options.add_argument("--fold", action="append", required=True, help="a model trained on a part of the cases")
    args = options.parse_args()
    device.keep_heap()
    rule = checkpoint.read_metadata(models.find(args.model))[1].postprocess
    folds = [Predictor(models.find(f), "cpu") for f in args.fold]
    training = list(stored_cases(args.data, "train").values())
    unseen = [f for f in training if _unseen(f, folds)]
    found: dict[Region, list[Mapping[Choice, float]]] = {r: [] for r in Region}
    lost = {r: Lost() for r in Region}
    for n, case in enumerate(calibration.out_of_fold(folds, unseen)):
        voxel_ml = case.study.reference.grid.voxel_ml or 0.001
        inner = np.zeros(case.truth.shape, dtype=bool)
        for region in (Region.ET, Region.TC, Region.WT):
            p, truth = case.probabilities[region], region_mask(case.truth, region)
            found[region].append(scores(p, truth, inner, voxel_ml))
            inner = lost[region].add(p, truth, inner, own_choice(rule, region), voxel_ml)
        print(f"{n + 1} of {len(unseen)}", file=sys.stderr, flush=True)
    print(f"{len(unseen)} cases out of fold\n\n" + "\n".join(choices(found, rule)))
    print(f"\nTrue lesions above {SMALLEST_MM3:g} mm³\n\n" + "\n".join(losses(lost, rule)))
    everyone = [*training, *stored_cases(args.data).values()]
    print(f"\nOf all {len(everyone)} truths, were they found exactly\n\n" + "\n".join(_truths(everyone, rule)))
    return 0


def _unseen(folder: Path, folds: Sequence[Predictor]) -> bool:
    hashes = {v.sha256 for v in load_study(folder, segmentation=False).volumes.values()}
    return any(hashes.isdisjoint(f.card.training_hashes) for f in folds)


def _truths(folders: Sequence[Path], rule: Postprocess) -> Iterator[str]:
    """How many true lesions the rule for specks would remove, were they found exactly."""
    yield "| region | true lesions | smaller than the rule | cases whose lesions all are |"
    yield "|---|---|---|---|"
    counts = {r: [0, 0, 0] for r in Region}
    for folder in folders:
        truth = load_study(folder).segmentation
        if truth is None or truth.grid.voxel_ml is None:
            continue
        for region, count in counts.items():
            every, below = lesions_below(
                region_mask(truth.labels, region), own_choice(rule, region)[1], truth.grid.voxel_ml
            )
            for at, n in enumerate((every, below, int(every > 0 and every == below))):
                count[at] += n
    for r, (every, below, whole) in counts.items():
        yield f"| {r} | {every} | {below} (of {own_choice(rule, r)[1]:g} mL) | {whole} |"


if __name__ == "__main__":
    sys.exit(main())
