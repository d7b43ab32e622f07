"""Where on this machine the images of a study lie: ``sources.local.json`` in the user's folder.

It is the only place that ties a study's key to folder, names and patient. It lies outside every store, so that a store can
be handed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainseg_engine.core import records
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import check_writable, home
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.corrections.identity import study_key


@dataclass(frozen=True)
class StudySource:
    """``study_id`` as the study is called here, its ``folder`` (None: files picked by hand) and modality → ``files``."""

    study_id: str
    folder: Path | None
    files: Mapping[Modality, Path]

    @property
    def there(self) -> bool:
        """True when all files still lie there."""
        return bool(self.files) and all(f.is_file() for f in self.files.values())


def file() -> Path:
    """The file."""
    return home() / "sources.local.json"


def remember(study: Study, key: str = "") -> None:
    """Note where the study's images lie (nothing for one that was not read from files). Raises OutputError."""
    files = {m.value: str(v.path.resolve()) for m, v in study.volumes.items() if v.path is not None}
    if not files:
        return
    entry = {"id": study.id, "folder": str(study.folder.resolve()) if study.folder else None, "files": files}
    check_writable(home())
    with held(home() / ".sources.lock"):
        sources = _read()
        key = key or study_key(study)
        if sources.get(key) != entry:
            records.write_json(file(), sources | {key: entry}, private=True)


def source_of(key: str) -> StudySource | None:
    """Where the images of the study with that key lie, as far as this machine knows."""
    entry = _read().get(key)
    if not isinstance(entry, dict):
        return None
    try:
        files = {Modality(m): Path(p) for m, p in entry["files"].items()}
        return StudySource(str(entry["id"]), Path(entry["folder"]) if entry["folder"] else None, files)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def places() -> set[Path]:
    """The folders of all studies that corrections, or work that was not accepted, rest on."""
    from brainseg_engine.corrections import working

    noted = (entry.get("folder") for entry in _read().values() if isinstance(entry, dict))
    return {Path(f) for f in noted if isinstance(f, str)} | {
        f.folder for f in working.pending() if f.folder is not None
    }


def _read() -> dict[str, Any]:
    try:
        sources = records.read_json(file(), most=2**30)
    except (OSError, ValueError):
        return {}
    return sources if isinstance(sources, dict) else {}
