"""A process of its own: its group is not ours, it is found at once, and what it last said is kept."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.paths import home
from brainseg_engine.finetune import status_of
from napari_brainseg.jobs.detached import LOCK, NICE, last_line, launch


def wait(ready, seconds=30.0):
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_is_apart_and_found_at_once(tmp_path):
    out = tmp_path / "run"
    process = launch([sys.executable, "-c", "import time; time.sleep(60)"], out)
    try:
        status = status_of(out)
        assert status.pid == process.pid != os.getpid() and status.stage == "starting"
        if sys.platform != "win32":
            assert os.getsid(process.pid) == process.pid != os.getsid(0)
            assert os.getpgid(process.pid) != os.getpgid(0)
            assert psutil.Process(process.pid).nice() >= NICE
    finally:
        process.kill()
        process.wait()
    assert status_of(out).state == "killed"


def test_its_last_line_are_kept_and_those_of_an_earlier_one_are_not(tmp_path):
    out = tmp_path / "run"
    for words in ("the first", "the second é"):
        process = launch([sys.executable, "-X", "utf8", "-c", f"print('{words}', flush=True); print(' ')"], out)
        wait(lambda p=process: p.poll() is not None)
        assert last_line(out) == words
        assert status_of(out).state == "killed"
    assert last_line(tmp_path) == ""


def test_a_folder_in_which_another_process_works_is_left_alone(tmp_path, monkeypatch):
    out = tmp_path / "run"
    out.mkdir()
    (out / LOCK).touch()
    (out / "process.log").write_text("its words")
    hold = (
        f"from brainseg_engine.core.locks import held\nwith held(r'{out / LOCK}'):\n print('held', flush=True); input()"
    )
    other = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    monkeypatch.setattr("napari_brainseg.jobs.detached.PATIENCE_S", 0.1)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="Another process"):
            launch([sys.executable, "-c", ""], out)
        assert last_line(out) == "its words" and status_of(out) is None
    finally:
        other.communicate("\n")


def test_no_process_runs_that_the_folder_does_not_tell_of(tmp_path, monkeypatch):
    begun = []

    def refuse(out, pid):
        begun.append(psutil.Process(pid))
        raise OutputError("The disk is full.")

    monkeypatch.setattr("napari_brainseg.jobs.detached.announce", refuse)
    with pytest.raises(OutputError, match="full"):
        launch([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "run")
    assert not begun[0].is_running()


def test_it_knows_the_same_user_folder_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINSEG_HOME", "user")
    assert home() == tmp_path / "user"
    tell = "from brainseg_engine.core.paths import home; print(home(), flush=True)"
    process = launch([sys.executable, "-X", "utf8", "-c", tell], home() / "finetune" / "run")
    process.wait(60)
    assert last_line(home() / "finetune" / "run") == str(home())


def test_a_program_that_is_not_there_is_reported_in_a_sentence(tmp_path):
    with pytest.raises(OutputError, match="cannot be started"):
        launch([str(tmp_path / "nowhere")], tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write into"):
        launch([sys.executable, "-c", ""], tmp_path / "file" / "run")


def test_a_folder_of_others_is_left_as_it_is(tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not of this program"):
        launch([sys.executable, "-c", ""], out)
    assert [p.name for p in out.iterdir()] == ["chapter.txt"]


def test_a_link_in_the_folder_leads_nowhere(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    out = tmp_path / "run"
    out.mkdir()
    (out / "process.log").symlink_to(victim)
    launch([sys.executable, "-c", "print('words')"], out).wait(60)
    assert victim.read_text() == "years of work"
