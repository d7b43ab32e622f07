"""From which model a model was made, and that one from which, up to one that was trained from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.models.checkpoint import Card, read_metadata
from brainseg_engine.models.registry import find, installed


@dataclass(frozen=True)
class Ancestor:
    """One model of a lineage. ``path`` and ``card`` are None for one that is not on this machine (any more)."""

    name: str
    version: str
    sha256: str
    path: Path | None = None
    card: Card | None = None

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        tuned = self.card.tuned if self.card is not None else None
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "path": str(self.path) if self.path is not None else None,
            "created": self.card.created if self.card is not None else "",
            "tuned": tuned.model_dump(mode="json") if tuned is not None else None,
        }


def lineage(name_or_path: str | Path) -> list[Ancestor]:
    """The model, its parent, that one's parent, …: the oldest last. Raises CheckpointError for a model that cannot be read.

    Parents are known by the SHA-256 of their files, whatever they are called now.
    """
    path = find(name_or_path)
    card, _ = read_metadata(path)
    line = [Ancestor(card.name, card.version, sha256(path), path, card)]
    files: dict[str, Path] | None = None
    while (tuned := line[-1].card.tuned if line[-1].card is not None else None) is not None:
        if files is None:
            files = {sha256(m.path): m.path for m in installed() if m.card is not None}
        if any(a.sha256 == tuned.parent_sha256 for a in line):
            raise CheckpointError(f"{line[-1].path} names a descendant of its own as its parent: its card is wrong.")
        at = files.get(tuned.parent_sha256)
        known = read_metadata(at)[0] if at is not None else None
        line.append(Ancestor(tuned.parent, tuned.parent_version, tuned.parent_sha256, at, known))
    return line


def sha256(file: Path) -> str:
    """Of a file's bytes. Raises CheckpointError when it cannot be read."""
    try:
        return plain.sha256(file)
    except OSError as e:
        raise CheckpointError(f"Cannot read {file}: {e.strerror or e}.") from e
