"""Locks between processes: one holder, released with it, and no worse than none where there are none."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import filelock
import pytest

from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.locks import held, is_held

HOLDER = """
import sys
from pathlib import Path
from brainseg_engine.core.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    file = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield file, process
        process.kill()


def test_one_holder_at_a_time_and_a_killed_one_holds_nobody_up(holder):
    file, process = holder
    assert is_held(file)
    with pytest.raises(OutputError, match="Another process"), held(file, patience_s=0.05):
        pytest.fail("two held it")
    process.kill()
    process.wait()
    assert not is_held(file)
    with held(file, patience_s=0.05):
        assert is_held(file)
    assert not is_held(file)


def test_whoever_asks_first_waits_for_the_one_before(holder):
    file, process = holder
    process.stdin.close()
    with held(file):
        assert process.wait() == 0


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_stops_nobody(tmp_path, monkeypatch, caplog, code):
    def no_locks(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(filelock, "lock_descriptor", no_locks)
    monkeypatch.setattr(filelock, "unlock_descriptor", no_locks)
    with held(tmp_path / "lock"), held(tmp_path / "lock", patience_s=0.0):
        pass
    assert "no locks" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["lock"]


def test_a_link_and_a_second_name_are_refused(tmp_path):
    own = tmp_path / "own"
    own.write_text("mine")
    (tmp_path / "link").symlink_to(own)
    os.link(own, tmp_path / "second")
    for name in ("link", "second"):
        with pytest.raises(OutputError, match=name), held(tmp_path / name):
            pytest.fail("locked it")
    assert own.read_text() == "mine"
