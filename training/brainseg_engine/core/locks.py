"""A lock between processes that ends with its holder, however that ends.

``filelock`` locks; here the lock's file is opened, because that must neither follow a link nor accept a file with a second
name, and because the file may tell who holds it. A file system without locks stops nobody: ``filelock``'s own remedy, a file
whose presence is the lock, would stay behind a program that was killed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainseg_engine.core import plain
from brainseg_engine.core.errors import OutputError

_log = logging.getLogger(__name__)


def try_lock(handle: int) -> bool:
    """Lock that open file, or return False where another process holds it.

    On Windows nobody else can then read its first byte.
    """
    import filelock

    try:
        return filelock.lock_descriptor(handle, blocking=False)
    except OSError as e:  # some network file systems have no locks: better to work than not to
        _log.warning("this file system has no locks (%s); work in it from one process at a time", e.strerror or e)
    return True


def unlock(handle: int) -> None:
    """Release it."""
    import filelock

    try:
        filelock.unlock_descriptor(handle)
    except OSError as e:
        _log.debug("unlocking: %s", e)


def is_held(file: Path) -> bool:
    """Whether a process holds the lock of that file, wherever it runs; False where the file is absent or cannot be opened."""
    if not plain.is_file(file):
        return False
    try:
        handle = plain.updating(file)
    except OSError:
        return False
    try:
        if not try_lock(handle):
            return True
        unlock(handle)
        return False
    finally:
        os.close(handle)


@contextmanager
def held(file: Path, patience_s: float = 30.0) -> Iterator[None]:
    """Hold the lock of that file (made where it is absent), waiting for others up to ``patience_s``.

    Raises OutputError where the file cannot be made or the wait was in vain.
    """
    try:
        handle = plain.updating(file)
    except OSError as e:
        raise OutputError(f"Cannot write {file}: {e.strerror or e}. Choose another folder.") from e
    try:
        until = time.monotonic() + patience_s
        while not try_lock(handle):
            if time.monotonic() > until:
                raise OutputError(
                    f"Another process has been writing into {file.parent} for {patience_s:.0f} s. Try again."
                )
            time.sleep(0.02)
        try:
            yield
        finally:
            unlock(handle)
    finally:
        os.close(handle)
