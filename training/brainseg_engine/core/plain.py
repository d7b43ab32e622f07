"""Ordinary files alone: no pipe that never ends, no device, and no link where we write.

What is read may lie behind a link (the images of a fine-tuning do), but must be an ordinary file at its end. What is
written by adding to it must be no link at all, and have no second name: a run folder that somebody prepared may hold
links to anything.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from pathlib import Path

MOST_BYTES = 2**31
"""Of a file that is read whole into memory."""
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_WRITE = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_FREELY = 2**20
_KINDS = (
    (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a link"),
)  # fmt: skip


class NotOrdinary(OSError):
    """A pipe, a device, a link where none may be; ``strerror`` says which."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(errno.EINVAL, f"it is {kind}, not an ordinary file", str(path))


class _Bounded(io.BufferedReader):
    """Reads no more than there is: Python makes room first for all that is asked for, and a damaged length costs gigabytes."""

    def __init__(self, raw: io.FileIO, size: int) -> None:
        super().__init__(raw)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _FREELY:
            size = min(size, max(self._size - self.tell(), _FREELY))
        return super().read(size)


def opened(path: Path) -> io.BufferedReader:
    """The file, open for reading. Raises OSError, NotOrdinary for what is no ordinary file; it never waits."""
    handle = os.open(path, _READ)
    try:
        found = os.fstat(handle)
        _require_ordinary(found, path)
        return _Bounded(io.FileIO(handle, "rb"), found.st_size)
    except BaseException:
        os.close(handle)
        raise


def read(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of an ordinary file. Raises OSError, for one of more than ``most`` bytes too."""
    with opened(path) as f:
        if os.fstat(f.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most / 2**20:.0f} MiB", str(path))
        content = f.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most / 2**20:.0f} MiB", str(path))
    return content


def sha256(path: Path) -> str:
    """SHA-256 of the bytes of an ordinary file, in hexadecimal. Raises OSError."""
    with opened(path) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sha256_if_readable(path: Path) -> str:
    """As :func:`sha256`; "" where the file cannot be read."""
    try:
        return sha256(path)
    except OSError:
        return ""


def require(path: Path) -> None:
    """Raise OSError unless an ordinary file is there: for libraries that open files by their names."""
    _require_ordinary(path.stat(), path)


def is_file(path: Path) -> bool:
    """Whether an ordinary file is there; False also for what may not be looked at, and for a name that no system takes."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def appending(path: Path, *, private: bool = False) -> int:
    """A handle of the file, made where it is absent, whose every write goes to its end; reading is allowed.

    Raises NotOrdinary for a link and for a file with a second name, OSError.
    """
    return _own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, private)


def updating(path: Path, *, private: bool = False) -> int:
    """A handle to read and write the file (made where it is absent, never cut). Raises as :func:`appending`."""
    return _own(path, os.O_RDWR | os.O_CREAT, private)


def _own(path: Path, flags: int, private: bool) -> int:
    try:
        handle = os.open(path, flags | _WRITE, 0o600 if private else 0o666)
    except OSError as e:
        if e.errno == errno.ELOOP or (e.errno == errno.ENXIO):
            raise NotOrdinary(path, "a link" if e.errno == errno.ELOOP else "a pipe") from e
        raise
    try:
        status = os.fstat(handle)
        _require_ordinary(status, path)
        if status.st_nlink > 1:
            raise NotOrdinary(path, "a file with a second name elsewhere")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _require_ordinary(status: os.stat_result, path: Path) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotOrdinary(path, next((word for test, word in _KINDS if test(status.st_mode)), "something else"))
