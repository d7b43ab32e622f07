"""The engine of napari-brainseg: studies, networks, training, inference and measurement, without napari or Qt.

The public names, each loaded when first used (``import brainseg_engine`` alone is quick and loads no torch)::

    from pathlib import Path
    from brainseg_engine import Predictor, evaluate, load_study, models, save_segmentation, volumes_ml

    study = load_study(Path("patient1"))                # a folder with the four series
    predictor = Predictor(models.default())             # the heavy part, paid once
    result = predictor.predict(study).segmentation      # labels on the grid of the T1ce series
    print(volumes_ml(result.labels, result.grid, result.regions))
    save_segmentation(result, Path("masks/patient1_seg.nii.gz"), reference=study.reference)
    print(evaluate(truth=Path("data"), predictions=Path("masks")).to_json())

``models`` is the registry of installed models.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainseg_engine import models as models
    from brainseg_engine.core.errors import BrainsegError as BrainsegError
    from brainseg_engine.core.geometry import Grid as Grid
    from brainseg_engine.core.labels import Label as Label
    from brainseg_engine.core.labels import Region as Region
    from brainseg_engine.core.labels import region_mask as region_mask
    from brainseg_engine.core.study import Modality as Modality
    from brainseg_engine.core.study import Prediction as Prediction
    from brainseg_engine.core.study import Segmentation as Segmentation
    from brainseg_engine.core.study import Study as Study
    from brainseg_engine.core.study import Volume as Volume
    from brainseg_engine.evaluation import compare as compare
    from brainseg_engine.evaluation import evaluate as evaluate
    from brainseg_engine.inference.predictor import Predictor as Predictor
    from brainseg_engine.io import load_segmentation as load_segmentation
    from brainseg_engine.io import load_study as load_study
    from brainseg_engine.io import save_segmentation as save_segmentation
    from brainseg_engine.scores.diameters import diameters as diameters
    from brainseg_engine.scores.overlap import dice as dice
    from brainseg_engine.scores.overlap import hd95 as hd95
    from brainseg_engine.scores.volumes import volumes_ml as volumes_ml

_HOME = {
    "BrainsegError": "core.errors",
    "Grid": "core.geometry",
    "Label": "core.labels",
    "Modality": "core.study",
    "Prediction": "core.study",
    "Predictor": "inference.predictor",
    "Segmentation": "core.study",
    "Region": "core.labels",
    "Study": "core.study",
    "Volume": "core.study",
    "diameters": "scores.diameters",
    "dice": "scores.overlap",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "hd95": "scores.overlap",
    "load_segmentation": "io",
    "load_study": "io",
    "models": "",
    "region_mask": "core.labels",
    "save_segmentation": "io",
    "volumes_ml": "scores.volumes",
}
"""Public name → the module it lives in ("" for a module)."""

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("napari-brainseg")
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    home = _HOME[name]
    return getattr(import_module(f"{__name__}.{home}"), name) if home else import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
