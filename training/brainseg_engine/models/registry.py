"""Which models there are: those bundled with the package and those in the user's folder."""

from __future__ import annotations

import itertools
import logging
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from brainseg_engine.core import plain
from brainseg_engine.core.errors import CheckpointError, OutputError
from brainseg_engine.core.locks import held
from brainseg_engine.core.names import is_model_name
from brainseg_engine.core.paths import atomic, check_writable, models_home
from brainseg_engine.models import choice
from brainseg_engine.models.checkpoint import Card, read_metadata

_log = logging.getLogger(__name__)


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
    infos = []
    for folder, bundled in ((bundled_folder(), True), (models_home(), False)):
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
            try:
                infos.append(ModelInfo(path.stem, path, read_metadata(path)[0], bundled))
            except CheckpointError as e:
                infos.append(ModelInfo(path.stem, path, None, bundled, str(e)))
    return infos


def default() -> str:
    """The name of the model to use when none is named: the user's choice, else the first usable one.

    Raises CheckpointError when there is none.
    """
    usable = [model.name for model in installed() if model.card is not None]
    chosen = choice.current()
    if chosen in usable:
        return chosen
    if chosen:
        _log.warning("the default model '%s' is not there any more, or cannot be used", chosen)
    if usable:
        return usable[0]
    raise CheckpointError(
        f"No model is installed: put one into {models_home()}, or train one with 'napari-brainseg train'."
    )


def find(name_or_path: str | Path) -> Path:
    """The file of a model named, or the path itself. Raises CheckpointError naming the choices."""
    path = Path(name_or_path)
    if path.suffix == ".safetensors" or plain.is_file(path):
        return path
    models = installed()
    for model in reversed(models):  # the user's own model of the same name wins
        if model.name == str(name_or_path):
            return model.path
    names = ", ".join(m.name for m in models) or "none is installed"
    raise CheckpointError(f"There is no model '{name_or_path}'; installed: {names}. A file's path works too.")


def choose_default(name: str) -> None:
    """Use that installed model where none is named. Raises CheckpointError when it is not installed or cannot be used."""
    named = [m for m in installed() if m.name == name]
    if not named:
        names = ", ".join(m.name for m in installed()) or "none is installed"
        raise CheckpointError(f"There is no installed model '{name}'; installed: {names}.")
    if named[-1].card is None:
        raise CheckpointError(named[-1].problem)
    choice.choose(name, before=default())


def before_default() -> str:
    """The name of the model that ``roll_back`` would return to, "" when there is none."""
    return choice.before({model.name for model in installed() if model.card is not None})


def roll_back() -> str:
    """The default before the present one is the default again; returns its name.

    One that has gone since is passed over. Raises CheckpointError when there was none before.
    """
    usable = {model.name for model in installed() if model.card is not None}
    return choice.back(usable)


def add(file: Path, name: str) -> Path:
    """Put a copy of that model file into the user's folder; never over another of that name. Returns its path.

    Raises OutputError when the name is taken by another model or is no file name.
    """
    if not is_model_name(name):
        raise OutputError(f"'{name}' cannot be a model's name: use letters, digits, '-', '_' and '.' alone.")
    out = models_home() / f"{name}.safetensors"
    check_writable(out.parent)
    with held(out.parent / ".lock"):
        if out.exists() and out.read_bytes() != file.read_bytes():
            raise OutputError(f"There is a model '{name}' already: {out}. Choose another name.")
        if not out.exists():
            with atomic(out) as part:
                shutil.copyfile(file, part)
    return out


def free_name(wanted: str) -> str:
    """``wanted``, or with the first number that makes it a name no model has."""
    taken = {m.name for m in installed()}
    names = itertools.chain([wanted], (f"{wanted}-{n}" for n in itertools.count(2)))
    return next(name for name in names if name not in taken)
