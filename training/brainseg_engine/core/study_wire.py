"""A study on its way to another process: JSON for what is small, shared memory for the voxels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Region
from brainseg_engine.core.shared_arrays import ArraySpec, SharedArray
from brainseg_engine.core.study import Modality, Prediction, Segmentation, Study, Volume

FILLED = ("labels", "probabilities", "map")
"""The arrays of a command that the other side fills."""


def study_to_wire(study: Study, arrays: Mapping[Modality, ArraySpec]) -> dict[str, Any]:
    """The study as a JSON object; the voxels of each modality lie in ``arrays`` (or, of those not in it, come otherwise)."""
    return {
        "id": study.id,
        "coding": study.coding,
        "volumes": [
            {
                "modality": m.value,
                "array": arrays[m].to_dict() if m in arrays else None,
                "affine": v.grid.affine.tolist(),
                "calibrated": v.grid.calibrated,
                "path": str(v.path) if v.path else None,
                "sha256": v.sha256,
            }
            for m, v in study.volumes.items()
        ],
    }


def study_from_wire(fields: Mapping[str, Any], stack: ExitStack) -> Study:
    """The study of that JSON object; its arrays live as long as ``stack``."""
    volumes = {}
    for f in fields["volumes"]:
        data = stack.enter_context(SharedArray.attach(ArraySpec.from_dict(f["array"]))).array
        modality = Modality(f["modality"])
        grid = Grid(data.shape, np.array(f["affine"]), bool(f.get("calibrated", True)))
        volumes[modality] = Volume(data, grid, modality, Path(f["path"]) if f["path"] else None, f["sha256"])
    return Study(fields["id"], volumes, coding=fields["coding"])


def fill(spec: ArraySpec, values: np.ndarray[Any, Any]) -> None:
    """Write the values into the array that the other side owns."""
    with SharedArray.attach(spec) as shared:
        np.copyto(shared.array, values, casting="same_kind")


def prediction_to_wire(prediction: Prediction) -> dict[str, Any]:
    """The prediction as a JSON object, without its arrays."""
    s = prediction.segmentation
    return {
        "study_id": prediction.study_id,
        "model": prediction.model,
        "model_version": prediction.model_version,
        "device": prediction.device,
        "seconds": dict(prediction.seconds),
        "coding": s.coding,
        "made_by": s.made_by,
        "rests_on": [m.value for m in prediction.rests_on],
        "dropped_ml": {r.value: ml for r, ml in prediction.dropped_ml.items()},
        "regions": [r.value for r in s.regions],
        "plan": prediction.plan,
        "fallen": prediction.fallen,
        "intervals_ml": {r.value: list(limits) for r, limits in prediction.intervals_ml.items()},
        "confidence": prediction.confidence,
        "unlike": prediction.unlike,
        "uncovered": prediction.uncovered,
        "displaced": prediction.displaced,
        "laid_back_mm": {m.value: mm for m, mm in prediction.laid_back_mm.items()},
        "scaling": {r.value: list(s) for r, s in prediction.scaling.items()},
    }


def prediction_from_wire(
    fields: Mapping[str, Any], grid: Grid, labels: LabelArray, stacked: NDArray[np.float16] | None = None
) -> Prediction:
    """The prediction of that JSON object. ``labels`` (X, Y, Z) on ``grid``; ``stacked``: the probabilities (3, X, Y, Z) of WT,
    TC, ET, of which those count that the model gives."""
    regions = tuple(Region(x) for x in fields["regions"])
    probabilities = None
    if stacked is not None:
        probabilities = {region: stacked[i] for i, region in enumerate(Region) if region in regions}
    return Prediction(
        study_id=str(fields["study_id"]),
        segmentation=Segmentation(labels, grid, fields["coding"], fields["made_by"], regions),
        model=str(fields["model"]),
        model_version=str(fields["model_version"]),
        device=str(fields["device"]),
        seconds=dict(fields["seconds"]),
        probabilities=probabilities,
        rests_on=tuple(Modality(m) for m in fields.get("rests_on", ())),
        dropped_ml={Region(r): float(ml) for r, ml in fields.get("dropped_ml", {}).items()},
        plan=str(fields.get("plan", "")),
        fallen=str(fields.get("fallen", "")),
        intervals_ml={Region(r): (float(a), float(b)) for r, (a, b) in fields.get("intervals_ml", {}).items()},
        confidence=None if fields.get("confidence") is None else float(fields["confidence"]),
        unlike=str(fields.get("unlike", "")),
        uncovered=str(fields.get("uncovered", "")),
        displaced=str(fields.get("displaced", "")),
        laid_back_mm={Modality(m): float(mm) for m, mm in fields.get("laid_back_mm", {}).items()},
        scaling={Region(r): (float(t), float(b)) for r, (t, b) in fields.get("scaling", {}).items()},
    )
