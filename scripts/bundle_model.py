"""Make a trained model the bundled one, in two steps, so that the scores in its card are those of the very file:

    python scripts/bundle_model.py candidate RUN/model.safetensors candidate.safetensors
    napari-brainseg predict … --model candidate.safetensors;  napari-brainseg evaluate … --json > scores.json
    python scripts/bundle_model.py bundle candidate.safetensors scores.json --name brats-baseline --version 1

The candidate is the model in half precision with what today's recipe says of its use: post-processing (with ``--own-rule``
the model's own), mirror average, how many series may be missing. Bundling completes its card; with ``--stressed FILE``, what
``benchmarks/stress/run.py --subsets --json FILE`` measured of it, the Dice of each subset of the series as well. What its
calibration says is measured afterwards, with fold models:

    napari-brainseg models calibrate BUNDLED --fold A.safetensors --fold B.safetensors --data DIR --split CSV

or, where studies that have all series are answered by the very weights of an older model, taken from that (``--calibration-of``).
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

from brainseg_engine.core.study import Modality
from brainseg_engine.models import checkpoint
from brainseg_engine.models.registry import bundled_folder
from brainseg_engine.recipe import load_recipe

SUMMARY = (
    "Adult glioma before surgery: WT, TC and ET from T1, T1ce, T2 and FLAIR; SegResNet on the whole brain, and a second stage "
    "on the tumour."
)
DATA = (
    "Cases of the BraTS 2018 and 2021 challenges (Menze et al. 2015, Bakas et al. 2017, Bakas et al. 2018), "
    "co-registered, skull-stripped, 1 mm; intensities requantised to 7 bits."
)
LICENCE = "Apache-2.0 for the weights as far as the makers' rights reach; the BraTS data are for research use, so is the model."
KNOWN_FAILURES = (
    "Trained on few cases of untreated adult glioma: after surgery, in children, in metastases and meningioma it is not known.",
    "A resection cavity is not known to it and may be called core or oedema.",
    "Small or weakly enhancing parts (under about 5 mL) are often missed or overcalled (ET of about 1 mL comes out three "
    "times too large in two of 8 validation cases, 4.7 mL that hardly enhance are found in the wrong place in a third).",
    "Up to two series may be missing, with a less sure answer, but not both T2 and FLAIR; without T1ce, core and enhancing "
    "tumour cannot be told reliably.",
    "A FLAIR that lies several millimetres beside the others costs more than a missing one.",
    "A FLAIR that ends inside the head costs up to 0.06 of the whole tumour's Dice where tumour lies beyond its end.",
    "A core of less than about 1 mL in a large oedema is overcalled (TC 16 mL instead of 0.8 mL in one validation case).",
    "It needs skull-stripped, co-registered series; a skull left on degrades it silently.",
    "Enhancing vessels or the choroid plexus may be called enhancing tumour.",
)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def candidate(model: Path, out: Path, own_rule: bool) -> None:
    """The trained weights in half precision, with what their recipe has to say now of their use."""
    loaded = checkpoint.load(model)
    today = load_recipe(loaded.recipe.name)
    window = loaded.recipe.window.model_copy(update={"mirror": today.window.mirror})
    rule = loaded.recipe.postprocess if own_rule else today.postprocess
    use = {"postprocess": rule, "may_lack": today.may_lack, "window": window}
    card = loaded.card.model_copy(update={"may_lack": today.may_lack, "calibration": None})
    checkpoint.save(out, loaded.state, card, loaded.recipe.model_copy(update=use), half=True)


def subsets(stressed: Path) -> dict[str, dict[str, float]]:
    """Which series there are → mean Dice of each region, from what the stress benchmark measured of one model."""
    measured, found = json.loads(stressed.read_text(encoding="utf-8")), {}
    for lacking in (set(c) for n in range(len(Modality)) for c in itertools.combinations(Modality, n)):
        key = "without " + ", ".join(m.title for m in Modality if m in lacking) if lacking else "as they are"
        (of_cases,) = (list(of_case.values()) for of_case in measured[key].values())
        there = ",".join(m.value for m in Modality if m not in lacking)
        found[there] = {r: round(sum(c[r] for c in of_cases) / len(of_cases), 3) for r in of_cases[0]}
    return found


def bundle(given: argparse.Namespace) -> None:
    """Complete the card and put the model into the package. Raises SystemExit for an evaluation that cannot stand."""
    model, scores_file, name, version = given.model, given.scores, given.name, given.version
    loaded = checkpoint.load(model)
    scores = json.loads(scores_file.read_text(encoding="utf-8"))
    if scores.get("seen_in_training"):
        raise SystemExit("the evaluation holds cases the model was trained on")
    if not scores["cases"] or scores.get("missing") or scores.get("failed"):
        raise SystemExit("the evaluation is not complete: its mean leaves cases out")
    card = loaded.card.model_copy(
        update={
            "name": name,
            "version": version,
            "summary": SUMMARY,
            "data": DATA,
            "licence": LICENCE,
            "known_failures": KNOWN_FAILURES,
            "scores": {r: {k: _rounded(v) for k, v in s.items()} for r, s in scores["mean"].items()},
            "scores_on": f"{len(scores['cases'])} held-out validation cases of BraTS 2018 and 2021",
            "subsets": subsets(given.stressed) if given.stressed else {},
        }
    )
    if given.calibration_of:
        card = card.model_copy(update={"calibration": checkpoint.read_metadata(given.calibration_of)[0].calibration})
    target = bundled_folder() / f"{name}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(target, loaded.state, card, loaded.recipe, half=True)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    first = steps.add_parser("candidate")
    first.add_argument("model", type=Path)
    first.add_argument("out", type=Path)
    first.add_argument("--own-rule", action="store_true", help="thresholds and specks as in the model")
    second = steps.add_parser("bundle")
    second.add_argument("model", type=Path)
    second.add_argument("scores", type=Path)
    second.add_argument("--name", default="brats-baseline")
    second.add_argument("--version", default="1")
    second.add_argument("--stressed", type=Path, help="what the stress benchmark measured of it alone, with --subsets")
    second.add_argument("--calibration-of", type=Path, help="a model whose calibration holds for this one, too")
    given = parser.parse_args()
    if given.step == "candidate":
        candidate(given.model, given.out, given.own_rule)
    else:
        bundle(given)


if __name__ == "__main__":
    main()
