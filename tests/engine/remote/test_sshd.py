"""A real sshd on the loopback address of its own network: what is missing is said, and what is computed is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.small_world import make_world
from helpers.sshd import Sshd

from brainseg_engine import __version__
from brainseg_engine.finetune import anchors, status_of
from brainseg_engine.phantom import phantom_study, write_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sshd(tmp_path_factory) -> Iterator[Sshd]:
    there = Sshd(tmp_path_factory.mktemp("sshd"))
    there.start()
    yield there
    there.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed in (1, 2):
        write_study(phantom_study(seed, (32, 40, 28)), folder)
    return folder


def begin(sshd: Sshd, *args: object) -> subprocess.Popen[str]:
    env = {**os.environ, "BRAINSEG_SSH": sshd.ssh, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "brainseg_engine", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def call(sshd: Sshd, *args: object) -> tuple[int, str]:
    process = begin(sshd, *args)
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


def test_device_check_says_what_is_missing_and_what_to_do(sshd):
    def check(device: str, *words: str) -> None:
        code, said = call(sshd, "device", "check", device)
        said = " ".join(said.split())
        assert code == 7 and all(w in said for w in words) and "Traceback" not in said, said

    check("ssh:gpu1", "no napari-brainseg on gpu1", "pipx install")
    check("ssh:stranger", "host key of stranger is not known yet", "ssh stranger")
    check("ssh:keyless", "accepts none of your keys", "ssh-copy-id keyless")
    check("ssh:off", "No connection to off", "Connection refused")
    check("ssh:-oProxyCommand=touch", "names no machine")
    known = sshd.folder / "known_hosts"
    before = known.read_text()
    known.write_text("gpu1 " + (sshd.folder / "client_key.pub").read_text())
    check("ssh:gpu1", "is another one than before", "ssh-keygen -R gpu1")
    known.write_text(before)
    sshd.install("echo", "'No such command device.'", ">&2;", "exit", "2;")
    check("ssh:gpu1", "is an older version")
    sshd.install()
    code, said = call(sshd, "device", "check", "ssh:gpu1")
    assert code == 0 and "PyTorch" in said and "cores" in said
    (sshd.folder / "half").mkdir()
    (sshd.folder / "half" / "torch.py").write_text("raise ImportError('libtorch_cpu.so is missing')")
    sshd.install("env", f"PYTHONPATH={sshd.folder / 'half'}:$PYTHONPATH", sys.executable, "-m", "brainseg_engine")
    check("ssh:gpu1", "gpu1 has no PyTorch that works", "libtorch_cpu.so is missing", "pip install torch")
    sshd.install()
    elsewhere = sshd.folder / "of_its_own"
    sshd.install(path=elsewhere)
    (sshd.folder / "there" / "napari-brainseg").unlink()
    assert call(sshd, "device", "check", f"ssh:gpu1:{elsewhere}")[0] == 0
    sshd.install()


def test_masks_from_elsewhere_are_those_from_here_also_when_the_line_breaks(sshd, data, tiny_model, tmp_path):
    sshd.install()
    ours = ("predict", data, "--model", tiny_model, "--out")
    assert call(sshd, *ours, tmp_path / "here", "--device", "cpu")[0] == 0
    process = begin(sshd, *ours, tmp_path / "there", "--device", "ssh:gpu1", "-v")
    until = time.monotonic() + 120
    while not any("brainseg_engine.worker" in line for line in sshd.running()):  # the work has begun there
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    sshd.cut()
    sshd.start()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert "broke" in err
    for mask in (tmp_path / "here").glob("*_seg.nii.gz"):
        np.testing.assert_array_equal(
            nib.load(mask).get_fdata(), nib.load(tmp_path / "there" / mask.name).get_fdata(), err_msg=mask.name
        )
    home = sshd.folder / "home_there"
    assert {p.name for p in home.iterdir()} == {"received-models"} and len(list(home.rglob("*.safetensors"))) == 1
    while sshd.running():  # and nothing goes on there
        assert time.monotonic() < until + 120, sshd.running()
        time.sleep(0.05)


def test_an_interrupt_here_ends_the_work_there(sshd, data, tiny_model, tmp_path):
    import signal

    sshd.install()
    process = begin(
        sshd, "predict", data, "--model", tiny_model, "--out", tmp_path / "out", "--device", "ssh:gpu1", "--tta"
    )
    until = time.monotonic() + 120
    while not any("brainseg_engine.worker" in line for line in sshd.running()):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] is not None and process.returncode == 130
    while sshd.running():
        assert time.monotonic() < until + 120, sshd.running()
        time.sleep(0.05)
    assert not list((tmp_path / "out").glob("*_seg.nii.gz"))


def test_what_cannot_be_done_elsewhere_is_refused(sshd, data, tmp_path):
    for more, word in (
        (("--jobs", 2), "--jobs"),
        (("--model", "brats-baseline", "--model", "brats-baseline", "--ensemble"), "--ensemble"),
    ):
        code, said = call(sshd, "predict", data, "--out", tmp_path, "--device", "ssh:gpu1", *more)
        assert code == 3 and word in said and "Leave one of them out" in " ".join(said.split())


def test_a_fine_tuning_goes_on_there_when_the_line_breaks_and_lies_here_in_the_end(sshd, tiny_model, tmp_path):
    sshd.install()
    make_world(tmp_path, corrections=2, anchors=0)
    samples = sshd.folder / "home_there" / "samples" / __version__
    for seed in (
        *anchors.PHANTOMS_REPLAYED,
        *anchors.PHANTOMS_SCORED,
    ):  # found there, they need not be made in full size
        write_study(phantom_study(seed, (24, 28, 20)), samples)
    run, words = tmp_path / "run", ("--corrections", tmp_path / "corrections", "--model", tiny_model, "--epochs", 2)
    process = begin(sshd, "finetune", *words, "--out", run, "--name", "theirs", "--device", "ssh:gpu1")
    until = time.monotonic() + 150
    while not any(" finetune " in line for line in sshd.running()):  # it has begun there
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    sshd.cut(spared="finetune")
    sshd.start()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert "Accepted publickey" in (sshd.folder / "sshd.log").read_text(
        encoding="utf-8"
    )  # on a new connection: that log is new
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert "It was made on gpu1." in report["notes"] and report["model"]["name"] == "theirs"
    assert {"plan.json", "report.md", "split.csv", "model.safetensors"} <= {p.name for p in run.iterdir()}
    assert status_of(run).state == "done" and Path(report["model"]["file"]).is_file()
    assert not list((sshd.folder / "home_there" / "received-runs").iterdir())  # nothing stays there


def test_anchors_go_to_a_fine_tuning_there_and_nothing_of_them_stays(sshd, tiny_model, tmp_path):
    sshd.install()
    _, folder = make_world(tmp_path, corrections=2, anchors=4)
    run, there = tmp_path / "run", sshd.folder / "home_there" / "received-runs"
    words = ("--corrections", tmp_path / "corrections", "--anchors", folder, "--model", tiny_model, "--epochs", 1)
    process = begin(sshd, "finetune", *words, "--out", run, "--name", "anchored", "--device", "ssh:gpu1")
    seen: set[str] = set()
    while process.poll() is None:
        for place, folders, files in os.walk(there):  # which minds no folder that goes meanwhile
            if "anchors" in Path(place).parts:
                seen.update(os.path.relpath(Path(place, name), there) for name in (*folders, *files))
        time.sleep(0.05)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert seen and not any("Anchor1" in path for path in seen)
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert "cases of anchors" in json.dumps(report) and "anchors.csv" in " ".join(report["notes"])
    names = (run / "anchors.csv").read_text(encoding="utf-8")
    assert all(f"Anchor{n}" in names for n in range(100, 104))
    assert not list(there.iterdir())  # nothing stays there
