"""Preprocessed cases on disk: one safetensors file each, named by a hash of all that it depends on.

A file is written whole or not at all, so that two processes may write the same; one that is cut short or of another
format is no hit. Neither its name nor its contents tell where a case came from.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.paths import home, private_folder, sweep
from brainseg_engine.models.checkpoint import write_tensors

_log = logging.getLogger(__name__)
FORMAT = "napari-brainseg-case/3"
"""To be raised whenever preprocessing gives other numbers for the same settings, or they are packed in another way."""
DEFAULT_GB = 50.0
STILL_USED_S = 24 * 3600
"""A file used within this time may belong to a running training and is not removed."""

Tensors = Mapping[str, torch.Tensor]


def default_folder() -> Path:
    """In the user's own folder. Not created here."""
    return home() / "cache"


def limit_bytes() -> float:
    """How large the cache may grow: ``BRAINSEG_CACHE_GB``; 0 keeps cases in memory. Raises InputError."""
    given = os.environ.get("BRAINSEG_CACHE_GB", "")
    try:
        limit = float(given or DEFAULT_GB)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise InputError(f"BRAINSEG_CACHE_GB is '{given}'. Set it to a number of gigabytes; 0 switches the cache off.")
    return limit * 1e9


def load(folder: Path, key: str) -> Tensors | None:
    """The memory-mapped tensors kept under ``key``, or None. Their memory is private: a change never reaches the file."""
    from safetensors import SafetensorError, safe_open

    path = folder / f"{key}.safetensors"
    try:
        with safe_open(path, "pt") as f:
            if (f.metadata() or {}).get("format") != FORMAT:
                return None
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, ValueError) as e:
        if path.exists():
            _log.warning("the cached case %s is damaged and is made again: %s", path, e)
        return None
    with suppress(OSError):  # another user's, or a read-only disk
        os.utime(path)  # when it was last used
    return tensors


def save(folder: Path, key: str, tensors: Tensors) -> Path | None:
    """The file it was kept in, or None where the disk does not take it."""
    limit = limit_bytes()
    if limit == 0:
        return None
    path = folder / f"{key}.safetensors"
    try:
        if folder == default_folder():  # patients' images; who chooses another folder may mean to share it
            private_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {k: v.contiguous() for k, v in tensors.items()}, {"format": FORMAT})
    except (OSError, OutputError) as e:
        _log.warning("the preprocessed cases are kept in memory: %s", e)
        return None
    prune(folder, limit)
    return path


def prune(folder: Path, limit: float) -> None:
    """Remove the files that were longest unused until the folder holds ``limit`` bytes or less."""
    sweep(folder)
    now = time.time()
    files = []
    for path in (*folder.glob("*.safetensors"), *folder.glob(".part-*")):
        try:
            stat = path.stat()
        except OSError:
            continue  # removed by another process
        files.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in files)
    for used, size, path in sorted(files):
        stale = path.name.startswith(".part-")  # of a process that was killed while it wrote
        if now - used < STILL_USED_S or (total <= limit and not stale):
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue  # open in another process, where that hinders
        total -= size
    if total > limit:
        _log.warning(
            "the cache %s holds %.0f GB, more than BRAINSEG_CACHE_GB allows; all of it was used within a day", folder,
            total / 1e9,
        )  # fmt: skip
