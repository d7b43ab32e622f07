"""Killed at any moment and resumed, a training ends as one that never was: the same weights, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers.marking import SLOW_SAVING
from helpers.small_study import write_cohort
from safetensors.torch import load_file

STEPS = 60
# the program, leaving a mark while it validates and while a checkpoint is half written
MARKING = (
    SLOW_SAVING
    + """
from brainseg_engine.train import validation
validate = validation.validate
def validate_marked(*given):
    (marks / "validating").touch()
    try:
        return validate(*given)
    finally:
        (marks / "validating").unlink()
validation.validate = validate_marked
from brainseg_engine.cli import main
main()
"""
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def command(cohort, out, *program):
    return [
        sys.executable, *program, "train", "baseline", "--data", str(cohort[0]), "--split", str(cohort[1]), "--out",
        str(out), "--steps", str(STEPS), "--device", "cpu", "--workers", "2",
        *(x for s in (
            "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", "schedule.warmup_steps=2",
            "optimiser.learning_rate=5e-3", "training.validate_every_steps=5", "network.dropout=0.2",
        ) for x in ("--set", s)),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_ten_times_equals_never_killed(cohort, tmp_path):
    done = subprocess.run(command(cohort, tmp_path / "whole", "-m", "brainseg_engine"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    script, marks, out = tmp_path / "marking.py", tmp_path / "marks", tmp_path / "killed"
    script.write_text(MARKING)
    marks.mkdir()
    chance = random.Random(7)
    killed_while = []
    for n in range(10):
        for mark in marks.iterdir():
            mark.unlink()
        wanted = ("writing", "validating", "")[n % 3]
        process = subprocess.Popen([*command(cohort, out, str(script), str(marks)), "--resume"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        metrics = out / "metrics.csv"
        rows = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        give_up = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < give_up:
            begun = metrics.exists() and len(metrics.read_text().splitlines()) > rows - 2
            if begun and (not wanted or (marks / wanted).exists()):
                break
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1 if wanted else 0.5))
        assert process.poll() is None, "it ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)  # its workers too, as a machine that loses power would
        process.wait()
        killed_while += [mark.name for mark in marks.iterdir()] or ["stepping"]
    assert {"writing", "validating"} <= set(killed_while)
    done = subprocess.run([*command(cohort, out, "-m", "brainseg_engine"), "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for file in ("last.safetensors", "model.safetensors"):
        one, two = load_file(tmp_path / "whole" / file), load_file(out / file)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(k.startswith("ema/") for k in load_file(out / "last.safetensors"))
    assert any(k.startswith("optim/exp_avg_sq/") for k in load_file(out / "last.safetensors"))
    assert not list(out.glob(".part-*"))
