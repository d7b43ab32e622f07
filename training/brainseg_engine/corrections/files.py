"""How the store writes: files that are made once and never again, and lines that are only ever added."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.paths import part_file


def write_once(path: Path, content: bytes) -> None:
    """Make the file, whole and read-only. Raises OutputError where it exists already or cannot be written.

    It appears under its name complete or not at all, and of two processes that make the same file one succeeds.
    """
    try:
        handle, part = part_file(path.parent)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
            part.chmod(0o444)
            _publish(part, path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    except FileExistsError as e:
        raise OutputError(
            f"{path} exists already, and what was accepted is never rewritten. Accept a new version."
        ) from e
    except OSError as e:
        raise OutputError(f"Cannot write {path}: {e.strerror or e}. Free some space or choose another folder.") from e


def _publish(part: Path, path: Path) -> None:
    """Give the finished file its name unless that is taken (FileExistsError)."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: claim the name, then put the content there
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        part.replace(path)


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one JSON line (under the caller's lock). A line torn by a crash before is closed first. Raises OutputError."""
    line = records.dumps(record).encode() + b"\n"
    try:
        with os.fdopen(plain.appending(path), "ab+") as f:
            if f.seek(0, os.SEEK_END):
                f.seek(-1, os.SEEK_END)
                if f.read(1) != b"\n":
                    line = b"\n" + line
            f.write(line)
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        raise OutputError(f"Cannot write {path}: {e.strerror or e}. Free some space or choose another folder.") from e


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of the file, one a line; what a crash tore is passed over, an absent file holds none."""
    try:
        content = plain.read(path)
    except OSError:
        return
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError):
            entry = records.parse_json(line.decode("utf-8", "replace"))
            if isinstance(entry, dict):
                yield entry
