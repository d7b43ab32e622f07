"""A file is replaced whole, also while somebody reads it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from brainseg_engine.core import paths
from brainseg_engine.core.errors import OutputError


class Reader:
    """Keeps a file open for so many attempts to replace it, as Windows has it."""

    def __init__(self, monkeypatch, attempts: int) -> None:
        self.attempts, self.replace = attempts, Path.replace
        monkeypatch.setattr(Path, "replace", lambda part, path: self(part, path))

    def __call__(self, part: Path, path: Path) -> Path:
        self.attempts -= 1
        if self.attempts >= 0:
            raise PermissionError(13, "Permission denied")
        return self.replace(part, path)


def write(path: Path, text: str) -> None:
    with paths.atomic(path) as part:
        part.write_text(text)


def test_a_reader_holds_a_writer_up_for_a_moment_only(tmp_path, monkeypatch):
    write(tmp_path / "f.json", "old")
    Reader(monkeypatch, 3)
    write(tmp_path / "f.json", "new")
    assert (tmp_path / "f.json").read_text() == "new"


def test_what_stays_forbidden_is_reported_soon_and_the_old_file_stays(tmp_path, monkeypatch):
    write(tmp_path / "f.json", "old")
    Reader(monkeypatch, 1 << 30)
    monkeypatch.setattr(paths, "PATIENCE_S", 0.1)
    began = time.monotonic()
    with pytest.raises(OutputError, match=r"Cannot write .*f\.json: Permission denied"):
        write(tmp_path / "f.json", "new")
    assert time.monotonic() - began < 5
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"] and (tmp_path / "f.json").read_text() == "old"
