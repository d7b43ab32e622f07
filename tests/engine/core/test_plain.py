"""Only ordinary files are read, and nothing is written through a link."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from brainseg_engine.core import plain

POSIX = pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX'")


@POSIX
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for act in (plain.read, plain.require, plain.appending, plain.updating):
        with pytest.raises(OSError, match="pipe"):
            act(tmp_path / "pipe")
    assert not plain.is_file(tmp_path / "pipe")


@POSIX
def test_a_device_behind_a_link_is_refused(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    for act in (plain.read, plain.require):
        with pytest.raises(OSError, match="a device"):
            act(tmp_path / "zero")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError):
        plain.read(tmp_path)


def test_a_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert plain.read(tmp_path / "a", 100) == b"x" * 100
    with pytest.raises(OSError, match="more than"):
        plain.read(tmp_path / "a", 99)


def test_a_link_to_an_ordinary_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert plain.read(tmp_path / "b") == b"x"


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to], ids=["link", "second name"])
@pytest.mark.parametrize("act", [plain.appending, plain.updating])
def test_nothing_is_written_to_a_file_of_another_place(make, act, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    make(tmp_path / "log", victim)
    with pytest.raises(plain.NotOrdinary):
        act(tmp_path / "log")
    assert victim.read_text() == "mine"


def test_what_is_added_goes_to_the_end(tmp_path):
    for word in (b"a", b"b"):
        handle = plain.appending(tmp_path / "log")
        os.write(handle, word)
        os.close(handle)
    assert (tmp_path / "log").read_bytes() == b"ab"


def test_names_that_no_system_takes_are_no_files():
    assert not plain.is_file(Path("x" * 5000)) and not plain.is_file(Path("a\0b"))


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert plain.sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    assert plain.sha256_if_readable(tmp_path / "file") == plain.sha256(tmp_path / "file")
    assert plain.sha256_if_readable(tmp_path / "absent") == plain.sha256_if_readable(tmp_path) == ""
    with pytest.raises(FileNotFoundError):
        plain.sha256(tmp_path / "absent")
