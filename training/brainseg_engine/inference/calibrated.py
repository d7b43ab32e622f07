"""What a calibrated model says of one answer beside its labels: volume intervals, confidence, and calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask, Region
from brainseg_engine.core.study import Prediction
from brainseg_engine.models.calibration import AS_IS, POSSIBLE, SURE, Calibration, Scaling, scaled, spread

SEEN = 0.01
"""Probabilities below do not count: a faint haze over the brain's million voxels would drown the tumour."""
_LITTLE_ML = 0.1
Probabilities = Mapping[Region, NDArray[np.float16]]


@dataclass(frozen=True)
class Softness:
    """Of one region of one answer, before any calibration: ``inside`` and ``around``, its probabilities above ``SEEN`` in the
    region's mask and outside; ``voxels`` of the mask; ``voxel_ml``."""

    inside: NDArray[np.float32]
    around: NDArray[np.float32]
    voxels: int
    voxel_ml: float

    @classmethod
    def of(cls, probability: NDArray[np.floating], mask: Mask, voxel_ml: float) -> Softness:
        """From a region's probability and mask (X, Y, Z)."""
        seen = probability > SEEN
        found, inside = probability[seen].astype(np.float32), mask[seen]
        return cls(found[inside], found[~inside], int(np.count_nonzero(mask)), voxel_ml)

    @property
    def spread(self) -> float:
        """See :func:`brainseg_engine.models.calibration.spread`."""
        above = [
            self.voxel_ml * sum(int(np.count_nonzero(p > at)) for p in (self.inside, self.around))
            for at in (POSSIBLE, SURE)
        ]
        return spread(above[0], above[1])

    def confidence(self, scaling: Scaling) -> float:
        """The Dice that the answer expects of itself, 0…1: that of its mask with what its calibrated probabilities say (soft Dice
        confidence: Borges 2024, arXiv:2402.10665)."""
        inside, around = (float(scaled(p, scaling).sum(dtype=np.float64)) for p in (self.inside, self.around))
        little = _LITTLE_ML / self.voxel_ml
        return (2 * inside + little) / (self.voxels + inside + around + little)


@dataclass(frozen=True)
class Told:
    """Region → (low, high) in mL, and the confidence."""

    intervals_ml: Mapping[Region, tuple[float, float]]
    confidence: float


def told(answers: Mapping[Region, Softness], calibration: Calibration) -> Told | None:
    """What the calibration makes of an answer; None where it does not know one of its regions."""
    if not answers or not set(answers) <= set(calibration.regions):
        return None
    intervals: dict[Region, tuple[float, float]] = {}
    for region, answer in answers.items():
        found = calibration.interval(region, answer.voxels * answer.voxel_ml, answer.spread)
        if found is not None:
            intervals[region] = found
    confidences = [answer.confidence(calibration.scaling[region]) for region, answer in answers.items()]
    return Told(intervals, sum(confidences) / len(confidences))


def calibrated(probabilities: Probabilities, scaling: Mapping[Region, Scaling]) -> Probabilities:
    """Region → probability as it is to be shown or saved, of probabilities as the model gave them."""
    return {
        r: scaled(p, scaling[r]).astype(np.float16) if scaling.get(r, AS_IS) != AS_IS else p
        for r, p in probabilities.items()
    }


def trust_fields(prediction: Prediction) -> dict[str, Any]:
    """What stands beside a mask of how far it can be trusted; {} where there is nothing to tell."""
    fields: dict[str, Any] = {}
    if prediction.uncovered:
        fields |= {"uncovered": prediction.uncovered}
    if prediction.displaced:
        fields |= {"displaced": prediction.displaced}
        fields |= {"laid_back_mm": {m.value: round(mm, 1) for m, mm in prediction.laid_back_mm.items()}}
    if prediction.intervals_ml:
        intervals = {r.value: [round(x, 3) for x in limits] for r, limits in prediction.intervals_ml.items()}
        fields |= {"volume_intervals_ml": intervals}
    if prediction.confidence is not None:
        fields |= {"confidence": round(prediction.confidence, 3)}
    return fields | ({"unlike": prediction.unlike} if prediction.unlike else {})
