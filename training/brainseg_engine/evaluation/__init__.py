"""Score a folder of predictions against a folder of truths, and compare two such folders.

From Python, ``evaluate(truth=Path("data"), predictions=Path("results"))`` gives an :class:`Evaluation`, and
``compare(one, other)`` a :class:`Comparison` of two.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from brainseg_engine import io
from brainseg_engine.core.errors import BrainsegError, Cancelled, CodingError, GeometryError, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.labels import Mask, Region, region_mask
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.evaluation.comparison import COMPARED, Comparison, Paired, compare
from brainseg_engine.evaluation.result import Evaluation
from brainseg_engine.evaluation.training import TrainedOn
from brainseg_engine.evaluation.truths import Predictions, Truth, chosen, find_truths
from brainseg_engine.scores.scorer import NSD_MM, CaseScore, RegionScore, mean_score, score_case

__all__ = ["COMPARED", "Comparison", "Evaluation", "Paired", "Truth", "compare", "evaluate", "find_truths"]

_log = logging.getLogger(__name__)
OwnMetric = Callable[[Mask, Mask, Sequence[float]], float | None]
"""(prediction, truth, both bool (X, Y, Z); voxel sides in mm) → a number, None where it has no meaning."""


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
    truths = chosen(find_truths(truth), cases, truth)
    files = Predictions(predictions)
    trained_on = TrainedOn(model)
    scores: dict[str, CaseScore] = {}
    mine: dict[str, dict[str, dict[Region, float | None]]] = {name: {} for name in own or {}}
    seen, missing, failed = [], [], {}
    noted: dict[str, list[str]] = {}
    for i, case in enumerate(truths):
        if cancelled():
            raise Cancelled
        progress(Progress(f"scoring {case.id}", i / len(truths)))
        if case.problem:
            failed[case.id] = case.problem
            continue
        path = files.of(case.id, case.place)
        if path is None:
            missing.append(case.id)
            continue
        _log.debug("%s: %s against %s", case.id, path, case.path)
        try:
            predicted, true = _pair(case, path, coding, truth_coding, noted)
            scores[case.id] = _score(predicted, true, nsd_mm)
            for name, metric in (own or {}).items():
                mine[name][case.id] = _by_own(name, metric, predicted, true)
            if trained_on.has(case, path):
                seen.append(case.id)
        except BrainsegError as e:
            _log.debug("the case %s failed", case.id, exc_info=True)
            failed[case.id] = str(e)
        except Exception as e:  # one case that astonishes a library is no reason to leave the others out
            _log.debug("the case %s failed", case.id, exc_info=True)
            failed[case.id] = f"It cannot be scored ({type(e).__name__}: {str(e)[:200]})."
    for note, ids in noted.items():  # once for the whole folder
        also = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        _log.warning("%s%s: %s.", ids[0], also, note)
    progress(Progress("scored", 1.0))
    return Evaluation(scores, mean_score(scores.values()), tuple(seen), tuple(missing), failed, nsd_mm, mine)


def _pair(
    case: Truth, prediction: Path, coding: str | None, truth_coding: str | None, noted: dict[str, list[str]]
) -> tuple[Segmentation, Segmentation]:
    """Prediction and truth, on one grid. ``noted`` takes what had to be decided about a coding → the cases."""
    truth = _load_truth(case, truth_coding, coding)
    predicted = io.load_segmentation(prediction, coding=coding, t1ce=_t1ce(case))
    for mask in (truth, predicted):
        if mask.note:
            noted.setdefault(mask.note.replace(mask.path.name if mask.path else case.id, "the mask"), []).append(
                case.id
            )
    if not predicted.grid.same_as(truth.grid):
        raise GeometryError(
            f"The prediction {prediction} is on another grid than the truth {case.path.name}: {_grid(predicted)} "
            f"against {_grid(truth)}. Predict from the images the truth was drawn on, or resample the mask to them."
        )
    return predicted, truth


def _regions(predicted: Segmentation, truth: Segmentation) -> list[Region]:
    return [r for r in Region if r in predicted.regions and r in truth.regions]


def _score(predicted: Segmentation, truth: Segmentation, nsd_mm: float) -> CaseScore:
    scores = score_case(predicted.labels, truth.labels, truth.grid, _regions(predicted, truth), nsd_mm=nsd_mm)
    return {r: scores.get(r, RegionScore()) for r in Region}


def _by_own(name: str, metric: OwnMetric, predicted: Segmentation, truth: Segmentation) -> dict[Region, float | None]:
    """The values of a metric of the user's own. Raises InputError for what it does wrong."""
    found: dict[Region, float | None] = {}
    for region in _regions(predicted, truth):
        masks = region_mask(predicted.labels, region), region_mask(truth.labels, region)
        try:
            value = metric(*masks, truth.grid.spacing)
            found[region] = None if value is None or not math.isfinite(float(value)) else float(value)
        except Exception as e:  # code of somebody else's
            raise InputError(f"The metric '{name}' failed on {region} ({type(e).__name__}: {e}). Correct it.") from e
    return found


def _load_truth(case: Truth, flag: str | None, last_resort: str | None) -> Segmentation:
    """The truth; its coding by the flag, else by sidecar or naming, else the one given for the predictions."""
    implied = case.coding or None
    try:
        io.coding_of(case.path, flag, implied)
    except CodingError:
        if flag or not last_resort:
            raise
        flag = last_resort
    return io.load_segmentation(case.path, coding=flag, implied=implied)


def _t1ce(case: Truth) -> Path | None:
    """The case's T1ce file, where its images lie beside its truth."""
    return io.series_of(case.folder).files.get(Modality.T1CE) if case.folder is not None else None


def _grid(s: Segmentation) -> str:
    shape, spacing = "×".join(map(str, s.grid.shape)), "×".join(f"{mm:.3g}" for mm in s.grid.spacing)
    origin = ", ".join(f"{mm:.4g}" for mm in s.grid.affine[:3, 3])
    return f"shape {shape}, spacing {spacing} mm, {s.grid.orientation}, origin ({origin})"
