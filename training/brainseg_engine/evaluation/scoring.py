"""The cases of an evaluation one after the other: a mask against its truth, and what became of each."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from brainseg_engine import io
from brainseg_engine.core.errors import BrainsegError, CodingError, GeometryError, InputError
from brainseg_engine.core.labels import Mask, Region, region_mask
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.evaluation.result import Evaluation
from brainseg_engine.evaluation.training import TrainedOn
from brainseg_engine.evaluation.truths import Predictions, Truth
from brainseg_engine.scores.scorer import CaseScore, RegionScore, mean_score, score_case

_log = logging.getLogger(__name__)
OwnMetric = Callable[[Mask, Mask, Sequence[float]], float | None]
"""(prediction, truth, both bool (X, Y, Z); voxel sides in mm) → a number, None where it has no meaning."""


class CaseScoring:
    """Takes one case after the other; see :func:`brainseg_engine.evaluation.evaluate` for what it is made with."""

    def __init__(
        self,
        trained_on: TrainedOn,
        coding: str | None,
        truth_coding: str | None,
        nsd_mm: float,
        own: Mapping[str, OwnMetric],
    ) -> None:
        self._trained_on, self._coding, self._truth_coding = trained_on, coding, truth_coding
        self._nsd_mm, self._metrics = nsd_mm, own
        self._scores: dict[str, CaseScore] = {}
        self._own: dict[str, dict[str, dict[Region, float | None]]] = {name: {} for name in own}
        self._seen: list[str] = []
        self._missing: list[str] = []
        self._failed: dict[str, str] = {}
        self._notes: dict[str, list[str]] = {}
        """What had to be decided about a coding → the cases."""

    def add(self, case: Truth, files: Predictions) -> None:
        """Score one case, or note why it cannot be scored."""
        if case.problem:
            self._failed[case.id] = case.problem
            return
        path = files.of(case.id, case.place)
        if path is None:
            self._missing.append(case.id)
            return
        _log.debug("%s: %s against %s", case.id, path, case.path)
        try:
            self._score(case, path)
        except BrainsegError as e:
            _log.debug("the case %s failed", case.id, exc_info=True)
            self._failed[case.id] = str(e)
        except Exception as e:  # one case that astonishes a library is no reason to leave the others out
            _log.debug("the case %s failed", case.id, exc_info=True)
            self._failed[case.id] = f"It cannot be scored ({type(e).__name__}: {str(e)[:200]})."

    def _score(self, case: Truth, path: Path) -> None:
        truth = _load_truth(case, self._truth_coding, self._coding)
        predicted = io.load_segmentation(path, coding=self._coding, t1ce=_t1ce(case))
        for mask in (truth, predicted):
            if mask.note:
                note = mask.note.replace(mask.path.name if mask.path else case.id, "the mask")
                self._notes.setdefault(note, []).append(case.id)
        _require_one_grid(predicted, truth, case, path)
        self._scores[case.id] = _scored(predicted, truth, self._nsd_mm)
        for name, metric in self._metrics.items():
            self._own[name][case.id] = _by_own(name, metric, predicted, truth)
        if self._trained_on.has(case, path):
            self._seen.append(case.id)

    def report_notes(self) -> None:
        """Log what had to be decided, once for the whole folder."""
        for note, ids in self._notes.items():
            also = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
            _log.warning("%s%s: %s.", ids[0], also, note)

    def result(self) -> Evaluation:
        """What came of all cases."""
        return Evaluation(
            self._scores, mean_score(self._scores.values()), tuple(self._seen), tuple(self._missing), self._failed,
            self._nsd_mm, self._own,
        )  # fmt: skip


def _require_one_grid(predicted: Segmentation, truth: Segmentation, case: Truth, prediction: Path) -> None:
    if not predicted.grid.same_as(truth.grid):
        raise GeometryError(
            f"The prediction {prediction} is on another grid than the truth {case.path.name}: {_grid(predicted)} "
            f"against {_grid(truth)}. Predict from the images the truth was drawn on, or resample the mask to them."
        )


def _regions(predicted: Segmentation, truth: Segmentation) -> list[Region]:
    return [r for r in Region if r in predicted.regions and r in truth.regions]


def _scored(predicted: Segmentation, truth: Segmentation, nsd_mm: float) -> CaseScore:
    scores = score_case(predicted.labels, truth.labels, truth.grid, _regions(predicted, truth), nsd_mm=nsd_mm)
    return {r: scores.get(r, RegionScore()) for r in Region}


def _by_own(name: str, metric: OwnMetric, predicted: Segmentation, truth: Segmentation) -> dict[Region, float | None]:
    """The values of a metric of the user's own. Raises InputError for what it does wrong."""
    values: dict[Region, float | None] = {}
    for region in _regions(predicted, truth):
        masks = region_mask(predicted.labels, region), region_mask(truth.labels, region)
        try:
            value = metric(*masks, truth.grid.spacing)
            values[region] = None if value is None or not math.isfinite(float(value)) else float(value)
        except Exception as e:  # code of somebody else's
            raise InputError(f"The metric '{name}' failed on {region} ({type(e).__name__}: {e}). Correct it.") from e
    return values


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
