"""A process of its own: its group is not ours, it is found at once, and what it last said is kept."""

import os
import sys
import time

import psutil
import pytest

from brainseg_engine.errors import OutputError
from brainseg_engine.finetune import status_of
from napari_brainseg.jobs.detached import last_words, launch


def wait(ready, seconds=30.0):
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_is_apart_and_found_at_once(tmp_path):
    out = tmp_path / "run"
    process = launch([sys.executable, "-c", "input()\nimport time; time.sleep(60)"], out)
    try:
        status = status_of(out)
        assert status.pid == process.pid != os.getpid() and status.stage == "starting"
        if sys.platform != "win32":
            assert os.getsid(process.pid) == process.pid != os.getsid(0)
            assert os.getpgid(process.pid) != os.getpgid(0)
            assert psutil.Process(process.pid).nice() > psutil.Process().nice()
    finally:
        process.kill()
        process.wait()
    assert status_of(out).state == "killed"


def test_its_last_words_are_kept_and_those_of_an_earlier_one_are_not(tmp_path):
    out = tmp_path / "run"
    for words in ("the first", "the second é"):
        process = launch([sys.executable, "-X", "utf8", "-c", f"print('{words}', flush=True); print(' ')"], out)
        wait(lambda p=process: p.poll() is not None)
        assert last_words(out) == words
        assert status_of(out).state == "killed"
    assert last_words(tmp_path) == ""


def test_a_program_that_is_not_there_is_told_in_a_sentence(tmp_path):
    with pytest.raises(OutputError, match="cannot be started"):
        launch([str(tmp_path / "nowhere")], tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be started"):
        launch([sys.executable, "-c", ""], tmp_path / "file" / "run")
