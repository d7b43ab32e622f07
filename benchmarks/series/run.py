"""Which series is which, by their voxels alone: how often right, which swaps are caught, and the false alarms.

    python benchmarks/series/run.py --data ../shared/data [--variants 8]

The validation cases of the stored split, as they are and in made-up variants (``scripts/train_series_order.py`` has the
faults: thick slices, bias field, tone curve, noise, a head round the brain, series moved against each other), and every
other study of the folder as it is. Nothing is chosen here. Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "scripts"))

from train_series_order import KINDS, degraded  # noqa: E402

from brainseg_engine.core.study import Modality, Study, Volume  # noqa: E402
from brainseg_engine.io import find_studies, load_study  # noqa: E402
from brainseg_engine.studies import series_order, skull  # noqa: E402
from brainseg_engine.studies.appearance import look  # noqa: E402

SEED = 7
SWAPS = list(combinations(Modality, 2))


def measured(study: Study) -> dict[str, Any]:
    """What is decided of one study whose names are right; seconds are of the processor."""
    began = time.process_time()
    looks = {m: seen for m in Modality if (seen := look(study.volumes[m])) is not None}
    scores = series_order.order_scores(looks)
    seconds = time.process_time() - began
    given, alarm = tuple(Modality), series_order.alarm(looks)
    right = scores[given]
    best = max(scores, key=lambda order: scores[order])
    caught = []
    for a, b in SWAPS:  # a file given under another's name changes places in the order alone
        order = tuple({a: b, b: a}.get(m, m) for m in given)
        caught.append(best == given and right - scores[order] > alarm)
    volumes: dict[Modality, Volume] = dict(study.volumes)
    order = dict(zip(given, best, strict=True)) if scores[best] - right > alarm else {m: m for m in given}
    return {
        "joint": sum(a is b for a, b in zip(best, given, strict=True)),
        "alone": [series_order.likely(looks[m])[0] is m for m in given],
        "margin": right - max(s for o, s in scores.items() if o != given),
        "alarm": bool(scores[best] - right > alarm),
        "swaps": sum(caught),
        "skull_alone": [skull.skull_on(v) for v in volumes.values()],
        "skull": [m.value for m in skull.with_skull(volumes, order)],
        "seconds": seconds,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rates over some studies."""
    n = len(rows)
    return {
        "studies": n,
        "joint": sum(r["joint"] for r in rows) / (4 * n),
        "all_four": sum(r["joint"] == 4 for r in rows) / n,
        "alone": float(np.mean([r["alone"] for r in rows])),
        "swaps": sum(r["swaps"] for r in rows) / (6 * n),
        "alarms": sum(r["alarm"] for r in rows) / n,
        "least_margin": min(r["margin"] for r in rows),
        "skull": sum(bool(r["skull"]) for r in rows) / n,
        "skull_one_series": float(np.mean([r["skull_alone"] for r in rows])),
        "seconds": float(np.median([r["seconds"] for r in rows])),
    }


def of_case(job: tuple[Path, str, int]) -> list[tuple[str, dict[str, Any]]]:
    """What is decided of a case of the split, and of variants of it: (group, result)."""
    folder, part, count = job
    study = load_study(folder, segmentation=False)
    found = [(f"{part}, as it is", measured(study))]
    rng = np.random.default_rng([SEED, *folder.name.encode()])
    for i in range(count):
        kind = KINDS[i % len(KINDS)]
        found.append((f"{part}, {kind}", measured(degraded(study, kind, rng))))
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data")
    parser.add_argument("--variants", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    with (args.data / "brats_split.csv").open(newline="") as f:
        subset = {r["case"]: r["split"] for r in csv.DictReader(f)}
    jobs = [
        (args.data / "brats" / name, part, args.variants * (part == "validation"))
        for name, part in sorted(subset.items())
    ]
    jobs += [
        (path, f, 0)
        for f in ("brats2023", "brats2015", "raw_nifti")
        for path in find_studies(args.data / "formats" / f)
    ]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with ProcessPoolExecutor(args.jobs) as pool:
        for found in pool.map(of_case, jobs):
            for group, result in found:
                groups[group].append(result)
    spoilt = [r for g, rows in groups.items() if g.startswith("validation, ") and "as it is" not in g for r in rows]
    table = {g: summary(rows) for g, rows in groups.items()} | {"validation, all variants": summary(spoilt)}
    (HERE / "results.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(readme(table), encoding="utf-8")
    print(readme(table))


def readme(table: dict[str, dict[str, Any]]) -> str:
    """The page with the numbers."""
    spoilt = table["validation, all variants"]["joint"]
    lines = [
        "# Which series is which, by their voxels alone",
        "",
        "`python benchmarks/series/run.py` made this page; `scripts/train_series_order.py` fits the weights on the training "
        'cases of the stored split only. A study\'s four series are named jointly; "alone" names each by itself. A swap is two '
        "of the four names exchanged (six a study); it is caught when the right order is reported. An alarm is a report on a "
        "study whose names are right. The degraded variants are made up (see the script): thick 3–7 mm slices, bias, tone curve "
        "and noise, a head with skin, fat and neck round the stripped brain, series moved by up to 15 mm and 10° in their "
        'headers; "all" has all of these.',
        "",
        "| studies | n | series right, jointly | all four right | series right, alone | swaps caught | alarms | least margin |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, r in table.items():
        lines.append(
            f"| {name} | {r['studies']} | {r['joint']:.1%} | {r['all_four']:.1%} | {r['alone']:.1%} | {r['swaps']:.1%} | "
            f"{r['alarms']:.1%} | {r['least_margin']:.1f} |"
        )
    lines += [
        "",
        f"Wanted were 98 % of the series of the variants, jointly: {'met' if spoilt >= 0.98 else 'missed'} ({spoilt:.1%}).",
        "Margins are log-odds between the right order and the best wrong one; a report needs more than "
        f"{series_order.ALARM:g} ({series_order.HEAD_ALARM:g} where a head is among them). "
        f"Processor seconds a study (median, reading not counted): {table['validation, as it is']['seconds']:.2f}.",
        "",
        "## The skull still on",
        "",
        "A warning needs two series that look so, or one whose outline is not that of the others.",
        "",
        "| studies | n | warned | series that look so alone |",
        "|---|---|---|---|",
        *(f"| {name} | {r['studies']} | {r['skull']:.1%} | {r['skull_one_series']:.1%} |" for name, r in table.items()),
        "",
        'Only "skull", "all" and raw_nifti have one.',
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
