from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brainseg_engine.core import shared_arrays
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.shared_arrays import ArraySpec, SharedArray

ATTACH = """
import sys, json
from brainseg_engine.core.shared_arrays import SharedArray, ArraySpec
shared = SharedArray.attach(ArraySpec.from_dict(json.loads(sys.argv[1])))
shared.array *= 2
shared.close()
"""


@pytest.fixture(params=["memory", "file"])
def kind(request, monkeypatch, tmp_path):
    monkeypatch.setattr(shared_arrays.tempfile, "tempdir", str(tmp_path))
    if request.param == "file":
        monkeypatch.setattr(shared_arrays, "_fits", lambda nbytes: False)
    return request.param


def other_process(code: str, spec: ArraySpec) -> subprocess.CompletedProcess[str]:
    import json

    argv = [sys.executable, "-c", code, json.dumps(spec.to_dict())]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_another_process_writes_into_it_and_leaves_it_to_its_owner(kind):
    before = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    shared = SharedArray.of(before)
    assert shared.spec.kind == kind
    for factor in (2, 4):  # the first process's end must not take the block away
        done = other_process(ATTACH, shared.spec)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # no complaint of a resource tracker
        np.testing.assert_array_equal(shared.array, before * factor)
    spec = shared.spec
    shared.close()
    shared.close()
    with pytest.raises(OSError):
        SharedArray.attach(spec)


def test_a_view_that_lives_on_does_not_stop_the_owner_from_removing_it(kind):
    shared = SharedArray.create((5,), np.uint8)
    view = shared.array[1:]
    spec = shared.spec
    shared.close()
    assert view.sum() == 0
    with pytest.raises(OSError):
        SharedArray.attach(spec)


def test_no_room_is_an_error_in_words(monkeypatch):
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_arrays, "SharedMemory", full)
    with pytest.raises(OutputError, match=r"no room to hand 1 MiB .*No space left"):
        SharedArray.create((1 << 20,), np.uint8)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the size of /dev/shm matters on Linux only")
def test_more_than_the_shared_memory_holds_goes_to_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_arrays.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(
        shared_arrays.shutil, "disk_usage", lambda _: type("Usage", (), {"free": shared_arrays._MARGIN + 100})()
    )
    with SharedArray.create((50,), np.uint8) as small, SharedArray.create((101,), np.uint8) as large:
        assert (small.spec.kind, large.spec.kind) == ("memory", "file")
        assert list(tmp_path.glob("*.share")) == [Path(large.spec.name)]
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_what_dead_processes_left_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_arrays.tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"brainseg-{dead.pid}-x.share").touch()
    kept = [tmp_path / f"brainseg-{os.getpid()}-x.share", tmp_path / "brainseg-notes.share", tmp_path / "other"]
    for path in kept:
        path.touch()
    assert shared_arrays.sweep() == 1
    assert sorted(tmp_path.iterdir()) == sorted(kept)
