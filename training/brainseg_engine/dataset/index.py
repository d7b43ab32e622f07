"""Which cached case belongs to which files, so that a later start need not read and hash every study to find it.

One small file a case in the cache's folder ``index``. It is believed only while the file system says of every image, of the
mask and of the mask's sidecar what it said before (size, times of change, number); else the study is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainseg_engine.core import records
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.geometry import Shape3
from brainseg_engine.core.paths import private_folder
from brainseg_engine.dataset import cache as store
from brainseg_engine.inference.ledger import files_of, stat_of
from brainseg_engine.io import series_of
from brainseg_engine.io.sidecars import sidecar_path
from brainseg_engine.recipe import Recipe

FOLDER = "index"


@dataclass(frozen=True)
class CachedCase:
    """``key`` of the cached file, the study's ``id``, and the ``hashes`` of its images."""

    key: str
    id: str
    hashes: tuple[str, ...]


class Index:
    """The entry of one case under one recipe: what its preprocessed arrays are called in the cache, as long as the files of the
    case at ``path`` are what they were. Nothing is noted of cases whose files are not known beforehand (slices, DICOM)."""

    def __init__(self, folder: Path, path: Path, recipe: Recipe, divisor: Shape3, coding: str | None) -> None:
        facts = [
            store.FORMAT, os.fspath(path.resolve()), coding, recipe.preprocess.model_dump(mode="json"),
            [recipe.window.policy, recipe.window.size], divisor, list(recipe.modalities), list(recipe.output.regions),
            *([recipe.plans.model_dump(mode="json")] if recipe.plans is not None else []),
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode("utf-8", "surrogatepass"))
        self._file = folder / FOLDER / f"{digest.hexdigest()}.json"
        self._files = _files(path)

    def find(self) -> CachedCase | None:
        """What was noted, where the files are as they were."""
        if self._files is None:
            return None
        try:
            record = records.read_object(self._file, most=2**16)
            if record["files"] != self._files:
                return None
            return CachedCase(str(record["key"]), str(record["id"]), tuple(map(str, record["hashes"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, entry: CachedCase) -> None:
        """For the next time; a cache that cannot be written is slower, no failure."""
        if self._files is None:
            return
        try:
            private_folder(self._file.parent)
            record = {"files": self._files, "key": entry.key, "id": entry.id, "hashes": list(entry.hashes)}
            records.write_json(self._file, record, indent=None, private=True)
        except (BrainsegError, OSError):
            return


def _files(path: Path) -> dict[str, Any] | None:
    try:
        series = series_of(path)
        stats: dict[str, Any] = dict(files_of(series))
        if not stats or series.segmentation is None or series.segmentation.is_dir():
            return None
        stats["mask"] = stat_of(series.segmentation)
        sidecar = sidecar_path(series.segmentation)
        stats["sidecar"] = stat_of(sidecar) if sidecar.is_file() else None
        return {**stats, "coding": series.coding, "id": series.id}
    except (BrainsegError, OSError):
        return None
