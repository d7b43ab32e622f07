"""This package's network and nnU-Net side by side: the same training cases, the same processor time, the same studies.

Both are trained from scratch on the training cases of the stored split, each on one core for as many minutes of *processor*
time (so that a busy machine is unfair to neither), by their own defaults; then both, and the bundled model, label the
validation cases. Each part is a process of its own and is kept in the work folder: the same command goes on where it was
stopped.

    python benchmarks/models/run.py --data DATA --work FOLDER [--minutes 30] [--memory 8] [--table] [--smoke]

nnU-Net's mirroring makes 8 passes of each piece, which without a GPU takes many minutes a study: it is run without it
(its --disable_tta) first, and as it is by itself last. --table measures nothing and writes the table of what is there.
--memory is nnU-Net's own: the GB it plans its patches for; with 8, its default, a training without a GPU takes 8 GB and more.
DATA holds brats/ and brats_split.csv. --smoke: two small phantoms, to be had with --minutes 0.2; nothing is written here. Writes
results.json and README.md beside this file. nnU-Net is needed beside this package: pip install nnunetv2.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from common import circumstances, kept, load_now, publish, stored_cases, two_phantoms  # noqa: E402

NAMES = {
    "ours": "napari-brainseg, recipe `baseline`, from scratch",
    "plain": "nnU-Net, `3d_fullres`, from scratch, run without mirroring",
    "imported": "the same weights, imported and run by napari-brainseg",
    "bundled": "napari-brainseg, the bundled model *(many hours of training)*",
    "theirs": "nnU-Net, the same weights, run with mirroring (its default)",
}
SHOWN = ("ours", "plain", "imported", "theirs", "bundled")
"""The order of the table; things are run in the order of NAMES, the slowest last."""
REGIONS = ("WT", "TC", "ET")


def main() -> int:
    """Every part that is not done yet, then the table."""
    options = _options()
    if options.part:
        print(json.dumps(_in_child(options)))
        return 0
    load = load_now()
    with tempfile.TemporaryDirectory() as folder:
        if options.smoke:
            phantoms = two_phantoms(Path(folder))
            sides = {"train": phantoms, "validation": phantoms}
        else:
            sides = {side: stored_cases(options.data, side) for side in ("train", "validation")}
        work = Path(folder) if options.smoke else options.work
        rows = _found(work, list(sides["validation"])) if options.table else _measured(sides, work, options)
    results = {**circumstances(load), "minutes": options.minutes, "memory": options.memory, **_versions(), "rows": rows}
    publish(HERE, results, _page(results), write=not options.smoke)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="This package's network beside nnU-Net")
    parser.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    parser.add_argument("--work", type=Path, default=Path("benchmark-models"))
    parser.add_argument("--minutes", type=float, default=30.0, help="of processor time, for each training")
    parser.add_argument(
        "--memory", type=float, default=8.0, help="GB that nnU-Net plans its patches for (its default: 8)"
    )
    parser.add_argument("--table", action="store_true", help="only write the table of what was measured already")
    parser.add_argument("--smoke", action="store_true", help="two small phantoms; nothing is written here")
    parser.add_argument("--part", choices=("prepare", "train", "predict"), help=argparse.SUPPRESS)
    parser.add_argument("--who", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--cases", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measured(sides: Mapping[str, Mapping[str, Path]], work: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run what was not run yet; one row a model."""
    work.mkdir(parents=True, exist_ok=True)
    for side, cases in sides.items():
        (work / f"{side}.json").write_text(json.dumps({case: str(at) for case, at in cases.items()}), encoding="utf-8")

    def part(name: str, who: str, side: str, file: str) -> None:
        kept(work / who / file, lambda: _child(name, who, work, options, work / f"{side}.json"))

    part("prepare", "theirs", "train", "prepared.json")
    for who in ("ours", "theirs"):
        part("train", who, "train", "trained.json")
    for who in NAMES:
        part("predict", who, "validation", "predicted.json")
    return _found(work, list(sides["validation"]))


def _found(work: Path, cases: list[str]) -> list[dict[str, Any]]:
    """One row a model, of the cases that it labelled already."""
    rows = []
    for who in SHOWN:
        trained = work / (who if who in ("ours", "bundled") else "theirs") / "trained.json"
        files = [f for case in cases if (f := work / who / "cases" / f"{case}.json").is_file()]
        if files:
            told = json.loads(trained.read_text(encoding="utf-8")) if trained.is_file() else {}
            rows.append(
                {"who": who, **told, **_row([json.loads(f.read_text(encoding="utf-8")) for f in files], len(cases))}
            )
    return rows


def _row(found: list[dict[str, Any]], of: int) -> dict[str, Any]:
    """Means over the cases; scores only where none is missing."""
    scores = {
        f"{key}_{region}": _mean([row["scores"][region][key] for row in found]) if len(found) == of else None
        for key in ("dice", "hd95_mm") for region in REGIONS
    }  # fmt: skip
    return {
        **scores, "cases": len(found), "of": of, "each": found, "megabytes": found[0]["megabytes"],
        "seconds": round(sum(row["seconds"] for row in found) / len(found), 1),
        "peak_gib": max(row["peak_gib"] for row in found),
    }  # fmt: skip


def _child(part: str, who: str, work: Path, options: argparse.Namespace, cases: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--who", who, "--work", str(work), "--cases", str(cases)]
    command += ["--minutes", str(options.minutes), "--memory", str(options.memory)]
    one_core = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    print(f"{part}: {NAMES[who]}", file=sys.stderr, flush=True)
    (work / who).mkdir(exist_ok=True)
    with (work / who / f"{part}.log").open("a") as log:
        ended = subprocess.run(
            command, env={**os.environ, **one_core}, stdout=subprocess.PIPE, stderr=log, text=True, check=False
        )
        log.write(ended.stdout)
    if ended.returncode:
        said = (work / who / f"{part}.log").read_text(encoding="utf-8").strip().splitlines()[-5:]
        raise SystemExit("\n".join([*said, f"{part} of {NAMES[who]} failed: see {work / who / f'{part}.log'}"]))
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def _in_child(options: argparse.Namespace) -> dict[str, Any]:
    sys.path.insert(0, str(HERE))
    import ours
    import theirs
    import torch

    from brainseg_engine.core import device

    device.keep_heap()
    torch.set_num_threads(1)
    cases = {case: Path(at) for case, at in json.loads(options.cases.read_text(encoding="utf-8")).items()}
    work = options.work / options.who
    nnunet = options.work / "theirs"
    theirs.settle(nnunet)
    if options.part == "prepare":
        theirs.prepare(cases, nnunet, options.memory)
        return {}
    if options.part == "train":
        return theirs.train(nnunet, options.minutes) if work == nnunet else ours.train(cases, work, options.minutes)
    from brainseg_engine.models.registry import bundled_folder

    if options.who in ("theirs", "plain"):
        model: Any = theirs.Theirs(nnunet, mirroring=options.who == "theirs")
    elif options.who == "imported":
        model = ours.Ours(ours.imported(theirs.trained(nnunet), work))
    else:
        bundled = sorted(bundled_folder().glob("*.safetensors"))[0]
        model = ours.Ours(bundled if options.who == "bundled" else work / "model.safetensors")
    for case, folder in cases.items():
        kept(work / "cases" / f"{case}.json", lambda folder=folder: _predicted(model, folder))
        print(case, flush=True)
    return {}


def _predicted(model: Any, folder: Path) -> dict[str, Any]:
    """One case labelled and scored; memory and seconds are those of this process."""
    began = time.process_time()
    labels = model.predict(folder)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "seconds": round(seconds, 1), "peak_gib": round(peak, 2), "megabytes": round(model.megabytes, 1),
        "scores": _scores(labels, folder),
    }  # fmt: skip


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(sum(known) / len(known), 4) if known else None


def _scores(labels: Any, folder: Path) -> dict[str, Any]:
    from brainseg_engine.core.labels import Region
    from brainseg_engine.io import load_study
    from brainseg_engine.scores.scorer import score_case

    truth = load_study(folder).segmentation
    assert truth is not None
    scores = score_case(labels, truth.labels, truth.grid, list(Region))
    return {
        region.value: {k: v for k, v in s.to_dict().items() if k in ("dice", "hd95_mm")} for region, s in scores.items()
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("nnunetv2", "torch", "napari-brainseg")}


def _page(results: Mapping[str, Any]) -> str:
    head = ["model", "steps", *(f"Dice {r}" for r in REGIONS), *(f"HD95 {r}" for r in REGIONS), "seconds a study",
            "GiB", "MB"]  # fmt: skip
    lines = [_line(row) for row in results["rows"]]
    n = results["rows"][0]["of"]
    planned = next((row for row in results["rows"] if "patch" in row), {})
    return "\n".join([
        "# The network of this package beside nnU-Net",
        "",
        f"{results['minutes']:g} minutes of processor time for each training, one core, no GPU; the same training cases and the",
        f"same {n} validation cases of the stored split; nothing was chosen by their scores.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *lines,
        "",
        "- Dice and HD95 (mm) are means over the cases; a region that was not found at all counts as 0 and the grid's diagonal,",
        "  373 mm, as in BraTS.",
        "- Seconds are of one core's processor time, from the files to the labels; GiB is the peak of that process; MB is the",
        "  model's file (nnU-Net keeps its optimiser in it).",
        f"- nnU-Net {results['nnunetv2']}: its own planner for {results['memory']:g} GB, which gives patches of",
        f"  {'×'.join(map(str, planned.get('patch', ())))} and batches of {planned.get('batch')} (for its default of 8 GB: 128³,",
        "  which takes 8 GB of memory and more in training without a GPU); its own preprocessing, trainer, augmentation, loss,",
        "  optimiser and predictor, fold `all`;",
        "  changed in one thing: its learning rate, which falls over 1000 epochs of 250 steps, falls over the given time; so",
        "  does that of `baseline`.",
        "- The row of the imported weights is to be that of nnU-Net above it: they are run as their makers meant.",
        "- So short a training without a GPU is not what nnU-Net is made for: with its usual day or more on a GPU it is among",
        "  the best there is. The table says what each gives on a desktop's processor in that time, and nothing else.",
        "",
        f"{results['date']}; {results['machine']}, {results['cores']} cores, busy; torch {results['torch']}.",
        "`run.py` makes it anew.",
        "",
    ])  # fmt: skip


def _line(row: Mapping[str, Any]) -> str:
    def shown(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    partly = "" if row["cases"] == row["of"] else f", {row['cases']} of {row['of']} studies"
    cells = [NAMES[row["who"]] + partly, str(row.get("steps", "–"))]
    cells += [shown(row[f"dice_{r}"], 3) for r in REGIONS] + [shown(row[f"hd95_mm_{r}"], 1) for r in REGIONS]
    cells += [f"{row['seconds']:.0f}", f"{row['peak_gib']:.1f}", f"{row['megabytes']:.0f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
