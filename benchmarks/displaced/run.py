"""A series that lies beside the others: is it noticed, is it the right one, and what does laying it back give?

Every series of every case is moved by 3 mm along and 3° about each axis, as the stress benchmark does, two of the four are
moved alike, and every case is looked at as it is, and with one series in slices of 6 mm. A model's Dice is given of the
cases as they are and with a series beside the others, each without the check and with it.

    python benchmarks/displaced/run.py --data DIR [--model NAME] [--subset train] [--no-dice]
    python benchmarks/displaced/run.py --smoke          one phantom: does it run?

``--data`` holds brats/<case>/ and brats_split.csv (default: BRAINSEG_DATA). Prints the tables.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from brainseg_engine.augment import acquisition
from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.inference import displaced
from brainseg_engine.inference.postprocess import decided
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import load_study
from brainseg_engine.scores.overlap import dice

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import stored_cases, two_phantoms

MM, DEGREES, THICK = (3.0, -3.0, 3.0), (3.0, -3.0, 3.0), 6
PARTNERS = [Modality.T1CE, Modality.T2, Modality.FLAIR]
"""Of T1 when two of four are moved alike: all ways to part four in two and two."""
Scores = dict[Region, float]


def changed(study: Study, series: Modality, *, axis: int | None = None) -> Study:
    """With that series moved, or in thick slices along the axis."""
    volume = study.volumes[series]
    channel = torch.from_numpy(np.ascontiguousarray(volume.data, dtype=np.float32))
    if axis is None:
        acquisition.move(channel, DEGREES, MM)
    else:
        channel = acquisition.thick(channel, axis, THICK, gap=0.15, offset=0.5)
    return replace(study, volumes={**study.volumes, series: replace(volume, data=channel.numpy())})


def variants(study: Study) -> Iterator[tuple[str, set[Modality], Study]]:
    """(name, which series lie beside the others, study)."""
    yield "as they are", set(), study
    for n, series in enumerate(study.volumes):
        yield f"{series.title} moved", {series}, changed(study, series)
        yield f"{series.title} in thick slices", set(), changed(study, series, axis=n % 3)
    for partner in PARTNERS if len(study.volumes) == len(Modality) else ():
        both = changed(changed(study, Modality.T1), partner)
        yield f"T1 and {partner.title} moved alike", {Modality.T1, partner}, both


def judged(found: displaced.Found, beside: set[Modality]) -> str:
    """right, missed or wrong. Of two beside two it can be told that they are apart, not which of them were moved."""
    if len(beside) > 1 and found.unsettled is not None:
        return "right" if beside in map(set, found.unsettled[:2]) else "wrong"
    named = set(found.beside)
    if named == beside and found.unsettled is None:
        return "right"
    return "missed" if beside and not named and found.unsettled is None else "wrong"


def as_given(model: Predictor, study: Study) -> Scores:
    """Dice of the answer without any look at how the series lie."""
    answer, _ = model.probabilities(study, lambda progress: None, lambda: False)
    labels, _ = decided(answer, model.recipe.output, model.recipe.postprocess, study.reference.grid)
    return scored(labels, study)


def scored(labels: np.ndarray, study: Study) -> Scores:
    """Region → Dice with the study's own mask."""
    if study.segmentation is None:
        return {}
    return {r: dice(region_mask(labels, r), region_mask(study.segmentation.labels, r)) for r in Region}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    parser.add_argument("--subset", default="validation")
    parser.add_argument("--model", default="brats-baseline")
    parser.add_argument("--no-dice", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = dict([*two_phantoms(Path(folder)).items()][:1]) if args.smoke else stored_cases(args.data, args.subset)
        model = None if args.no_dice else Predictor(args.model)
        looked: dict[str, list[str]] = defaultdict(list)
        found: dict[str, list[tuple[Scores, Scores]]] = defaultdict(list)
        for n, (case, place) in enumerate(cases.items()):
            for name, beside, study in variants(load_study(place)):
                there = displaced.look(study)
                looked[name].append(judged(there, beside))
                if looked[name][-1] != "right":
                    print(f"{case}, {name}: {there}", flush=True)
                if model is not None and not name.endswith(("thick slices", "moved alike")):
                    found[name].append(
                        (as_given(model, study), scored(model.predict(study).segmentation.labels, study))
                    )
            print(f"{n + 1} of {len(cases)}", file=sys.stderr, flush=True)
    print("\n| | right | missed | wrong |\n|---|---|---|---|")
    for name, all_ in looked.items():
        print(f"| {name} | {all_.count('right')} of {len(all_)} | {all_.count('missed')} | {all_.count('wrong')} |")
    if found:
        print("\n| Dice WT / TC / ET | as given | with the check |\n|---|---|---|")
    for name, pairs in found.items():
        cells = [" / ".join(f"{np.mean([p[k][r] for p in pairs]):.3f}" for r in pairs[0][k]) for k in (0, 1)]
        print(f"| {name} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
