"""Validation: whole volumes, as `predict` does them, against their truth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from brainseg_engine import dataset
from brainseg_engine.core.errors import BrainsegError, TrainingError
from brainseg_engine.core.events import Progress, ProgressCallback
from brainseg_engine.core.labels import Region
from brainseg_engine.core.names import inside
from brainseg_engine.inference.postprocess import to_labels
from brainseg_engine.inference.predictor import Predictor, infer
from brainseg_engine.recipe import Recipe
from brainseg_engine.runs import RunFolder
from brainseg_engine.scores.scorer import score_case
from brainseg_engine.studies import cohort
from brainseg_engine.train.ranks import gathered

_log = logging.getLogger(__name__)
EXAMPLES = 3


def check_held_out(
    folders: Sequence[Path],
    cases: Sequence[dataset.TrainingCase],
    recipe: Recipe,
    earlier: Sequence[str],
    report: ProgressCallback,
    doubts: dataset.Doubts,
    coding: str | None = None,
) -> None:
    """Read the validation cases once before hours of work: they must be usable, and unseen; ``doubts`` takes what is
    doubtful of them. Raises TrainingError, InputError."""
    owner = {h: case.id for case in cases for h in case.hashes}
    for folder in folders:
        name = cohort.name(folder)
        report(Progress(f"checking {name}", 1.0))
        study, _ = dataset.usable(folder, recipe, doubts, coding)
        hashes = dataset.hashes_of(study, recipe)
        twin = next((owner[h] for h in hashes if h in owner), None)
        if twin:
            raise TrainingError(
                f"The validation case {name} holds an image of the training case {twin}, so its Dice would mean nothing. "
                "Take one of them out of the split."
            )
        if not set(hashes).isdisjoint(earlier):
            _log.warning("the model given by --init was trained on %s: its validation flatters", name)


def validate(
    net: torch.nn.Module,
    folders: Sequence[Path],
    recipe: Recipe,
    fabric: Fabric,
    stop: Callable[[], None],
    coding: str | None = None,
) -> dict[str, float]:
    """Mean Dice per region over the cases, which the processes share among them. ``stop`` may raise between two cases."""
    mine: dict[int, Mapping[Region, float | None]] = {}
    for index in range(fabric.global_rank, len(folders), fabric.world_size):
        stop()
        study, truth = dataset.with_truth(folders[index], recipe, coding)
        with fabric.autocast():
            probabilities, _ = infer(net, study, recipe, str(fabric.device))
        grid = study.reference.grid
        labels = to_labels(probabilities, recipe.output, recipe.postprocess, grid)
        scores = score_case(labels, truth, grid, recipe.output.regions, hd95=False)
        mine[index] = {region: score.dice for region, score in scores.items()}
    everyone = {index: scores for part in gathered(mine) for index, scores in part.items()}
    dice: dict[Region, list[float]] = {r: [] for r in recipe.output.regions}
    for _, scores in sorted(everyone.items()):  # in the order of cases, whoever did them
        for region, value in scores.items():
            if value is not None:
                dice[region].append(value)
    return {str(r): float(np.mean(d)) for r, d in dice.items() if d}


def draw_examples(
    model: Path,
    folders: Sequence[Path],
    recipe: Recipe,
    device: str,
    run: RunFolder,
    named: bool = False,
    coding: str | None = None,
) -> None:
    """Pictures of the model's answers to the first validation cases, with the truth's outline. What cannot be drawn is
    no reason to fail a training that is done. ``named``: by their cases, else by numbers."""
    from brainseg_engine.figures import overlay_figure

    try:
        predictor = Predictor(model, device)
        for n, folder in enumerate(folders[:EXAMPLES], start=1):
            study, _ = dataset.with_truth(folder, recipe, coding)
            answer = predictor.predict(study)
            shown = study if named else replace(study, id=f"validation case {n}")
            name = study.id if named else f"validation-{n}"
            overlay_figure(shown, answer.segmentation, inside(run.examples, f"{name}.png"), study.segmentation)
    except (BrainsegError, OSError, ValueError) as e:
        _log.warning("the examples were not drawn: %s", e)
