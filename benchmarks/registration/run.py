"""How exact the registration is, and whether a bad one is noticed.

Series of the shared cases are moved at random (≤ 20 mm, ≤ 15°), cut into slices of 0.9×0.9×5.5 mm ("thick") or left at 1 mm
("thin"), and aligned with their case's T1ce. The target error is the distance between where a brain voxel was found and
where it is, over the whole brain. Then series are spoilt: another patient's, mirrored, upside down, half a head.

The threshold of the peak is chosen on training cases alone (halfway between the worst good and the best spoilt alignment, on
a logarithmic scale); the rates are those of the validation cases.

    python benchmarks/registration/run.py --data DIR [--moved 20] [--spoilt 40] [--jobs 2] [--work DIR]
    python benchmarks/registration/run.py --smoke          one phantom: does it run?

With ``--work`` every registration is kept there when it is done, and a second call goes on.

``--data`` holds brats/<case>/ and brats_split.csv (default: BRAINSEG_DATA). Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from common import circumstances, kept, load_now, publish, random_motion, stored_cases  # noqa: E402

# --- fixed before the first result

MOST_MM, MOST_DEG = 20.0, 15.0
THICK_MM = (0.9, 0.9, 5.5)
TARGET_MEDIAN_MM, TARGET_WORST_MM = 1.0, 3.0
SEED = 20_261_128
MOVABLE = ("t1", "t2", "flair")
SPOILT = ("another patient", "mirrored", "upside down", "half a head")
TRAINING_MOVED, TRAINING_SPOILT = 12, 16


@dataclass(frozen=True)
class Task:
    """``case`` and ``other`` are folders; ``spoilt`` "" for a series that is only moved."""

    n: int
    case: Path
    other: Path
    modality: str
    thick: bool
    spoilt: str = ""
    subset: str = "validation"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--moved", type=int, default=20)
    options.add_argument("--spoilt", type=int, default=40)
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--work", type=Path, help="keeps what is done, for a second call")
    options.add_argument("--smoke", action="store_true", help="one phantom; nothing is written here")
    args = options.parse_args()
    load = load_now()
    if args.smoke:
        from brainseg_engine.phantom import demo_folder

        folder = demo_folder()
        rows = [measure(t) for t in tasks([folder, folder], 2, 1)]
    else:
        todo = [
            *tasks(list(stored_cases(args.data).values()), args.moved, args.spoilt),
            *tasks(list(stored_cases(args.data, "train").values()), TRAINING_MOVED, TRAINING_SPOILT, "train"),
        ]
        with ProcessPoolExecutor(args.jobs) as pool:
            rows = list(pool.map(partial(row_of, args.work), todo))
    results = {**circumstances(load), "jobs": args.jobs, "rows": rows}
    publish(HERE, results, page(results), write=not args.smoke)
    return 0


def tasks(folders: list[Path], moved: int, spoilt: int, subset: str = "validation") -> Iterator[Task]:
    """Cases in turn, each with another modality the next time; half thick, half thin; every way of spoiling as often."""
    for n in range(moved + spoilt):
        turn, k = n // len(folders), n - moved
        case, other = folders[n % len(folders)], folders[(n + 1 + turn % (len(folders) - 1)) % len(folders)]
        thick, way = ((k // 4) % 2 == 0, SPOILT[(k + turn) % 4]) if k >= 0 else ((n + turn) % 2 == 0, "")
        yield Task(n, case, other, MOVABLE[(n % len(folders) + turn) % 3], thick, way, subset)


def row_of(work: Path | None, task: Task) -> dict[str, Any]:
    """The row of a task, out of ``work`` where it was done before."""
    part = work / f"{task.subset}-{task.n:03d}.json" if work is not None else None
    return kept(part, partial(measure, task))


def measure(task: Task) -> dict[str, Any]:
    """One registration, as the preparation does it."""
    from brainseg_engine.core.study import Modality
    from brainseg_engine.io import load_study
    from brainseg_engine.prepare import quality
    from brainseg_engine.prepare.register import register

    rng = np.random.default_rng([SEED, task.n, task.subset == "train"])
    reference = load_study(task.case, segmentation=False).reference
    source = task.other if task.spoilt == "another patient" else task.case
    whole = load_study(source, segmentation=False).volumes[Modality(task.modality)]
    series, true = moved(whole, rng, task.thick)
    series = spoil(series, task.spoilt)
    began, cpu = time.perf_counter(), time.process_time()
    best = None
    for start in ("header", "centre"):
        found = register(series, reference, start, threads=1)
        measured = quality.measure(series, reference, found.rigid)
        if best is None or measured.better_than(best[1]):
            best = found.rigid, measured
        if measured.good:
            break
    rigid, measured = best
    points = reference.grid.to_world(np.argwhere(reference.data > 0)[::97])
    error = np.linalg.norm(rigid.apply(points) - true.apply(points), axis=1)
    return {
        "case": task.case.name, "subset": task.subset, "modality": task.modality, "thick": task.thick, "spoilt": task.spoilt,
        "median_mm": round(float(np.median(error)), 3), "worst_mm": round(float(error.max()), 3), **measured.to_dict(),
        "seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
    }  # fmt: skip


def moved(volume: Any, rng: np.random.Generator, thick: bool) -> tuple[Any, Any]:
    """The series of a head that moved, and where the reference's points lie in it."""
    from brainseg_engine.core.geometry import Grid
    from brainseg_engine.prepare.back import finer
    from brainseg_engine.prepare.rigid import carried

    grid = volume.grid
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    rigid = random_motion(rng, centre, MOST_DEG, MOST_MM)
    if not thick:
        return replace(volume, data=carried(volume.data, grid, grid, rigid.inverse, smooth=False), header=None), rigid
    spacing = np.array(THICK_MM)
    shape = np.ceil(np.array(grid.shape) * grid.spacing / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = grid.affine[:3, :3] / grid.spacing * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    own = Grid(tuple(int(n) for n in shape), affine)
    fine = carried(volume.data, grid, finer(own, (1, 1, 5)), rigid.inverse, smooth=False)
    return replace(volume, data=fine.reshape(*own.shape, 5).mean(axis=3), grid=own, header=None), rigid


def spoil(volume: Any, way: str) -> Any:
    if way == "mirrored":
        return replace(volume, data=volume.data[::-1])
    if way == "upside down":
        return replace(volume, data=volume.data[:, :, ::-1])
    if way == "half a head":
        shape = (*volume.grid.shape[:2], volume.grid.shape[2] // 2)
        return replace(volume, data=volume.data[:, :, : shape[2]], grid=volume.grid.crop((0, 0, 0), shape))
    return volume


def _threshold(training: list[dict[str, Any]]) -> list[str]:
    """What the training cases say of the peak's threshold, and the one in use."""
    from brainseg_engine.prepare import quality

    good = [r["peak"] for r in training if not r["spoilt"]]
    spoilt = [r["peak"] for r in training if r["spoilt"] in SPOILT[:3]]  # half a head is told by its cover
    if not good or not spoilt:
        return []
    return [
        f"On {len(training)} series of training cases the lowest peak of a good alignment was {min(good):.2f} and the highest "
        f"of another patient's, mirrored and upside-down ones {max(spoilt):.2f}; halfway between lies "
        f"{(min(good) * max(spoilt)) ** 0.5:.2f}. In use is {quality.PEAK:g}, on the side of caution for heads with skulls "
        f"(below), with a cover of {quality.COVER:g} and a Dice of the heads of {quality.DICE:g}.",
    ]


def page(results: Mapping[str, Any]) -> str:
    rows = [r for r in results["rows"] if r["subset"] == "validation"]
    training = [r for r in results["rows"] if r["subset"] == "train"]
    lines = [
        "# Registration: how exact, and is a bad one noticed?",
        "",
        f"Series moved at random by up to {MOST_MM:g} mm and {MOST_DEG:g}° are aligned with T1ce as `prepare` does it (the "
        "header's position first, the centres laid onto each other where that is not good). Errors are over the whole brain.",
        "",
        f"{results['date']}, {results['machine']}, {results['cores']} cores, {results['jobs']} at once with a thread each; load "
        f"{results['load_before']} before the run, so wall seconds are too many where it was above 0.5.",
        "",
        "| series | n | median mm | worst median mm | worst point mm | found good | lowest peak | processor s | wall s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    good_rows = [r for r in rows if not r["spoilt"]]
    for name, thick in (("thick, 0.9×0.9×5.5 mm", True), ("thin, 1 mm", False)):
        some = [r for r in good_rows if r["thick"] is thick]
        if some:
            of = {k: [r[k] for r in some] for k in some[0]}
            lines.append(
                f"| {name} | {len(some)} | {np.median(of['median_mm']):.2f} | {max(of['median_mm']):.2f} | "
                f"{max(of['worst_mm']):.2f} | {sum(of['good'])} of {len(some)} | {min(of['peak']):.2f} | "
                f"{np.mean(of['cpu_seconds']):.1f} | {np.mean(of['seconds']):.1f} |"
            )
    lines += ["", "| spoilt | n | noticed | peak | cover | Dice of heads |", "|---|---|---|---|---|---|"]
    for way in SPOILT:
        some = [r for r in rows if r["spoilt"] == way]
        if some:
            spans = [f"{min(r[k] for r in some):.2f}–{max(r[k] for r in some):.2f}" for k in ("peak", "cover", "dice")]
            lines.append(f"| {way} | {len(some)} | {sum(not r['good'] for r in some)} | {' | '.join(spans)} |")
    median = float(np.median([r["median_mm"] for r in good_rows]))
    worst = max(r["worst_mm"] for r in good_rows)
    alarms = sum(not r["good"] for r in good_rows)
    bad = [r for r in rows if r["spoilt"]]
    lines += [
        "",
        f"- Median target error {median:.2f} mm (at most {TARGET_MEDIAN_MM:g} wanted), worst point {worst:.2f} mm (at most "
        f"{TARGET_WORST_MM:g} wanted).",
        f"- Noticed: {sum(not r['good'] for r in bad)} of {len(bad)} spoilt series. False alarms: {alarms} of "
        f"{len(good_rows)} good ones.",
        "",
        *_threshold(training),
        "",
        "Only heads without skull were at hand for this; on one raw study with skulls the three series gave peaks of 2.01, 1.68 "
        "and 1.69, mirrored ones 1.41 and 1.38, turned ones 1.05 to 1.23.",
        "",
        "Made by `python benchmarks/registration/run.py --data DIR`, DIR with `brats/<case>/` and `brats_split.csv`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
