"""A study made ready for a network, with everything that leads back to where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Mask, Region
from brainseg_engine.core.study import Modality, Prediction, Segmentation, Study
from brainseg_engine.prepare import back as resampling
from brainseg_engine.prepare import painting
from brainseg_engine.prepare.quality import Quality
from brainseg_engine.prepare.rigid import Rigid, carried

Onto = Modality | Grid | None
"""Where a result is wanted: a series' own grid, any grid in the reference's world, or None for the reference series."""


@dataclass(frozen=True)
class Prepared:
    """What :func:`brainseg_engine.prepare.prepare` makes of a raw study.

    ``study``: aligned, brain only, on one grid of 1 mm: what a Predictor takes. ``brain`` (X, Y, Z) is its mask.
    ``reference`` is the series the others were aligned with. ``rigids``: modality → where a point of the reference lies in
    that series. ``grids``: modality → the series' own grid. ``quality``: of each series but the reference that was aligned
    or checked. ``warnings``: sentences for a person. ``choices``: what was done and by what, for JSON. ``untouched`` is
    True when the study came prepared and is returned as it was.
    """

    study: Study
    brain: Mask
    reference: Modality
    rigids: Mapping[Modality, Rigid]
    grids: Mapping[Modality, Grid]
    quality: Mapping[Modality, Quality] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    untouched: bool = False

    @property
    def grid(self) -> Grid:
        """The grid of 1 mm that the network sees."""
        return self.study.reference.grid

    @property
    def doubtful(self) -> tuple[Modality, ...]:
        """The series whose alignment is not good."""
        return tuple(m for m, q in self.quality.items() if not q.good)

    def back(
        self,
        result: Prediction | Segmentation,
        onto: Onto = None,
        probabilities: Mapping[Region, NDArray[np.float16]] | None = None,
    ) -> Segmentation:
        """A result on the 1 mm grid, carried onto a series' own grid (the reference's unless ``onto`` names another).

        A prediction's probabilities, where it holds them, place the borders; so do ``probabilities`` of the answer that a
        segmentation is a correction of. Raises GeometryError for a result that is on another grid, InputError for a series
        that the study does not have.
        """
        segmentation = result.segmentation if isinstance(result, Prediction) else result
        self._require_own(segmentation.grid)
        target, rigid = self._target(onto)
        if isinstance(result, Prediction):
            probabilities = result.probabilities
        return resampling.segmentation_onto(segmentation, target, rigid, probabilities)

    def probabilities_back(self, prediction: Prediction, onto: Onto = None) -> dict[Region, Any]:
        """Region → float32 probability on that grid; empty where the prediction holds none."""
        self._require_own(prediction.segmentation.grid)
        return resampling.probabilities_onto(prediction, *self._target(onto))

    def forward(self, segmentation: Segmentation, of: Onto = None) -> Segmentation:
        """A mask painted on a series' own grid (the reference's unless ``of`` names another), carried onto the 1 mm grid.

        Raises GeometryError when it is not on that series' grid.
        """
        source, rigid = self._target(of)
        if not segmentation.grid.same_as(source):
            raise GeometryError(
                "The mask is not on the grid it is said to be on. Name the series that it was drawn on."
            )
        inverse = None if rigid is None else rigid.inverse
        return resampling.segmentation_onto(segmentation, self.grid, inverse)

    def painted(self, labels: LabelArray, before: LabelArray, after: LabelArray, on: Modality) -> LabelArray:
        """``labels`` (X, Y, Z) of the 1 mm grid once a person has changed ``before`` to ``after`` on that series' own grid."""
        rigid = None if on is self.reference else self.rigids[on]
        return painting.painted_onto(labels, self.grid, before, after, self.grids[on], rigid)

    def brain_on(self, on: Modality) -> Mask:
        """The brain on that series' own grid (X, Y, Z)."""
        target, rigid = self._target(on)
        return np.asarray(carried(self.brain, self.grid, target, rigid, smooth=False) >= 0.5)

    def reach(self, on: Modality) -> Mask:
        """The voxels of that series (X, Y, Z) that the 1 mm grid holds: what is painted on others would be lost."""
        return painting.reach(self.grid, self.grids[on], None if on is self.reference else self.rigids[on])

    def _target(self, onto: Onto) -> tuple[Grid, Rigid | None]:
        """The grid, and where its world's points lie in the reference's."""
        if isinstance(onto, Grid):
            return onto, None
        modality = self.reference if onto is None else onto
        if modality not in self.grids:
            had = ", ".join(m.title for m in self.grids)
            raise InputError(f"The study '{self.study.id}' has no {modality.title}, only {had}. Name one of these.")
        return self.grids[modality], None if modality is self.reference else self.rigids[modality].inverse

    def _require_own(self, grid: Grid) -> None:
        if not grid.same_as(self.grid):
            raise GeometryError(
                f"The result is not on the grid that '{self.study.id}' was prepared on. Predict the prepared study anew."
            )
