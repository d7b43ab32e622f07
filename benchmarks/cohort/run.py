"""A cohort from the command line: one `predict`, two of its processes, a loop of one `predict` a study, and nnU-Net's predictor.

All ways get the same files, one after the other in one run. nnU-Net runs a small network of its own that is made here and trained
for a moment (its speed is what is asked, not its answers), by its own program, with two processes beside the network's; `predict`
runs the same one, imported. Memory is that of a way's processes together, looked at four times a second.

    python benchmarks/cohort/run.py --data DIR [--studies 40] [--ways one,two,loop,nnunet,imported]
    python benchmarks/cohort/run.py --smoke          two small phantoms: does it run?

``--data`` holds brats/<case>/ (default: BRAINSEG_DATA). Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT / "tests")]
from common import circumstances, load_now, publish, two_phantoms  # noqa: E402

WAYS = {
    "one": "`predict` over all",
    "two": "`predict --jobs 2`",
    "loop": "a loop: one `predict` a study",
    "imported": "`predict` over all, the small nnU-Net imported",
    "nnunet": "nnU-Net's own predictor, the small nnU-Net",
}
SERIES = ("t1", "t1ce", "t2", "flair")
"""In the order of the small nnU-Net's channels."""
PATCH = (96, 128, 112)
LOOK_S = 0.25
WARM = 5
"""Studies after which memory is asked to stay as it is."""
MIB = 2**20


@dataclass
class Watched:
    """What one way's processes took, all together: seconds, CPU seconds, and (seconds, masks there, bytes) at each look."""

    seconds: float = 0.0
    cpu: dict[tuple[int, float], float] = field(default_factory=dict)
    looks: list[tuple[float, int, int]] = field(default_factory=list)

    def run(self, command: Sequence[object], out: Path, env: Mapping[str, str]) -> None:
        """Run it to its end. Ends the program where it fails."""
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env
        )
        root = psutil.Process(process.pid)
        while process.poll() is None:
            self._look(root, out, began)
            time.sleep(LOOK_S)
        if process.returncode:
            sys.exit(f"{command}\n{(process.stderr.read() if process.stderr else b'').decode()[-3000:]}")
        self.seconds += time.perf_counter() - began

    def _look(self, root: psutil.Process, out: Path, began: float) -> None:
        total = 0
        try:
            everyone = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        for process in everyone:
            try:
                times = process.cpu_times()
                total += process.memory_info().rss
                self.cpu[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                continue
        self.looks.append((self.seconds + time.perf_counter() - began, len(list(out.glob("*.nii.gz"))), total))

    def row(self, studies: int) -> dict[str, Any]:
        """What is told of it."""
        peaks = [max((b for _, n, b in self.looks if n == done), default=0) for done in range(studies)]
        early, late = max(peaks[:WARM]), max(peaks[WARM:], default=0)
        return {
            "per_minute": round(60 * studies / self.seconds, 2),
            "seconds": round(self.seconds, 1),
            "cpu_s_a_study": round(sum(self.cpu.values()) / studies, 2),
            "peak_mib": round(max(peaks) / MIB),
            "after_the_fifth": round(late / early, 3) if late else None,
            "peaks_mib": [round(p / MIB) for p in peaks],
        }


def main() -> int:
    """Measure, print the table, write the results."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--studies", type=int, default=40)
    options.add_argument("--ways", default=",".join(WAYS))
    options.add_argument("--smoke", action="store_true", help="two small phantoms; nothing is written here")
    args = options.parse_args()
    if not args.smoke and (args.data is None or not (args.data / "brats").is_dir()):
        sys.exit("no real cases: name the folder with brats/ with --data or BRAINSEG_DATA")
    load = load_now()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if args.smoke:
            cases = two_phantoms(work / "phantoms")
        else:
            cases = {p.name: p for p in sorted((args.data / "brats").iterdir())[: args.studies] if p.is_dir()}
        rows = measured(cases, work, args.ways.split(","))
    results = {**circumstances(load), "studies": len(cases), "patch": PATCH, **rows}
    publish(HERE, results, page(results), write=not args.smoke)
    return 0


def measured(cases: Mapping[str, Path], work: Path, wanted: Sequence[str]) -> dict[str, Any]:
    """Each way over the cases: its row; and how far the two that run one network agree."""
    env = {**os.environ, "BRAINSEG_HOME": str(work / "home"), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    env |= {name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    os.environ |= {k: v for k, v in env.items() if k.startswith(("nnUNet", "BRAINSEG"))}
    listed = work / "studies.txt"
    listed.write_text("\n".join(map(str, cases.values())) + "\n", encoding="utf-8")
    trained, imported = small_nnunet(work) if {"nnunet", "imported"} & set(wanted) else (work, work)
    predict = (sys.executable, "-m", "brainseg_engine", "predict", "--device", "cpu", "--quiet")
    calls: dict[str, Callable[[Path], list[Sequence[object]]]] = {
        "one": lambda out: [(*predict, "--list", listed, "--out", out)],
        "two": lambda out: [(*predict, "--list", listed, "--out", out, "--jobs", 2)],
        "loop": lambda out: [(*predict, case, "--out", out) for case in cases.values()],
        "imported": lambda out: [(*predict, "--list", listed, "--out", out, "--model", imported)],
        "nnunet": lambda out: [nnunet_call(trained, numbered(cases, work / "numbered"), out)],
    }
    found: dict[str, Any] = {}
    for way in wanted:
        out, watched, load = work / way, Watched(), load_now()
        for command in calls[way](out):
            watched.run(command, out, env)
        made = len(list(out.glob("*.nii.gz")))
        if made != len(cases):
            sys.exit(f"{WAYS[way]}: {made} masks of {len(cases)} studies")
        found[way] = {**watched.row(len(cases)), "load_before": load}
        print(
            f"{WAYS[way]}: { {k: v for k, v in found[way].items() if k != 'peaks_mib'} }", file=sys.stderr, flush=True
        )
    agree = agreement(cases, work) if {"nnunet", "imported"} <= set(wanted) else None
    return {"ways": found, "agreement": agree}


def small_nnunet(work: Path) -> tuple[Path, Path]:
    """(nnU-Net's trained folder, the same as a model of ours)."""
    import torch
    from helpers import peers

    from brainseg_engine.models.importers import ImportOptions, import_foreign
    from brainseg_engine.phantom import phantom_study

    folder = peers.nnunet_trained(
        work / "trained",
        peers.nnunet_plans(patch=PATCH),
        peers.nnunet_dataset(),
        phantom_study(1_000_003, (64, 72, 44)),
    )
    weights = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(weights, weights_only=False)  # our own, made a moment ago
    content["inference_allowed_mirroring_axes"] = None  # eight times the work would ask for eight times the time
    torch.save(content, weights)
    return folder, import_foreign(folder, ImportOptions("small-nnunet"))


def numbered(cases: Mapping[str, Path], folder: Path) -> Path:
    """The images under nnU-Net's names."""
    folder.mkdir()
    for name, case in cases.items():
        for n, series in enumerate(SERIES):
            (folder / f"{name}_{n:04d}.nii.gz").symlink_to(series_file(case, series).resolve())
    return folder


def series_file(case: Path, series: str) -> Path:
    """The file of one series; phantoms have the names of BraTS 2023."""
    newer = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}[series]
    return next(p for p in case.iterdir() if p.name.endswith((f"_{series}.nii.gz", f"-{newer}.nii.gz")))


def nnunet_call(model: Path, images: Path, out: Path) -> list[object]:
    """nnU-Net's own program, as its page says it, without mirror images."""
    script = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as run; run()"
    further = ("-f", "0", "-device", "cpu", "-npp", "1", "-nps", "1", "--disable_tta", "--disable_progress_bar")
    return [sys.executable, "-c", script, "-i", images, "-o", out, "-m", model, *further]


def agreement(cases: Mapping[str, Path], work: Path) -> float:
    """The least share of voxels of one label, over the cases, in nnU-Net's masks and those of the same network here."""
    import nibabel as nib
    import numpy as np

    least = 1.0
    for name, case in cases.items():
        ours = np.asarray(nib.load(work / "imported" / f"{name}_seg.nii.gz").dataobj)
        theirs = np.asarray(nib.load(work / "nnunet" / f"{name}.nii.gz").dataobj)
        values = np.unique(ours)
        written = np.array([0, 2, 1, 4 if 4 in values else 3], dtype=np.uint8)  # its order: ED, NCR, ET
        brain = np.asarray(nib.load(series_file(case, "t1")).dataobj) != 0
        least = min(least, float((ours == written[theirs.astype(int)])[brain].mean()))
    return round(least, 6)


def page(results: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    ways = results["ways"]
    one = ways.get("one")
    lines = []
    for way, row in ways.items():
        base = ways.get("imported") if way in ("imported", "nnunet") else one
        ratio = f"{row['per_minute'] / base['per_minute']:.2f}" if base else "–"
        flat = "–" if row["after_the_fifth"] is None else f"{row['after_the_fifth']:.3f}"
        lines.append(
            f"| {WAYS[way]} | {row['per_minute']:.1f} | {ratio} | {row['cpu_s_a_study']:.1f} | {row['peak_mib'] / 1024:.2f} | "
            f"{flat} | {row['load_before']} |"
        )
    agree = results["agreement"]
    said = (
        ""
        if agree is None
        else "The small nnU-Net answers the same in both: at least "
        f"{100 * agree:.3f} % of the brain's voxels have one label in every study."
    )
    return "\n".join([
        "# A cohort from the command line",
        "",
        f"{results['studies']} studies of BraTS as published (240×240×155, `.nii.gz`), files → masks, all ways one after the",
        f"other in one run. {results['date']}, {results['machine']}, {results['cores']} cores, CPU only, busy with other work:",
        "trust ratios and CPU seconds. The first three run the bundled model, the last two one small nnU-Net that was made",
        f"here (3 stages, 8–24 features, patches of {'×'.join(map(str, results['patch']))} at 1 mm, no mirror images): its speed",
        "is asked, not its answers.",
        "",
        "| way | studies a minute | ratio | CPU s a study | peak memory, GiB | peak after the 5th study / before | load |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
        "Ratio: to `predict` over all with the same model. Memory: resident, of all processes of a way, pages that they share",
        "counted in each.",
        said,
        "",
        "`python benchmarks/cohort/run.py --data DIR`; `--studies N` for fewer, `--ways one,loop` for some.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
