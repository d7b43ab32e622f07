"""How far a model's numbers can be trusted: fitted to cases that the models answering them have not learnt from.

Fold models are models of the same recipe that were trained on a part of the cases each, so that every case has one that
has not seen it. What is found goes into the card of the model that was trained on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainseg_engine import nets
from brainseg_engine.calibration.fitting import Case, Observed, calibration, counted
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.labels import LabelArray, Region, region_mask
from brainseg_engine.core.study import Study
from brainseg_engine.dataset import hashes_of, with_truth
from brainseg_engine.inference.appearance import features
from brainseg_engine.inference.calibrated import Softness
from brainseg_engine.inference.postprocess import decided, of_regions
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.models import checkpoint
from brainseg_engine.models.calibration import Calibration
from brainseg_engine.scores.overlap import dice

FEWEST = 10
"""Cases out of fold, below which nothing is claimed."""

Probability = Mapping[Region, "np.ndarray[tuple[int, int, int], np.dtype[np.float32]]"]


@dataclass(frozen=True)
class CaseAnswer:
    """One case and its answer: probabilities (X, Y, Z) of each region, uncalibrated, and the labels made of them."""

    study: Study
    truth: LabelArray
    probabilities: Probability
    labels: LabelArray
    features: np.ndarray[tuple[int], np.dtype[np.float64]]


def answered(predictor: Predictor, study: Study, truth: LabelArray) -> CaseAnswer:
    """The model's answer for a study with its truth. Raises what predict does."""
    recipe = predictor.recipe
    answer, _ = predictor.probabilities(study, silent, never)
    labels, _ = decided(answer, recipe.output, recipe.postprocess, study.reference.grid)
    shares = zip(recipe.output.regions, of_regions(answer, recipe.output), strict=True)
    image, _ = preprocess(study, recipe, nets.divisor(recipe))
    return CaseAnswer(study, truth, {r: p.float().cpu().numpy() for r, p in shares}, labels, features(image))


def observed(case: CaseAnswer) -> Case:
    """What counts of it. Raises InputError where the voxel sizes are not known."""
    voxel_ml = case.study.reference.grid.voxel_ml
    if voxel_ml is None:
        raise InputError(f"The voxel sizes of the case '{case.study.id}' are not known. Take it out of the split.")
    brain = np.logical_or.reduce([v.data != 0 for v in case.study.volumes.values()])
    regions = {}
    for region, p in case.probabilities.items():
        mask, true = region_mask(case.labels, region), region_mask(case.truth, region)
        answer = Softness.of(p, mask, voxel_ml)
        true_ml = int(np.count_nonzero(true)) * voxel_ml
        regions[region] = Observed(
            *counted(p, true, brain), true_ml, answer.voxels * voxel_ml, answer.spread, dice(mask, true), answer
        )
    return Case(case.study.id, regions, case.features)


def out_of_fold(
    folds: Sequence[Predictor],
    folders: Sequence[Path],
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> Iterator[CaseAnswer]:
    """Each case, answered by the first of the models that has not learnt from it. Raises InputError for a case that all have
    learnt from, and what predict does."""
    for n, folder in enumerate(folders):
        progress(Progress("calibrating", n / len(folders), n, len(folders)))
        study, truth = with_truth(folder, folds[0].recipe)
        hashes = set(hashes_of(study, folds[0].recipe))
        unseen = next((f for f in folds if hashes.isdisjoint(f.card.training_hashes)), None)
        if unseen is None:
            names = ", ".join(f.card.name for f in folds)
            raise InputError(
                f"The case {folder.name} was learnt from by all of the models {names}, so that their answers tell nothing of "
                "it. Give a model that was trained without it, or take the case out of the split."
            )
        yield answered(unseen, study, truth)


def require_folds(model: Predictor, folds: Sequence[Predictor]) -> None:
    """Raise InputError for models that cannot stand for this one, or do not tell what they have learnt from."""
    for fold in folds:
        if not fold.card.training_hashes:
            raise InputError(
                f"The model {fold.card.name} does not tell which cases it was trained on. Train it anew here."
            )
        same = (fold.recipe.modalities, fold.recipe.output, fold.recipe.preprocess)
        if same != (model.recipe.modalities, model.recipe.output, model.recipe.preprocess):
            raise InputError(
                f"The model {fold.card.name} prepares images or answers otherwise than {model.card.name}. Train it by the same "
                "recipe."
            )


def calibrate(
    model: Predictor,
    folds: Sequence[Predictor],
    training: Sequence[Path],
    validation: Sequence[Path] = (),
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
    look: Callable[[CaseAnswer, str], None] = lambda case, kind: None,
) -> Calibration:
    """The calibration of a model, from answers of fold models for the ``training`` cases. It is checked, and not changed, by the
    model's own answers for the ``validation`` cases. ``look`` is shown each answer ("fold" or "own"). Raises InputError.
    """
    require_folds(model, folds)
    if len(training) < FEWEST:
        raise InputError(f"{len(training)} cases are too few to calibrate a model; at least {FEWEST} are needed.")

    def seen(case: CaseAnswer, kind: str) -> Case:
        look(case, kind)
        return observed(case)

    cases = [seen(c, "fold") for c in out_of_fold(folds, training, progress, cancelled)]
    checked = [seen(c, "own") for c in out_of_fold([model], validation, silent, cancelled)]
    steps = ", ".join(f"{f.card.training_cases} cases, {f.card.steps} steps" for f in folds)
    made_from = (
        f"{len(cases)} cases, each answered by a model that had not learnt from it: {len(folds)} of the same recipe ({steps}; "
        f"this model: {model.card.training_cases} cases, {model.card.steps} steps)"
    )
    return calibration(cases, checked, len(model.recipe.modalities), made_from)


def write(calibrated: Calibration, model: Path, out: Path) -> None:
    """The model's file with this calibration in its card, as ``out``; its weights stay what they are, bit for bit.

    Raises CheckpointError, OutputError.
    """
    checkpoint.with_card(model, out, lambda card: card.model_copy(update={"calibration": calibrated}))
