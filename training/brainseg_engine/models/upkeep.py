"""Installed models over time: whether each is still what came in, and taking one away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainseg_engine.core import records
from brainseg_engine.core.errors import BrainsegError, CheckpointError, OutputError
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import check_writable, models_home
from brainseg_engine.models import checkpoint as files
from brainseg_engine.models import choice, registry
from brainseg_engine.models.lineage import sha256

_FILE = ".known-hashes.json"


@dataclass(frozen=True)
class Checked:
    """One model: ``problem`` in words, "" where it is sound; ``note``: what else is to be known."""

    name: str
    path: Path
    sha256: str
    problem: str = ""
    note: str = ""


def remember(path: Path) -> None:
    """Note the hash of a model that was just installed, to be compared later. Raises OutputError."""
    folder = models_home()
    check_writable(folder)
    with held(folder / ".lock"):
        records.write_json(folder / _FILE, {**_known(), path.stem: sha256(path)})


def verify(name: str | None = None) -> list[Checked]:
    """The model of that name, or all: read whole, every weight a number and in its place, the hash as when it came in.

    Raises CheckpointError for a name that none has.
    """
    models = registry.installed()
    if name is not None:
        wanted = registry.find(name)
        models = [m for m in models if m.path == wanted]
    known = _known()
    found = []
    for model in models:
        try:
            hash_now = sha256(model.path)
            files.load(model.path)
        except BrainsegError as e:
            found.append(Checked(model.name, model.path, "", str(e)))
            continue
        before = "" if model.bundled else known.get(model.name, "")
        changed = (
            f"Its file is not the one that was installed (then {before[:12]}…)." if before not in ("", hash_now) else ""
        )
        note = "" if before or model.bundled else "Its hash was not noted when it came in."
        found.append(Checked(model.name, model.path, hash_now, changed, note))
    return found


def remove(name: str) -> Path:
    """Take the user's model of that name away; returns where it was. Raises CheckpointError for one that is not there, is
    bundled, or is the one that is used where none is named."""
    own = [m for m in registry.installed() if m.name == name and not m.bundled]
    if not own:
        bundled = any(m.name == name for m in registry.installed())
        why = "comes with the program and stays" if bundled else "is not installed"
        raise CheckpointError(f"The model '{name}' {why}. Your own are in {models_home()}.")
    if choice.current() == name:
        raise CheckpointError(
            f"The model '{name}' is used where none is named. Choose another first: napari-brainseg models default NAME."
        )
    try:
        own[0].path.unlink()
    except OSError as e:
        raise OutputError(f"{own[0].path} cannot be removed: {e.strerror or e}.") from e
    with held(models_home() / ".lock"):
        records.write_json(models_home() / _FILE, {k: v for k, v in _known().items() if k != name})
    return own[0].path


def _known() -> dict[str, str]:
    try:
        found = records.read_object(models_home() / _FILE)
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()}
