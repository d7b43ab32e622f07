"""Prediction of a study as a hospital has it: prepared first, and the answer given on the grid that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, Prediction, Segmentation, SeriesNeeded, Study, Volume
from brainseg_engine.io import read_header
from brainseg_engine.prepare import Prepared, PrepareOptions, prepare, recognise
from brainseg_engine.prepare.back import probability_onto, segmentation_onto
from brainseg_engine.prepare.head import shows_head

PREPARED_GRID = "1mm"
"""The name of the grid that the network saw."""
_PREPARING = 0.7
"""The share of the progress bar."""


@dataclass(frozen=True)
class RawPrediction:
    """``prediction`` is on the grid that was asked for, ``prepared`` what the network saw (None: the study as it came),
    ``seen`` the prediction on its grid; ``reference`` is a series on the answer's grid whose header it takes, if there is one.
    """

    prediction: Prediction
    seen: Prediction
    prepared: Prepared | None
    reference: Volume | None


def is_raw(study: Study) -> bool:
    """True when the study has to be prepared before a model can take it: its series lie on their own grids, or the skull is
    still on. Other voxel sizes are the recipe's matter, and an aligned piece that is smaller than a head is taken as it is."""
    grid = study.reference.grid
    if not study.aligned:
        return True
    return grid.calibrated and shows_head(grid) and not recognise.stripped(study)


def require_series(study: Study, needed: SeriesNeeded) -> None:
    """Raise InputError for a series that the model needs and the study lacks; grids may differ here."""
    try:
        study.require(needed)
    except GeometryError:
        return


def answer(
    predict: Callable[..., Prediction],
    study: Study,
    on: str = "",
    options: PrepareOptions | None = None,
    *,
    probabilities: bool = False,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> RawPrediction:
    """Predict the study and tell the answer on ``on``: a modality's grid, "1mm", an image file's, "" for the reference's.

    ``predict`` is a Predictor's. ``options`` None takes the study as it is. Raises what prepare and predict do.
    """
    prepared, share = None, 0.0
    if options is not None:
        share = _PREPARING
        prepared = prepare(study, options, progress=_part(progress, 0.0, share), cancelled=cancelled)
    given = study if prepared is None else prepared.study
    moves = prepared is not None and not prepared.untouched and on != PREPARED_GRID
    target = target_grid(on, study)
    seen = predict(
        given, progress=_part(progress, share, 1 - share), cancelled=cancelled, probabilities=probabilities or moves
    )
    if prepared is not None and moves:
        onto = target or prepared.reference
        segmentation = prepared.back(seen, onto)
        kept: Mapping[Region, NDArray[Any]] | None = prepared.probabilities_back(seen, onto) if probabilities else None
    elif isinstance(target, Grid):
        segmentation = segmentation_onto(seen.segmentation, target, None, seen.probabilities)
        own = (seen.probabilities or {}).items()
        kept = {r: probability_onto(p, seen.segmentation.grid, target) for r, p in own} or None
    else:
        segmentation, kept = seen.segmentation, seen.probabilities
    placed = replace(seen, segmentation=segmentation, probabilities=_halves(kept))
    return RawPrediction(placed, seen, prepared, _reference(segmentation, study, target))


def target_grid(on: str, study: Study) -> Modality | Grid | None:
    """What ``--on`` names. Raises InputError for what is neither a series of the study nor an image."""
    if on in ("", PREPARED_GRID):
        return None
    if on in tuple(Modality):
        if Modality(on) not in study.volumes:
            raise InputError(
                f"The study '{study.id}' has no {Modality(on).title}, so no mask can be given on its grid."
            )
        return Modality(on)
    path = Path(on)
    if not path.is_file():
        names = ", ".join([*(m.value for m in Modality), PREPARED_GRID])
        raise InputError(
            f"'{on}' is neither one of {names} nor an image file. Name the grid that the mask should lie on."
        )
    return read_header(path).grid


def fields(prepared: Prepared | None) -> dict[str, Any]:
    """What a result's sidecar says of the preparation; empty where there was none."""
    if prepared is None:
        return {}
    return {"prepared": {**prepared.choices, "warnings": list(prepared.warnings), "seconds": dict(prepared.seconds)}}


def _reference(segmentation: Segmentation, study: Study, target: Modality | Grid | None) -> Volume | None:
    wanted = study.volumes[target] if isinstance(target, Modality) else study.reference
    return next((v for v in (wanted, *study.volumes.values()) if v.grid.same_as(segmentation.grid)), None)


def _halves(kept: Mapping[Region, NDArray[Any]] | None) -> Mapping[Region, NDArray[np.float16]] | None:
    return None if not kept else {r: np.asarray(p, np.float16) for r, p in kept.items()}


def _part(progress: ProgressCallback, start: float, share: float) -> ProgressCallback:
    return lambda event: progress(Progress(event.stage, start + share * event.fraction))
