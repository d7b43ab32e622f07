"""Scores of a segmentation against the truth, region by region: what training's validation and `evaluate` both need."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Mask, Region, region_mask
from brainseg_engine.core.stats import UNBOUNDED, Bounds
from brainseg_engine.scores import overlap
from brainseg_engine.scores.lesions import lesion_wise

NSD_MM = 1.0
"""The tolerance of the surface Dice, in mm: a voxel of the usual size."""


@dataclass(frozen=True)
class RegionScore:
    """One region of one case, or means over cases. None for what was not measured, or has no meaning; never NaN.

    ``dice`` (0…1) and ``hd95_mm``: see :mod:`brainseg_engine.scores.overlap`.
    ``surface_dice``: the share of both surfaces within a tolerance of the other (:func:`overlap.surface_dice`), ``NSD_MM`` unless
    another is named.
    ``lesion_dice``, ``lesion_hd95_mm``, ``lesions_found``, ``lesions_missed``, ``lesions_extra``: see
    :mod:`brainseg_engine.scores.lesions`.
    ``sensitivity``: the part of the truth that was found, 0…1; None where the truth is empty.
    ``specificity``: the part of what is not the region in the truth that was left out, 0…1, over all voxels of the grid
    and not of the brain alone, so that it is close to 1 for any small region; None where the region fills the grid.
    ``volume_difference_ml``: prediction minus truth in mL; ``volume_difference_relative``: the same over the truth's
    volume (0.1: a tenth too large), None where the truth is empty.

    On a grid whose voxels have no known size, what needs mm is None: HD95, mL, and all about lesions, which are chosen by
    mm³.
    """

    dice: float | None = None
    hd95_mm: float | None = None
    lesion_dice: float | None = None
    lesion_hd95_mm: float | None = None
    lesions_found: float | None = None
    lesions_missed: float | None = None
    lesions_extra: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    volume_difference_ml: float | None = None
    volume_difference_relative: float | None = None
    surface_dice: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Metric:
    """How a value of :class:`RegionScore` is shown, what it may be, and which way is better: ``best`` 1
    (higher), -1 (lower) or 0 (neither)."""

    key: str
    title: str
    unit: str = ""
    digits: int = 3
    best: int = 0
    bounds: Bounds = UNBOUNDED

    @property
    def heading(self) -> str:
        """The metric's title with its unit, as a column is headed."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


_SHARE: Bounds = (0.0, 1.0)
_POSITIVE: Bounds = (0.0, math.inf)
METRICS: Mapping[str, Metric] = {
    m.key: m
    for m in (
        Metric("dice", "Dice", best=1, bounds=_SHARE),
        Metric("hd95_mm", "HD95", "mm", 1, best=-1, bounds=_POSITIVE),
        Metric("lesion_dice", "lesion-wise Dice", best=1, bounds=_SHARE),
        Metric("lesion_hd95_mm", "lesion-wise HD95", "mm", 1, best=-1, bounds=_POSITIVE),
        Metric("lesions_found", "lesions found", "", 2, bounds=_POSITIVE),
        Metric("lesions_missed", "lesions missed", "", 2, best=-1, bounds=_POSITIVE),
        Metric("lesions_extra", "lesions extra", "", 2, best=-1, bounds=_POSITIVE),
        Metric("sensitivity", "sensitivity", best=1, bounds=_SHARE),
        Metric("specificity", "specificity", "", 4, best=1, bounds=_SHARE),
        Metric("volume_difference_ml", "volume difference", "mL", 1),
        Metric("volume_difference_relative", "volume difference, relative", "", 2),
        Metric("surface_dice", "surface Dice (NSD)", best=1),
    )
}
"""All metrics, in the order of the tables; the keys are the fields of :class:`RegionScore`."""

CaseScore = Mapping[Region, RegionScore]


def score_case(
    prediction: LabelArray,
    truth: LabelArray,
    grid: Grid,
    regions: Iterable[Region] = tuple(Region),
    hd95: bool = True,
    nsd_mm: float = NSD_MM,
) -> dict[Region, RegionScore]:
    """Score canonical labels (X, Y, Z) against the truth on one grid, for the regions given and no others.

    ``hd95=False`` leaves out the distances and all about lesions (None), which validation during training can do
    without. Raises ValueError when the shapes are not the grid's.
    """
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.shape != grid.shape:
            raise ValueError(f"the {name} has shape {labels.shape}, the grid {grid.shape}")
    return {r: score_masks(region_mask(prediction, r), region_mask(truth, r), grid, hd95, nsd_mm) for r in regions}


def score_masks(prediction: Mask, truth: Mask, grid: Grid, hd95: bool = True, nsd_mm: float = NSD_MM) -> RegionScore:
    """Score one mask (X, Y, Z) against another; see :func:`score_case`."""
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    common = int(np.count_nonzero(prediction & truth))
    outside = truth.size - true
    values: dict[str, float | None] = {
        "dice": overlap.dice(prediction, truth),
        "sensitivity": common / true if true else None,
        "specificity": (outside - (predicted - common)) / outside if outside else None,
        "volume_difference_ml": None if grid.voxel_ml is None else (predicted - true) * grid.voxel_ml,
        "volume_difference_relative": (predicted - true) / true if true else None,
    }
    if hd95 and grid.calibrated:
        lesions = lesion_wise(prediction, truth, grid.spacing)
        values |= {
            "hd95_mm": overlap.hd95(prediction, truth, grid.spacing),
            "surface_dice": overlap.surface_dice(prediction, truth, grid.spacing, nsd_mm),
            "lesion_dice": lesions.dice,
            "lesion_hd95_mm": lesions.hd95_mm,
            "lesions_found": lesions.found,
            "lesions_missed": lesions.missed,
            "lesions_extra": lesions.extra,
        }
    return RegionScore(**values)


def mean_score(cases: Iterable[CaseScore], regions: Iterable[Region] = tuple(Region)) -> dict[Region, RegionScore]:
    """The mean over cases per region and metric, over the cases in which it was measured; None where in none."""
    scores = list(cases)
    out = {}
    for region in regions:
        of_region = [case[region] for case in scores if region in case]
        names = [f.name for f in fields(RegionScore)]
        out[region] = RegionScore(**{name: _mean(getattr(s, name) for s in of_region) for name in names})
    return out


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [v for v in values if v is not None]
    return sum(measured) / len(measured) if measured else None
