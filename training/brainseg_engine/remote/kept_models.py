"""Models that others sent, by the hash of what they hold."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg_engine import models
from brainseg_engine.core import plain
from brainseg_engine.core.errors import BrainsegError, CheckpointError, OutputError
from brainseg_engine.core.paths import atomic, check_writable, home, part_file
from brainseg_engine.remote.parcels import Parcel

MOST = 8
"""So many are kept, those used last."""
_HASH = re.compile(r"[0-9a-f]{64}")


class KeptModels:
    """Those in the user's folder ``received-models``, and those that are installed anyway."""

    def __init__(self) -> None:
        self._folder = home() / "received-models"
        self._part: Path | None = None

    def has(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Whether the model of that ``sha256`` and ``size`` is here."""
        return {"have": self._find(wanted) is not None}

    def path(self, wanted: Mapping[str, Any]) -> Path:
        """Its file. Raises CheckpointError."""
        found = self._find(wanted)
        if found is None:
            raise CheckpointError("The model is not on that machine any more. Try again.")
        with contextlib.suppress(OSError):
            if found.parent == self._folder:
                os.utime(found)
        return found

    def take(self, parcel: Parcel) -> dict[str, Any] | None:
        """A part of a model; after the last one the reply: whether it is here now, else ``why`` not."""
        wanted, part = parcel.fields, parcel.arrays["part"].tobytes()
        last = int(wanted["at"]) + len(part) >= int(wanted["size"])
        try:
            if wanted["at"] == 0:
                self._begin(int(wanted["size"]))
            if self._part is not None:
                with self._part.open("ab") as f:
                    f.write(part)
            if last:
                self._keep(wanted)
        except (OSError, BrainsegError) as e:
            self._drop()
            if last:
                return {"have": False, "why": str(e)}
        return {"have": self._find(wanted) is not None} if last else None

    def _begin(self, size: int) -> None:
        self._drop()
        check_writable(self._folder, size)
        handle, self._part = part_file(self._folder, ".safetensors")
        os.close(handle)

    def _keep(self, wanted: Mapping[str, Any]) -> None:
        if self._part is None:
            raise OutputError("There is no room for it there.")
        if plain.sha256_if_readable(self._part) != wanted["sha256"]:
            raise OutputError("It came damaged. Try again.")
        with atomic(self._folder / f"{wanted['sha256']}.safetensors") as made:
            self._part.replace(made)
        self._part = None
        known = sorted(self._folder.glob("*.safetensors"), key=lambda p: -p.stat().st_mtime)
        for old in [p for p in known if _HASH.fullmatch(p.stem)][MOST:]:
            old.unlink(missing_ok=True)

    def _drop(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.unlink(missing_ok=True)

    def _find(self, wanted: Mapping[str, Any]) -> Path | None:
        name = str(wanted.get("sha256", ""))
        if not _HASH.fullmatch(name):
            return None
        kept = self._folder / f"{name}.safetensors"
        if plain.is_file(kept):
            return kept
        alike = (m.path for m in models.installed() if m.path.stat().st_size == wanted.get("size"))
        return next((p for p in alike if plain.sha256_if_readable(p) == name), None)
