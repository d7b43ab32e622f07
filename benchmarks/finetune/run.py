"""What fine-tuning gains and forgets: a robot corrects six studies of a shifted domain, and the model is tuned on them.

The shifted domain is made from real cases: axial slices of 5 mm resampled back to 1 mm, Rician noise, a bias field. The
robot is a user who corrects the base model's answer on six shifted training cases to the truth and accepts it. The mix is
chosen within those six (two of them are held out, as the program does of itself) and on anchors, which are unshifted training
cases that were not corrected. Reported is what nobody has looked at: all 8 validation cases, shifted and unshifted.

    python benchmarks/finetune/run.py --data DIR --work DIR [--minutes 12 | --steps 516]
    python benchmarks/finetune/run.py --smoke --work DIR       phantoms and seconds: does it run?

``--data`` holds brats/<case>/ and brats_split.csv (default: BRAINSEG_DATA). ``--work`` keeps everything, so that the same
command goes on after a stop; nothing is written into the user's own folder. Writes results.json and README.md beside this file.
``--steps`` trains by steps instead of minutes, so that the result does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

# --- fixed before the first result, and not changed after it

SEED = 20261121
SLICE_MM = 5
"""Thickness of the axial slices: 5 slices of 1 mm are averaged, and interpolated back linearly."""
NOISE = 0.05
"""Standard deviation of the Rician noise, as a share of the brain's 99th percentile."""
BIAS = 0.3
"""The bias field runs from 1 − BIAS to 1 + BIAS within the brain; one field for each modality."""
BIAS_MM = 60.0
"""How smooth it is: standard deviation of the Gaussian that made it."""
CORRECTED = 6
REPLAYED, ANCHORS_SCORED = 12, 6
TARGET_GAIN, TARGET_LOSS = 0.05, 0.01

HERE = Path(__file__).parent
BASE = "brats-baseline"
HELD_OUT = 2
"""Of the corrections, by the program's own rule for six patients."""
RUNS: Mapping[str, tuple[str, ...]] = {
    "tuned": (),
    "replayed": ("--mix", "0.5"),
    "unguarded": ("--mix", "0", "--pull", "0"),
}
"""Fine-tunings → their options. Of the last, the trained weights are taken as they are, without mixing."""
SAMPLES: Mapping[str, int] = {
    "tuned": CORRECTED - HELD_OUT,
    "replayed": 2 * REPLAYED,
    "unguarded": CORRECTED - HELD_OUT,
}
"""Fine-tunings → samples of an epoch: the corrections; where anchors are replayed, they are the other half, once each."""


def main() -> int:
    """Prepare, fine-tune in three ways, score, write the page."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--minutes", type=float, default=12.0)
    options.add_argument("--steps", type=int, help="of training, instead of minutes, to the nearest whole epoch")
    options.add_argument(
        "--smoke", action="store_true", help="small phantoms, seconds of training, nothing is written here"
    )
    args = options.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ["BRAINSEG_HOME"] = str((args.work / "home").resolve())
    if args.smoke:
        args.data, args.minutes = make_phantoms(args.work / "phantoms"), 0.1
    if args.data is None or not (Path(args.data) / "brats_split.csv").is_file():
        sys.exit("no real cases: name their folder with --data or BRAINSEG_DATA")
    data, split = Path(args.data), read_split(Path(args.data) / "brats_split.csv")
    train, validation = ([c for c, s in split.items() if s == side] for side in ("train", "validation"))
    corrected = sorted(random.Random(SEED).sample(train, min(CORRECTED, len(train) // 2)))
    shift_all(data / "brats", [*corrected, *validation], args.work / "shifted")
    accept_corrections(corrected, args.work)
    anchor_split = write_anchor_split([c for c in train if c not in corrected], args.work)
    seconds = {name: finetune(name, more, data, anchor_split, args) for name, more in RUNS.items()}
    models = {
        "base": BASE,
        "tuned": args.work / "tuned/model.safetensors",
        "one set of weights, anchors replayed": args.work / "replayed/model.safetensors",
        "without any guard": args.work / "unguarded/training/model.safetensors",
    }
    domains = {
        "shifted": {c: args.work / "shifted" / f"Shifted-{c}" for c in validation},
        "unshifted": {c: data / "brats" / c for c in validation},
    }
    scores = {name: {d: score(model, cases) for d, cases in domains.items()} for name, model in models.items()}
    results = summary(scores, seconds, corrected, args)
    text = page(results)
    print(text)
    if not args.smoke:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (HERE / "README.md").write_text(text, encoding="utf-8")
    return 0


# --- the shifted domain


def shift_all(source: Path, cases: list[str], out: Path) -> None:
    """Each case as ``Shifted-<case>``, with its truth as it was."""
    from brainseg_engine.io import load_study
    from brainseg_engine.phantom.files import write_study

    out.mkdir(exist_ok=True)
    for n, case in enumerate(cases):
        if (out / f"Shifted-{case}").exists():
            continue
        print(f"shifting {case} ({n + 1} of {len(cases)})", flush=True)
        study = load_study(source / case)
        rng = np.random.default_rng([SEED, *case.encode()])
        volumes = {m: replace(v, data=shifted(np.asarray(v.data), rng)) for m, v in study.volumes.items()}
        write_study(replace(study, id=f"Shifted-{case}", volumes=volumes), out)


def shifted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One volume (X, Y, Z) at 1 mm, in the new domain: int16, 0 outside the brain as before."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    brain = image != 0
    x = image.astype(np.float32)
    depth = x.shape[2] // SLICE_MM
    thick = x[:, :, : depth * SLICE_MM].reshape(*x.shape[:2], depth, SLICE_MM).mean(axis=3)
    z = (np.arange(x.shape[2]) - (SLICE_MM - 1) / 2) / SLICE_MM
    grid = np.meshgrid(np.arange(x.shape[0]), np.arange(x.shape[1]), z, indexing="ij", sparse=False)
    x = map_coordinates(thick, grid, order=1, mode="nearest").astype(np.float32)
    field = gaussian_filter(rng.normal(size=tuple(-(-n // 4) for n in x.shape)), BIAS_MM / 4, mode="reflect")
    field = np.kron(field, np.ones((4, 4, 4)))[: x.shape[0], : x.shape[1], : x.shape[2]]
    field = gaussian_filter(field.astype(np.float32), 4)
    low, high = field[brain].min(), field[brain].max()
    x *= 1 - BIAS + 2 * BIAS * (field - low) / (high - low)
    sd = NOISE * np.percentile(x[brain], 99)
    x = np.hypot(x + rng.normal(0, sd, x.shape), rng.normal(0, sd, x.shape))
    scale = 1000 / np.percentile(x[brain], 99)
    return np.where(brain, np.clip(np.rint(x * scale), 1, 32767), 0).astype(np.int16)


# --- the robot


def accept_corrections(cases: list[str], work: Path) -> None:
    """The base model's answer on each shifted case, corrected to the truth and accepted."""
    from brainseg_engine.corrections import BaseModel, Store
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.io import load_study

    store = Store(work / "corrections")
    if len(store.corrections()) >= len(cases):
        return
    predictor = Predictor(BASE, "cpu")
    model = BaseModel(predictor.card.name, predictor.card.version, predictor.sha256)
    known = {c.name for c in store.corrections()}
    for case in cases:
        study = load_study(work / "shifted" / f"Shifted-{case}")
        if study.segmentation is None or study.id in known:
            continue
        answer = predictor.predict(study).segmentation
        made = store.add(study, study.segmentation, base=answer, model=model, by="robot", named=True)
        print(f"corrected {case}: {made.id}", flush=True)


def write_anchor_split(cases: list[str], work: Path) -> Path:
    """Unshifted training cases that were not corrected: some replayed, some scored."""
    order = random.Random(SEED + 1).sample(sorted(cases), len(cases))
    scored = order[: min(ANCHORS_SCORED, len(order) // 2)]
    rows = [f"{c},{'validation' if c in scored else 'train'}" for c in order[: REPLAYED + len(scored)]]
    path = work / "anchors.csv"
    path.write_text("case,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def finetune(name: str, more: tuple[str, ...], data: Path, anchor_split: Path, args: argparse.Namespace) -> float:
    """One run of the command; returns its seconds from beginning to end (0 where it had been done before)."""
    out = args.work / name
    if (out / "report.json").exists():
        return float(json.loads((out / "seconds.json").read_text()))
    long = ["--epochs", round(args.steps / SAMPLES[name])] if args.steps else ["--minutes", args.minutes]
    words = [sys.executable, "-m", "brainseg_engine", "finetune", "--model", BASE, "--corrections", args.work / "corrections",
             "--anchors", data / "brats", "--anchor-split", anchor_split, *long, "--seed", 0, "--out", out,
             "--device", "cpu", "--resume", *more]  # fmt: skip
    began = time.perf_counter()
    subprocess.run([str(w) for w in words], check=True)
    seconds = time.perf_counter() - began
    (out / "seconds.json").write_text(json.dumps(seconds))
    return seconds


# --- scores


def score(model: str | Path, cases: Mapping[str, Path]) -> Any:
    """Evaluation of a model on cases."""
    from brainseg_engine import models
    from brainseg_engine.finetune.scoring import Scorer
    from brainseg_engine.inference import gated
    from brainseg_engine.models import checkpoint

    loaded = checkpoint.load(models.find(model))
    scorer = Scorer(gated.of_model(loaded), loaded.recipe, "cpu")
    seen = frozenset(loaded.card.training_hashes)
    return scorer.score(cases, hd95=True, seen=seen, before=lambda c: print(f"scoring {c} with {model}", flush=True))


def summary(scores: Mapping[str, Any], seconds: Mapping[str, float], corrected: list[str], args: Any) -> dict[str, Any]:
    """All numbers of the page."""
    from brainseg_engine.finetune.proof import BeforeAfter
    from brainseg_engine.finetune.scoring import case_means, mean_dice

    report = json.loads((args.work / "tuned/report.json").read_text())
    rows = {}
    for name, by_domain in scores.items():
        rows[name] = {}
        for domain, result in by_domain.items():
            change = BeforeAfter(scores["base"][domain], result).difference
            regions = {str(r): {"dice": s.dice, "hd95_mm": s.hd95_mm} for r, s in result.mean.items()}
            rows[name][domain] = {
                "dice": mean_dice(result), "change": change.mean, "low": change.low, "high": change.high, "regions": regions,
                "cases": case_means(result), "seen_in_training": list(result.seen_in_training),
            }  # fmt: skip
    return {
        "date": date.today().isoformat(), "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "long": "trained by steps" if args.steps else f"{args.minutes:g} minutes of training",
        "seconds": dict(seconds), "steps": report["training"]["steps"], "corrected": corrected,
        "shift": {"seed": SEED, "slice_mm": SLICE_MM, "noise": NOISE, "bias": BIAS, "bias_mm": BIAS_MM},
        "guard": report["guard"], "verdict": report["verdict"], "words": report["words"], "notes": report["notes"], "rows": rows,
    }  # fmt: skip


def page(r: Mapping[str, Any]) -> str:
    """The page, whichever way it fell."""
    base, tuned = r["rows"]["base"], r["rows"]["tuned"]
    cost = base["unshifted"]["dice"] - base["shifted"]["dice"]
    gain, loss = tuned["shifted"]["change"], -tuned["unshifted"]["change"]
    wanted = min(TARGET_GAIN, cost / 2)
    lines = [
        "# Fine-tuning on six corrected studies of another domain", "",
        f"A robot corrects {len(r['corrected'])} shifted training cases to the truth (axial slices of {SLICE_MM} mm resampled "
        f"back, Rician noise of {NOISE:g}, bias field ±{BIAS:g}); `napari-brainseg finetune` tunes the bundled model on them "
        f"({r['long']}, {r['steps']} steps, {r['seconds']['tuned'] / 60:.1f} minutes in all); scored "
        f"are {len(base['shifted']['cases'])} validation cases, on which nothing was chosen here. (The bundled model itself was "
        "chosen on the unshifted ones.)", "",
        f"{r['date']}, {r['machine']}, {r['cores']} cores.", "",
        "| model | Dice, shifted | change (95 % interval) | Dice, unshifted | change (95 % interval) |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in r["rows"].items():
        cells = [f"{row[d]['dice']:.3f} | {_change(row[d])}" for d in ("shifted", "unshifted")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Means over cases of the mean over WT, TC and ET. By region, shifted / unshifted:", ""]
    lines += ["| model | " + " | ".join(("WT", "TC", "ET")) + " |", "|---|---|---|---|"]
    for name, row in r["rows"].items():
        cells = [
            " / ".join(_number(row[d]["regions"][k]["dice"]) for d in ("shifted", "unshifted"))
            for k in ("WT", "TC", "ET")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        f"- The shift costs the base model {cost:.3f} Dice.",
        f"- Fine-tuning gains {gain:+.3f} on shifted cases; the target was {wanted:+.3f} ({_met(gain >= wanted)}).",
        f"- It loses {max(loss, 0.0):.3f} on unshifted cases; the target was at most {TARGET_LOSS} "
        f"({_met(loss <= TARGET_LOSS)}).",
        f"- The guard took α = {r['guard']['alpha']:g}: {r['guard']['why']}. What the program said: {r['words']} "
        f"{' '.join(r['notes'])}",
        "- One set of weights (`--mix 0.5`): anchors are half of what is learnt from, the weights are pulled to the base model's "
        "and mixed with them as far as the anchors allow. Without any guard (`--mix 0 --pull 0`): none of that, and no base "
        "model kept. The same corrections, steps and seed.",
        "",
        "Made by `python benchmarks/finetune/run.py --data DIR --work DIR`, the data with `brats/<case>/` and `brats_split.csv`.",
    ]
    return "\n".join(lines) + "\n"


def _met(met: bool) -> str:
    return "met" if met else "missed"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _change(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['change']:+.3f}"
    return f"{row['change']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


# --- cases


def read_split(path: Path) -> dict[str, str]:
    """Case → subset."""
    from brainseg_engine.studies import cohort

    return cohort.read_split(path)


def make_phantoms(folder: Path) -> Path:
    """A data folder of small phantoms, for a look whether all of it runs."""
    from brainseg_engine.phantom import phantom_study, write_study

    rows = ["case,split"]
    for n in range(8):
        study = phantom_study(n, (96, 96, 64))
        (folder / "brats").mkdir(parents=True, exist_ok=True)
        write_study(study, folder / "brats", overwrite=True)
        rows.append(f"{study.id},{'validation' if n >= 6 else 'train'}")
    (folder / "brats_split.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    sys.exit(main())
