"""Trainings of the bundled recipes side by side, from their run folders, with a floor: predict the mean mask.

    python benchmarks/recipes/run.py --data DATA --split SPLIT.csv --out docs/recipes RUN…

Each RUN is a folder that `napari-brainseg train` made. Writes one table (table.md) and each run's metrics.csv. Seconds per
step are medians over the intervals between validations, on whatever else the machine was doing.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine import nets
from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.io import load_study
from brainseg_engine.recipe import Recipe, parse_recipe
from brainseg_engine.scores.overlap import dice
from brainseg_engine.studies import cohort

REGIONS = tuple(Region)


def mean_mask_floor(data: Path, split: Path) -> dict[Region, float]:
    """Dice on the validation cases of the training cases' mean mask, at the threshold that is best on the training cases;
    cases that lie on one grid (BraTS') only."""
    table = cohort.read_split(split)
    masks = {s: [_regions(f) for f in cohort.cases(data, table, s)] for s in ("train", "validation")}
    out = {}
    for k, region in enumerate(REGIONS):
        mean = np.mean([m[k] for m in masks["train"]], axis=0)
        levels = np.linspace(0.02, 0.9, 23) * mean.max()
        best = max(levels, key=lambda t: np.mean([dice(mean > t, m[k]) for m in masks["train"]]))
        out[region] = float(np.mean([dice(mean > best, m[k]) for m in masks["validation"]]))
    return out


def _regions(folder: Path) -> list[NDArray[np.bool_]]:
    study = load_study(folder)
    if study.segmentation is None:
        raise SystemExit(f"{folder} has no mask")
    return [region_mask(study.segmentation.labels, r) for r in REGIONS]


def described(run: Path) -> dict[str, Any]:
    """What the table says of a run."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    recipe = parse_recipe(json.loads((run / "recipe.json").read_text(encoding="utf-8")))
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    validated = [r for r in rows if any(r[f"dice_{region}"] for region in REGIONS)]
    best = max(validated, key=lambda r: np.mean([float(r[f"dice_{x}"]) for x in REGIONS if r[f"dice_{x}"]]))
    return {
        "recipe": recipe,
        "weights": nets.count_parameters(nets.build(recipe)),
        "seconds": _pace(rows),
        "memory": record.get("peak_memory_gb"),
        "steps": int(rows[-1]["step"]),
        "best_step": int(best["step"]),
        "dice": {r: float(best[f"dice_{r}"]) if best[f"dice_{r}"] else None for r in REGIONS},
    }


def _pace(rows: Sequence[dict[str, str]]) -> float:
    """Median seconds a step, over intervals that hold no validation; a resume starts the clock anew."""
    paces = []
    for before, after in itertools.pairwise(rows):
        steps, seconds = int(after["step"]) - int(before["step"]), float(after["seconds"]) - float(before["seconds"])
        if steps > 0 and seconds > 0 and not after["dice_WT"]:
            paces.append(seconds / steps)
    return statistics.median(paces) if paces else float(rows[-1]["seconds"]) / int(rows[-1]["step"])


def changed(recipe: Recipe) -> str:
    """What was set differently from the bundled recipe, but for how often it was validated."""
    from brainseg_engine.recipe import load_recipe
    from brainseg_engine.train.state import changes

    bundled = load_recipe(recipe.name, preset=recipe.preset or None)
    kept = [
        c for c in changes(bundled.model_dump(mode="json"), recipe.model_dump(mode="json")) if "validate_every" not in c
    ]
    return "; ".join(c.partition(" was ")[0] + " = " + c.partition(", not ")[2] for c in kept) or "–"


def row(name: str, facts: dict[str, Any]) -> str:
    """One line of the table."""
    scores = " | ".join("–" if facts["dice"][r] is None else f"{facts['dice'][r]:.3f}" for r in REGIONS)
    memory = f"{facts['memory']:.1f}" if facts["memory"] else "–"
    return (
        f"| [{name}]({name}.csv) | {facts['weights']:,} | {facts['steps']} ({facts['best_step']}) | {facts['seconds']:.1f} | "
        f"{memory} | {scores} | {changed(facts['recipe'])} |"
    )


HEAD = """| recipe | weights | steps (best at) | s a step | peak GB | WT | TC | ET | set differently |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    lines, apart = [HEAD], [HEAD]
    for run in given.runs:
        facts = described(run)
        name = facts["recipe"].name
        shutil.copyfile(run / "metrics.csv", given.out / f"{name}.csv")
        (lines if len(facts["recipe"].output.regions) > 1 else apart).append(row(name, facts))
    floor = mean_mask_floor(given.data, given.split)
    lines.append(f"| *mean mask* | 0 | – | – | – | {' | '.join(f'{floor[r]:.3f}' for r in REGIONS)} | – |")
    (given.out / "table.md").write_text("\n".join([*lines, "", *apart]) + "\n", encoding="utf-8")
    print((given.out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
