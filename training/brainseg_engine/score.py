"""Scores of a segmentation against the truth, region by region: what training's validation and `evaluate` both need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from brainseg_engine import metrics
from brainseg_engine.geometry import Grid
from brainseg_engine.labels import LabelArray, Region, region_mask


@dataclass(frozen=True)
class RegionScore:
    """Dice (0…1) and HD95 in mm of one region; None for what was not measured."""

    dice: float | None = None
    hd95_mm: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """The JSON form."""
        return {"dice": self.dice, "hd95_mm": self.hd95_mm}


CaseScore = Mapping[Region, RegionScore]


def score_case(
    prediction: LabelArray,
    truth: LabelArray,
    grid: Grid,
    regions: Iterable[Region] = tuple(Region),
    hd95: bool = True,
) -> dict[Region, RegionScore]:
    """Score canonical labels (X, Y, Z) against the truth on one grid, for the regions given and no others.

    ``hd95=False`` leaves the distances out (None), which validation during training can do without. Raises ValueError
    when the shapes are not the grid's.
    """
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.shape != grid.shape:
            raise ValueError(f"the {name} has shape {labels.shape}, the grid {grid.shape}")
    out = {}
    for region in regions:
        a, b = region_mask(prediction, region), region_mask(truth, region)
        out[region] = RegionScore(metrics.dice(a, b), metrics.hd95(a, b, grid.spacing) if hd95 else None)
    return out


def mean_score(cases: Iterable[CaseScore], regions: Iterable[Region] = tuple(Region)) -> dict[Region, RegionScore]:
    """The mean over cases per region and metric, over the cases in which it was measured; None where in none."""
    scores = list(cases)
    out = {}
    for region in regions:
        of_region = [case[region] for case in scores if region in case]
        out[region] = RegionScore(_mean(s.dice for s in of_region), _mean(s.hd95_mm for s in of_region))
    return out


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [v for v in values if v is not None]
    return sum(measured) / len(measured) if measured else None
