"""Score a folder of predictions against a folder of truths, and compare two such folders.

From Python, ``evaluate(truth=Path("data"), predictions=Path("results"))`` gives an :class:`Evaluation`, and
``compare(one, other)`` a :class:`Comparison` of two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.evaluation.comparison import COMPARED, Comparison, Paired, compare
from brainseg_engine.evaluation.result import Evaluation
from brainseg_engine.evaluation.scoring import CaseScoring, OwnMetric
from brainseg_engine.evaluation.training import TrainedOn
from brainseg_engine.evaluation.truths import Predictions, Truth, chosen, find_truths
from brainseg_engine.scores.scorer import NSD_MM

__all__ = ["COMPARED", "Comparison", "Evaluation", "Paired", "Truth", "compare", "evaluate", "find_truths"]


def evaluate(
    truth: Path,
    predictions: Path,
    *,
    cases: Iterable[str] | None = None,
    model: str | Path | None = None,
    coding: str | None = None,
    truth_coding: str | None = None,
    nsd_mm: float = NSD_MM,
    own: Mapping[str, OwnMetric] | None = None,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> Evaluation:
    """Scores of every case in ``truth`` that has, or should have, a mask in ``predictions``.

    ``truth`` holds study folders in a BraTS layout, or masks named ``<id>_seg.nii.gz``; ``predictions`` holds
    ``<id>_seg.nii.gz`` or ``<id>.nii.gz`` (also .nii and .mha), in itself or in a folder of the case's name.

    ``cases`` limits it to those ids. ``model``, a name or a file, is asked which cases it was trained on; without it
    the sidecars of the predictions, and the models they name. ``coding`` is the label coding of the predictions (default: what
    their sidecar or naming tells), and of the truth where nothing else tells; ``truth_coding`` is that of the truth.
    Regions that a model does not measure are None. ``nsd_mm`` is the tolerance of the surface Dice; ``own``: name → a metric of
    the user's own.

    A case that fails is one entry of ``failed``; the others go on. Raises InputError when there is nothing to score.
    """
    truths, files = chosen(find_truths(truth), cases, truth), Predictions(predictions)
    scoring = CaseScoring(TrainedOn(model), coding, truth_coding, nsd_mm, own or {})
    for i, case in enumerate(truths):
        if cancelled():
            raise Cancelled
        progress(Progress(f"scoring {case.id}", i / len(truths)))
        scoring.add(case, files)
    scoring.report_notes()
    progress(Progress("scored", 1.0))
    return scoring.result()
