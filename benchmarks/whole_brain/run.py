"""The whole-brain network from scratch: losses, widths and depths compared, each learnt from half of the training cases and
scored on the other half, in equally many steps.

    python benchmarks/whole_brain/run.py --data DIR                                             as the recipe has it
    python benchmarks/whole_brain/run.py --data DIR --set network.init_filters=32               wider
    python benchmarks/whole_brain/run.py --data DIR --set 'network.blocks_down=[2, 2, 4, 4]' --set 'network.blocks_up=[2, 2, 2]'
    python benchmarks/whole_brain/run.py --data DIR --set loss.dice=0 | --set loss.cross_entropy=0 | --seed 4

Images of 1.5 mm, so that the convolutions lie on a grid of 3 mm: at 1 mm a step takes four times as long. There is no second
stage, and no second look at a threshold.

What it gave: docs/models/runs.md.

``--data`` holds brats/<case>/ and brats_split.csv (default: BRAINSEG_DATA).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch

from brainseg_engine import nets
from brainseg_engine.core import device
from brainseg_engine.recipe import load_recipe, overridden

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import halves
from fitting import Schedule, fit, prepared, scored

RATE, WARM_UP = 1.5e-3, 30
SMALL = ["preprocess.spacing_mm=1.5", "augmentation.acquisition.missing=0.15", "augmentation.affine=0.25"]


def main() -> int:
    """Train, score, print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--set", action="append", default=[], help="a setting of the recipe")
    options.add_argument("--steps", type=int, default=1200)
    options.add_argument("--seed", type=int, default=3)
    options.add_argument("--look", type=int, default=200, help="scored each time after so many steps")
    args = options.parse_args()
    device.keep_heap()
    recipe = overridden(load_recipe("baseline"), [*SMALL, *args.set])
    folders, learns = halves(args.data)
    cases = {c: prepared(f, recipe) for c, f in folders.items()}
    others = [c for c in cases if c not in learns["half-a"]]
    torch.manual_seed(args.seed)
    net = nets.build(recipe).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stubs
    print(f"{sum(p.numel() for p in net.parameters()):,} weights, {args.set}, seed {args.seed}", flush=True)

    def look(step: int, average: dict[str, torch.Tensor]) -> None:
        if step % args.look and step != args.steps:
            return
        shown = nets.build(recipe).eval()
        shown.load_state_dict(average)
        rows = {c: scored(shown, cases[c], recipe) for c in others}
        if step == args.steps:
            print("\n".join(f"{c} {' / '.join(f'{d:.3f}' for d in row)}" for c, row in rows.items()))
        print(f"| {step} | {' / '.join(f'{d:.3f}' for d in np.mean(list(rows.values()), axis=0))} |", flush=True)

    fit(
        net.train(),
        net,
        [cases[c] for c in learns["half-a"]],
        recipe,
        Schedule(args.steps, RATE, WARM_UP, args.seed),
        look=look,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
