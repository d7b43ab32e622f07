"""Training patches per second two ways: this package's memory-mapped cache and loader, and MONAI's CacheDataset.

Both cut random patches from the same studies and change them by the same kinds of operations at the same odds, with the
same number of workers and warm caches; nothing is trained, so that what is measured is how fast a loop is fed. Each way has
a process of its own; both are made ready, and then fed from in short turns, so that a busy machine is unfair to neither.
The processors' seconds a sample takes are measured too: other programs hardly change them.

    python benchmarks/training/run.py [--data FOLDER] [--size 96] [--batch 2] [--workers 2] [--rounds 6]

Without --data it makes phantoms. Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from common import publish  # noqa: E402

SEED = 1_000_200
STUDIES = 4
COUNTED = 24
"""Batches of a turn while the clock runs; before it, those that were made ready while the other way had its turn."""
WAYS = {
    "own": "napari-brainseg: cache on disk, memory-mapped; Samples",
    "monai": "MONAI: CacheDataset, dictionary transforms",
}


def main() -> int:
    """Measure, print the table, write the results."""
    options = _options()
    if options.way:
        _serve(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        studies = _studies(options, Path(folder))
        ways = {way: _start(way, options, studies, Path(folder) / "cache") for way in WAYS}
        try:
            rounds = _rounds(ways, options.rounds)
        finally:
            for child in ways.values():
                child.terminate()
    results = _summary(rounds, options)
    publish(HERE, results, _page(results))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Patches per second against MONAI's CacheDataset")
    parser.add_argument("--data", type=Path, help="folder of BraTS studies with truth (default: phantoms)")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--studies", type=Path, nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _studies(options: argparse.Namespace, folder: Path) -> list[Path]:
    from brainseg_engine.phantom import phantom_study, write_study

    if options.data:
        return sorted(p for p in options.data.iterdir() if p.is_dir())[:STUDIES]
    return [write_study(phantom_study(SEED + i), folder / "data") for i in range(STUDIES)]


def _start(way: str, options: argparse.Namespace, studies: list[Path], cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--way", way, "--cache", str(cache), "--studies", *map(str, studies)]
    for key in ("size", "batch", "workers", "rounds"):
        command += [f"--{key}", str(getattr(options, key))]
    print(f"making ready: {WAYS[way]}", file=sys.stderr, flush=True)
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _answer(child)
    return child


def _answer(child: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON; a child that ended has said why."""
    assert child.stdout
    for line in child.stdout:
        if line.startswith("{"):
            return dict(json.loads(line))
    raise SystemExit("A measurement ended early; see above.")


def _rounds(ways: dict[str, subprocess.Popen[str]], n: int) -> dict[str, list[dict[str, Any]]]:
    rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for turn in range(n):
        print(f"round {turn + 1} of {n}", file=sys.stderr, flush=True)
        for way in ways if turn % 2 == 0 else reversed(ways):
            child = ways[way]
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
            rounds[way].append(_answer(child))
    return rounds


def _serve(options: argparse.Namespace) -> None:
    """In the child: make ready and say so; then, for each line that comes, take some batches and tell how long it took."""
    batches = (_own if options.way == "own" else _monai)(options)
    ahead = 2 * options.workers + 1  # what a loader makes before it is asked, and the one it is at
    _take(batches, ahead, options)
    print(json.dumps({}), flush=True)
    for _ in sys.stdin:
        before = _processor_seconds()  # a full queue, as after the turn: what is taken in it is made in it
        _take(batches, ahead, options)
        began = time.perf_counter()
        _take(batches, COUNTED, options)
        seconds = time.perf_counter() - began
        _settle()
        samples = (ahead + COUNTED) * options.batch
        record = {
            "samples_per_second": COUNTED * options.batch / seconds,
            "cpu_seconds": (_processor_seconds() - before) / samples,
            "gib": _memory(),
        }
        print(json.dumps(record), flush=True)


def _take(batches: Iterator[Any], n: int, options: argparse.Namespace) -> None:
    for image, labels in itertools.islice(batches, n):
        if image.shape != (options.batch, 4, *[options.size] * 3) or labels.shape[-3:] != image.shape[2:]:
            raise SystemExit(f"{options.way}: unexpected shapes {tuple(image.shape)}, {tuple(labels.shape)}")


def _settle() -> None:
    """Wait until the workers have filled their queue again."""
    used = -1.0
    while (now := _processor_seconds()) - used > 0.02:
        used = now
        time.sleep(2.0)


def _processor_seconds() -> float:
    """Of this process and its workers."""
    import psutil

    return float(sum(sum(p.cpu_times()[:2]) for p in (psutil.Process(), *psutil.Process().children(recursive=True))))


def _samples(options: argparse.Namespace) -> int:
    """How many a loader must be able to give."""
    ahead = 2 * options.workers + 1
    return (2 * ahead + options.rounds * (ahead + COUNTED)) * options.batch


def _recipe(size: int) -> Any:
    """The bundled recipe on patches, half of them on tumour, with the usual changes; without the bias field, which MONAI
    draws quite differently."""
    from brainseg_engine.recipe import Augmentation, Window, load_recipe

    window = Window(policy="patch", size=(size, size, size), foreground=0.5)
    return load_recipe("baseline").model_copy(update={"window": window, "augmentation": Augmentation(bias_field=0.0)})


def _own(options: argparse.Namespace) -> Iterator[Any]:
    from brainseg_engine import dataset, nets

    recipe = _recipe(options.size)
    cases = [dataset.prepare(s, recipe, nets.divisor(recipe), options.cache) for s in options.studies]
    samples = dataset.Samples(cases, recipe, SEED)
    visits = dataset.Visits(len(samples), 0, _samples(options), SEED)
    return ((image, labels) for image, labels, _ in dataset.loader(samples, visits, options.batch, options.workers))


def _monai(options: argparse.Namespace) -> Iterator[Any]:
    from monai_loop import loader

    recipe = _recipe(options.size)
    batches = loader(
        options.studies, options.size, options.batch, options.workers, recipe.augmentation, _samples(options)
    )
    return ((batch["image"], batch["label"]) for batch in batches)


def _memory() -> float:
    """GiB of this process and its workers, memory that several share counted once (where the platform tells)."""
    import psutil

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    used = [getattr(p.memory_full_info(), "pss", p.memory_info().rss) for p in processes]
    return sum(used) / 2**30


def _summary(rounds: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> dict[str, Any]:
    import monai
    import psutil
    import torch

    keys = ("samples_per_second", "cpu_seconds", "gib")
    ways = {way: {k: round(statistics.median(r[k] for r in runs), 3) for k in keys} for way, runs in rounds.items()}
    pairs = zip(rounds["own"], rounds["monai"], strict=True)
    ratios = sorted(round(own["samples_per_second"] / other["samples_per_second"], 2) for own, other in pairs)
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f} at the end",
        "torch": torch.__version__,
        "monai": monai.__version__,
        "studies": f"{STUDIES} {'real ones' if options.data else f'phantoms, seeds from {SEED}'}",
        "patch": options.size,
        "batch": options.batch,
        "workers": options.workers,
        "counted": COUNTED * options.batch,
        "ways": ways,
        "ratios": ratios,
        "ratio": round(statistics.median(ratios), 2),
        "cpu_ratio": round(ways["monai"]["cpu_seconds"] / ways["own"]["cpu_seconds"], 2),
    }


def _page(results: dict[str, Any]) -> str:
    rows = [
        f"| {WAYS[way]} | {w['samples_per_second']:.2f} | {w['cpu_seconds']:.3f} | {w['gib']:.2f} |"
        for way, w in results["ways"].items()
    ]
    ratios = ", ".join(f"{r:.2f}" for r in results["ratios"])
    return "\n".join(
        [
            "# Training: patches per second against MONAI's CacheDataset",
            "",
            "Random patches with their labels, ready for a network: crop (half on tumour), mirroring, rotation and scale,",
            "blur, gamma, contrast, shift, noise, at the same odds; medians over short turns. The ratio of the samples is the",
            "median of the rounds' own. `run.py` and `monai_loop.py` are all of it. Numbers of one machine, so trust the ratios.",
            "",
            f"{results['date']}; {results['machine']}; torch {results['torch']}, MONAI {results['monai']}; "
            f"{results['studies']}; patches of {results['patch']}³, batches of {results['batch']}, {results['workers']} "
            f"workers; {results['counted']} samples a round.",
            "",
            "| way | samples a second | processor seconds a sample | memory (GiB) |",
            "|---|---|---|---|",
            *rows,
            f"| **ratio** | **{results['ratio']:.2f}** | **{results['cpu_ratio']:.2f}** | |",
            "",
            f"Ratios of the rounds: {ratios}. What differs besides: here intensities are changed with numbers of their own",
            "for each modality, the outside of the brain stays 0, and a sample is a function of (seed, epoch, index).",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
