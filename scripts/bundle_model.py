"""Make a trained model the bundled one: half precision, its card completed with the scores of an evaluation and with what
a person must know.

    python scripts/bundle_model.py RUN/model.safetensors scores.json --name brats-baseline --version 1

``scores.json`` is what ``napari-brainseg evaluate --json`` printed for the validation cases, predicted with this very model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from brainseg_engine import checkpoint
from brainseg_engine.models.registry import bundled_folder

SUMMARY = (
    "Adult glioma before surgery: WT, TC and ET from T1, T1ce, T2 and FLAIR; SegResNet on the whole brain at 1 mm."
)
DATA = (
    "Cases of the BraTS 2018 and 2021 challenges (Menze et al. 2015, Bakas et al. 2017, Bakas et al. 2018), "
    "co-registered, skull-stripped, 1 mm; intensities requantised to 7 bits."
)
LICENCE = "Apache-2.0 for the weights as far as the makers' rights reach; the BraTS data are for research use, so is the model."
KNOWN_FAILURES = (
    "Trained on few cases of untreated adult glioma: after surgery, in children, in metastases and meningioma it is not known.",
    "A resection cavity is not known to it and may be called core or oedema.",
    "Small enhancing parts (under about 5 mL) are often missed or overcalled; the ET scores are the weakest.",
    "It needs skull-stripped, co-registered series near 1 mm; a skull left on or thick slices degrade it silently.",
    "Enhancing vessels or the choroid plexus may be called enhancing tumour.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--name", default="brats-baseline")
    parser.add_argument("--version", default="1")
    arguments = parser.parse_args()
    loaded = checkpoint.load(arguments.model)
    scores = json.loads(arguments.scores.read_text(encoding="utf-8"))
    if set(scores.get("seen_in_training", [])):
        parser.error("the evaluation holds cases the model was trained on")
    card = loaded.card.model_copy(
        update={
            "name": arguments.name,
            "version": arguments.version,
            "summary": SUMMARY,
            "data": DATA,
            "licence": LICENCE,
            "known_failures": KNOWN_FAILURES,
            "scores": {r: {k: round(v, 4) for k, v in s.items()} for r, s in scores["mean"].items()},
            "scores_on": f"{len(scores['cases'])} held-out validation cases of BraTS 2018 and 2021",
        }
    )
    target = bundled_folder() / f"{arguments.name}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(target, loaded.state, card, loaded.recipe, half=True)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
