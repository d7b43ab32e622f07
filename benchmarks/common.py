"""What several benchmarks do alike: the stored cases, two phantoms, a random motion, and the page at the end.

A benchmark is run as a file of its own folder; it puts this folder on ``sys.path`` first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np


def stored_split(data: Path | None) -> dict[str, str]:
    """Case → its side ("train", "validation") as brats_split.csv has it; ends the program where ``data`` has none."""
    from brainseg_engine.studies import cohort

    if data is None or not (Path(data) / "brats_split.csv").is_file():
        sys.exit("no real cases: name the folder with brats/ and brats_split.csv with --data or BRAINSEG_DATA")
    return cohort.read_split(Path(data) / "brats_split.csv")


def stored_cases(data: Path | None, side: str = "validation") -> dict[str, Path]:
    """Case → folder, of one side of the stored split."""
    split = stored_split(data)
    assert data is not None
    return {case: Path(data) / "brats" / case for case, there in split.items() if there == side}


def halves(data: Path | None) -> tuple[dict[str, Path], dict[str, list[str]]]:
    """The training cases, case → folder, and which of them each model learns from: ``half-a``, ``half-b``, ``whole``. The halves
    are the same in every benchmark that scores one half by what has learnt from the other."""
    folders = stored_cases(data, "train")
    names = sorted(folders)
    random.Random(14).shuffle(names)
    half = len(names) // 2
    return folders, {"half-a": names[:half], "half-b": names[half:], "whole": names}


def two_phantoms(folder: Path) -> dict[str, Path]:
    """Name → folder of two small phantoms, written into ``folder``."""
    from brainseg_engine.phantom import phantom_study, write_study

    studies = [phantom_study(n, (96, 96, 64)) for n in range(2)]
    for study in studies:
        write_study(study, folder)
    return {study.id: folder / study.id for study in studies}


def random_motion(rng: np.random.Generator, centre: np.ndarray, most_deg: float, most_mm: float) -> Any:
    """A turn of up to ``most_deg`` about a random axis through ``centre`` (RAS mm), and a shift of up to ``most_mm``."""
    from scipy.spatial.transform import Rotation

    from brainseg_engine.prepare import Rigid

    axis, direction = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(np.radians(rng.uniform(0, most_deg)) * axis / np.linalg.norm(axis)).as_matrix()
    shift = rng.uniform(0, most_mm) * direction / np.linalg.norm(direction)
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre + shift - turn @ centre
    return Rigid(matrix)


def kept(part: Path | None, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``measure`` gives; out of the file ``part`` where it was done before, and into it where it was not."""
    if part is None:
        return measure()
    if not part.is_file():
        part.parent.mkdir(parents=True, exist_ok=True)
        row = json.dumps(measure())
        part.with_suffix(".part").write_text(row, encoding="utf-8")
        part.with_suffix(".part").replace(part)
    row_read: dict[str, Any] = json.loads(part.read_text(encoding="utf-8"))
    return row_read


def peak_gib(device: str) -> float:
    """Peak memory: of the GPU's tensors there, else of the process."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated()) / 2**30
    import psutil

    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return float(info.peak_wset) / 2**30
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (2**30 if sys.platform == "darwin" else 2**20)


def load_now() -> float:
    """The load of the last minute; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def circumstances(load_before: float) -> dict[str, Any]:
    """When and where it was measured, and how busy the machine was."""
    machine = platform.processor() or platform.machine()
    return {"date": date.today().isoformat(), "machine": machine, "cores": os.cpu_count(), "load_before": load_before}


def over_cases(
    here: Path,
    description: str,
    measure: Callable[[Mapping[str, Path]], list[dict[str, Any]]],
    page: Callable[[Mapping[str, Any]], str],
    facts: Callable[[], dict[str, Any]] = dict,
) -> int:
    """The program of a benchmark that measures rows over the stored validation cases, or over two phantoms with ``--smoke``.

    ``facts``: what else stands beside the rows. Returns the exit code.
    """
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--smoke", action="store_true", help="two small phantoms; nothing is written here")
    args = options.parse_args()
    load = load_now()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(two_phantoms(Path(folder)) if args.smoke else stored_cases(args.data))
    results = {**circumstances(load), **facts(), "rows": rows}
    publish(here, results, page(results), write=not args.smoke)
    return 0


def publish(here: Path, results: Mapping[str, Any], page: str, write: bool = True) -> None:
    """Print the page, and write it and the results into the benchmark's folder."""
    print(page)
    if write:
        (here / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (here / "README.md").write_text(page, encoding="utf-8")
