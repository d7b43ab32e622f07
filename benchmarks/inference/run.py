"""One study through the same network two ways: this package's Predictor, and MONAI's sliding window.

Both get the same preprocessed brain box and give labels on the study's grid; what differs is how the network is run over
the volume. Each way runs in a process of its own, in turns, so that peak memory and the state of the heap are its own and
a busy machine is unfair to neither. The first pass of a process is a warm-up and reported apart.

    python benchmarks/inference/run.py [--model NAME|FILE] [--device auto|cpu|cuda] [--rounds 3] [--data FOLDER]

Then the ladder of the plan (rungs.py): on two real cases where ``--data`` or ``BRAINSEG_DATA`` names them, else on the phantom.
Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from common import peak_gib, publish, stored_cases  # noqa: E402
from rungs import CASES, measure, table  # noqa: E402

SEED = 1_000_100
WAYS = {
    "predictor": "napari-brainseg Predictor",
    "monai": "MONAI SlidingWindowInferer, 128³, overlap 0.5, Gaussian",
}


def main() -> int:
    """Measure, print the table, write the results."""
    options = _options()
    if options.way:
        print(json.dumps(_measure(options)))
        return 0
    from brainseg_engine import models
    from brainseg_engine.phantom import phantom_study, write_study

    model = str(models.find(options.model or models.default()))
    with tempfile.TemporaryDirectory() as folder:
        study = write_study(phantom_study(SEED), Path(folder))
        rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for turn in range(options.rounds):
            for way in WAYS:
                print(f"round {turn + 1} of {options.rounds}: {WAYS[way]}", file=sys.stderr, flush=True)
                rounds[way].append(_child(way, model, study, options.device, Path(folder) / f"{way}.npy"))
        rungs = measure(model, _real(options.data) or {"phantom": study})
        agreement = _agreement(*(np.load(Path(folder) / f"{way}.npy") for way in WAYS))
    results = {**_summary(rounds, agreement, model), "rungs": rungs}
    publish(HERE, results, _page(results))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predictor against MONAI's sliding window")
    parser.add_argument("--model", help="model name or file (default: the bundled one)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--labels", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _real(data: Path | None) -> dict[str, Path]:
    if data is None or not (data / "brats_split.csv").is_file():
        return {}
    cases = stored_cases(data, "train")
    return {name: cases[name] for name in CASES if name in cases}


def _child(way: str, model: str, study: Path, device: str, labels: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--way", way, "--model", model, "--device", device]
    ended = subprocess.run(
        [*command, "--study", study, "--labels", labels], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """In the child: load once, one pass to warm up, one that counts."""
    from brainseg_engine.core import device as devices
    from brainseg_engine.io import load_study

    study = load_study(options.study)
    device = devices.choose(options.device)
    run = (_predictor if options.way == "predictor" else _monai)(options.model, device)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        labels, network = run(study)
        seconds.append((time.perf_counter() - began, network))
    np.save(options.labels, labels)
    return {
        "first": seconds[0][0],
        "seconds": seconds[1][0],
        "network": seconds[1][1],
        "peak_gib": peak_gib(device),
        "device": devices.describe(device),
    }


def _predictor(model: str, device: str) -> Callable[[Any], tuple[Any, float]]:
    from brainseg_engine.inference.predictor import Predictor

    predictor = Predictor(model, device)

    def run(study: Any) -> tuple[Any, float]:
        made = predictor.predict(study)
        return made.segmentation.labels, made.seconds["network"]

    return run


def _monai(model: str, device: str) -> Callable[[Any], tuple[Any, float]]:
    import torch
    from monai.inferers import SlidingWindowInferer

    from brainseg_engine import nets
    from brainseg_engine.inference.postprocess import to_labels
    from brainseg_engine.inference.preprocess import preprocess
    from brainseg_engine.models import checkpoint

    loaded = checkpoint.load(Path(model))
    net, recipe = loaded.network().to(device).eval(), loaded.recipe
    inferer = SlidingWindowInferer(roi_size=(128, 128, 128), sw_batch_size=1, overlap=0.5, mode="gaussian")

    @torch.inference_mode()
    def run(study: Any) -> tuple[Any, float]:
        image, inverse = preprocess(study, recipe, nets.divisor(recipe))
        image = image.to(device)
        began = time.perf_counter()
        found = torch.sigmoid(inferer(image[None], net)[0])
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        network = time.perf_counter() - began
        grid = study.reference.grid
        found = inverse.probabilities(found)
        return to_labels(found, recipe.output, recipe.postprocess, grid), network

    return run


def _agreement(one: Any, other: Any) -> dict[str, float]:
    from brainseg_engine.core.labels import Region, region_mask
    from brainseg_engine.scores.overlap import dice

    return {r.value: round(dice(region_mask(one, r), region_mask(other, r)), 4) for r in Region}


def _summary(rounds: dict[str, list[dict[str, Any]]], agreement: dict[str, float], model: str) -> dict[str, Any]:
    ways: dict[str, dict[str, Any]] = {}
    for way, runs in rounds.items():
        keys = ("seconds", "network", "first", "peak_gib")
        ways[way] = {k: round(statistics.median(r[k] for r in runs), 3) for k in keys}
    ours, theirs = ways["predictor"], ways["monai"]
    import psutil
    import torch

    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f} at the end",
        "device": rounds["predictor"][0]["device"],
        "torch": torch.__version__,
        "model": Path(model).stem,
        "study": f"phantom, seed {SEED}, 240×240×155",
        "rounds": len(rounds["predictor"]),
        "ways": ways,
        "ratio": {k: round(theirs[k] / ours[k], 2) for k in ("seconds", "network", "peak_gib")},
        "dice_between": agreement,
    }


def _page(results: dict[str, Any]) -> str:
    rows = [
        f"| {WAYS[way]} | {w['seconds']:.2f} | {w['network']:.2f} | {w['first']:.2f} | {w['peak_gib']:.2f} |"
        for way, w in results["ways"].items()
    ]
    ratio = results["ratio"]
    agreement = ", ".join(f"{region} {value:.3f}" for region, value in results["dice_between"].items())
    return "\n".join(
        [
            "# Inference: Predictor against a sliding window",
            "",
            "Study in memory → labels on its grid, the same network and the same preprocessing; medians over the rounds,",
            "each in a process of its own, in turns. Made by `make bench`; numbers of one machine, so trust the ratios.",
            "",
            f"{results['date']}; {results['machine']}; {results['device']}; torch {results['torch']}; model "
            f"{results['model']}; {results['study']}; rounds: {results['rounds']}.",
            "",
            "| way | seconds | of them network | first call | peak GiB |",
            "|---|---|---|---|---|",
            *rows,
            f"| **ratio** | **{ratio['seconds']:.2f}** | **{ratio['network']:.2f}** | | **{ratio['peak_gib']:.2f}** |",
            "",
            f"Dice between the two answers: {agreement}. They differ because the network is trained on whole brains: a",
            "window that cuts the brain changes its normalisation layers' statistics.",
            "",
            *table(results["rungs"]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
