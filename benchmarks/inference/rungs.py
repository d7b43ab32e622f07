"""The ladder of an inference plan, rung by rung: what each costs, and how far its answer is from that of one pass.

Each rung runs in a process of its own, under a made-up limit of memory that it fits and the one above does not. Called by run.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from common import peak_gib  # noqa: E402

CASES = ("Brats18_2013_20_1", "BraTS2021_01483")
"""Of those for training: that the ladder answers alike is no question of accuracy."""


def measure(model: str, studies: Mapping[str, Path]) -> list[dict[str, Any]]:
    """A row a rung and study: its plan, processor seconds, peak memory, and Dice with the answer of one pass."""
    rows = []
    for name, study in studies.items():
        with tempfile.TemporaryDirectory() as folder:
            first: np.ndarray | None = None
            number, count = 0, 1
            while number < count:
                print(f"{name}: rung {number + 1}", file=sys.stderr, flush=True)
                labels = Path(folder) / f"{number}.npy"
                command = [sys.executable, __file__, "--model", model, "--study", study, "--rung", number]
                ended = subprocess.run(
                    [*map(str, command), "--labels", str(labels)], stdout=subprocess.PIPE, text=True, check=True
                )
                row = json.loads(ended.stdout.splitlines()[-1])
                answer = np.load(labels)
                first = answer if first is None else first
                count = row.pop("rungs")
                rows.append({"study": name, **row, "dice": _dice(first, answer)})
                number += 1
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown."""
    lines = [
        "## The ladder, rung by rung",
        "",
        "One thread, a process each, under a made-up limit of memory; Dice (WT, TC, ET) with the answer of one pass.",
        "",
        "| study | plan | processor seconds | peak GiB of the process | Dice with one pass | same labels |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        dice = ", ".join(f"{r['dice'][k]:.3f}" for k in ("WT", "TC", "ET"))
        lines.append(
            f"| {r['study']} | {r['plan']} | {r['processor_seconds']:.2f} | {r['peak_gib']:.2f} | {dice} | "
            f"{100 * r['dice']['same']:.2f} % |"
        )
    return [*lines, ""]


def _dice(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    from brainseg_engine.core.labels import Region, region_mask
    from brainseg_engine.scores.overlap import dice

    found = {r.value: round(dice(region_mask(one, r), region_mask(other, r)), 4) for r in Region}
    return {**found, "same": round(float((one == other).mean()), 6)}


def _child() -> None:
    """One rung of one study: load, then one pass that counts."""
    parser = argparse.ArgumentParser()
    for name, kind in (("model", str), ("study", Path), ("rung", int), ("labels", Path)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    given = parser.parse_args()
    import torch

    from brainseg_engine import nets
    from brainseg_engine.inference import plan
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.inference.preprocess import preprocess
    from brainseg_engine.io import load_study

    torch.set_num_threads(1)
    predictor, study = Predictor(given.model, "cpu"), load_study(given.study, segmentation=False)
    image, _ = preprocess(study, predictor.recipe, nets.divisor(predictor.recipe))
    ladder = plan.Planner(predictor.network, predictor.recipe).ladder(image.shape, "cpu")
    del image
    wanted = ladder[given.rung]
    plan.free_bytes = lambda device: int(wanted.need / 0.9) + 1
    began = time.process_time()
    made = predictor.predict(study)
    seconds = time.process_time() - began
    np.save(given.labels, made.segmentation.labels)
    print(json.dumps({
        "plan": made.plan.split(",")[0], "fallen": made.fallen, "rungs": len(ladder),
        "processor_seconds": round(seconds, 3), "peak_gib": round(peak_gib("cpu"), 3),
    }))  # fmt: skip


if __name__ == "__main__":
    _child()
