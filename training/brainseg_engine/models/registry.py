"""Which models there are: those bundled with the package and those in the user's folder."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from brainseg_engine.checkpoint import Card, read_metadata
from brainseg_engine.errors import CheckpointError
from brainseg_engine.paths import models_home


@dataclass(frozen=True)
class ModelInfo:
    """An installed model; ``problem`` says why it cannot be used (then ``card`` is None)."""

    name: str
    path: Path
    card: Card | None
    bundled: bool
    problem: str = ""


def bundled_folder() -> Path:
    """The folder of the models in the package."""
    return Path(str(resources.files("brainseg_engine") / "models" / "bundled"))


def installed() -> list[ModelInfo]:
    """All models, bundled first; a file that cannot be read is listed with its problem."""
    found = []
    for folder, bundled in ((bundled_folder(), True), (models_home(), False)):
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
            try:
                found.append(ModelInfo(path.stem, path, read_metadata(path)[0], bundled))
            except CheckpointError as e:
                found.append(ModelInfo(path.stem, path, None, bundled, str(e)))
    return found


def default() -> str:
    """The name of the model to use when none is named: the first usable one. Raises CheckpointError when there is none."""
    for model in installed():
        if model.card is not None:
            return model.name
    raise CheckpointError(
        f"No model is installed: put one into {models_home()}, or train one with 'napari-brainseg train'."
    )


def find(name_or_path: str | Path) -> Path:
    """The file of a model named, or the path itself. Raises CheckpointError naming the choices."""
    path = Path(name_or_path)
    if path.suffix == ".safetensors" or path.is_file():
        return path
    models = installed()
    for model in reversed(models):  # the user's own model of the same name wins
        if model.name == str(name_or_path):
            return model.path
    names = ", ".join(m.name for m in models) or "none is installed"
    raise CheckpointError(f"There is no model '{name_or_path}'; installed: {names}. A file's path works too.")
