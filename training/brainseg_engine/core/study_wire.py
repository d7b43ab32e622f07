"""A study on its way to another process: JSON for what is small, shared memory for the voxels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.shared_arrays import ArraySpec, SharedArray
from brainseg_engine.core.study import Modality, Study, Volume


def study_to_wire(study: Study, arrays: Mapping[Modality, ArraySpec]) -> dict[str, Any]:
    """The study as a JSON object; the voxels of each modality lie in ``arrays``."""
    return {
        "id": study.id,
        "coding": study.coding,
        "volumes": [
            {
                "modality": m.value,
                "array": arrays[m].to_dict(),
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
