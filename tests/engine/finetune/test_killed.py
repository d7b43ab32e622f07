"""A fine-tuning that is killed, in mid-epoch, while it writes and while it scores, and resumed ends as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers.marking import SLOW_SAVING
from helpers.small_world import make_world
from safetensors.torch import load_file

from brainseg_engine.finetune import status_of

# the program, leaving a mark while a file is half written and while the mixes are scored
MARKING = (
    SLOW_SAVING
    + """
from brainseg_engine.finetune import guard
choose = guard.choose
def choose_marked(*given):
    (marks / "choosing").touch()
    return choose(*given)
guard.choose = choose_marked
from brainseg_engine.cli import main
main()
"""
)


def command(world, model, out, *program):
    return [
        sys.executable, *program, "finetune", "--model", str(model), "--corrections", str(world / "corrections"), "--anchors",
        str(world / "anchors"), "--epochs", "6", "--rate", "1", "--device", "cpu", "--out", str(out), "--json",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_six_times_equals_never_killed(tmp_path, tiny_model):
    make_world(tmp_path, 3, 3)
    whole, out = tmp_path / "whole", tmp_path / "killed"
    done = subprocess.run(command(tmp_path, tiny_model, whole, "-m", "brainseg_engine"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    script, marks = tmp_path / "marking.py", tmp_path / "marks"
    script.write_text(MARKING)
    marks.mkdir()
    chance, killed_while = random.Random(3), []
    for wanted in ("", "writing", "", "writing", "stepping", "choosing"):
        for mark in marks.iterdir():
            mark.unlink()
        words = [*command(tmp_path, tiny_model, out, str(script), str(marks)), "--resume"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        give_up = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < give_up:
            now = status_of(out)
            if now is not None and now.pid == process.pid and (
                (marks / wanted).exists() if wanted in ("writing", "choosing") else now.stage.startswith("step ") or not wanted
            ):  # fmt: skip
                break
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1 if wanted else 1.5))
        assert process.poll() is None, "it ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert status_of(out) is None or status_of(out).state in ("killed",)
        killed_while += [mark.name for mark in marks.iterdir()]
    assert {"writing", "choosing"} <= set(killed_while)
    resume = ["-m", "brainseg_engine", "finetune", "--resume", "--out", str(out), "--device", "cpu", "--json"]
    done = subprocess.run([sys.executable, *resume], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report, unbroken = json.loads(done.stdout), json.loads((whole / "report.json").read_text())
    for key in ("guard", "held_out", "anchor_scores", "corrections"):
        assert report[key] == unbroken[key]
    for file in ("training/last.safetensors", "model.safetensors"):
        one, two = load_file(whole / file), load_file(out / file)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one)
    assert not list(out.rglob(".part-*"))
