"""The run folder: one process at a time, whole states or none, and no run lost by mistake."""

import os
import subprocess
import sys

import pytest
import torch

from brainseg_engine.core.errors import OutputError, TrainingError
from brainseg_engine.core.events import EpochDone
from brainseg_engine.runs import STATE_FORMAT, RunFolder, load_state, pack, save_state, unpack

HOLD = """
import sys, time
from pathlib import Path
from brainseg_engine.runs import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_process_at_a_time(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline().strip() == "held"
            with pytest.raises(TrainingError, match=f"process {holder.pid} is already training"), \
                 RunFolder(tmp_path).lock():  # fmt: skip
                pytest.fail("two hold it")
        finally:
            holder.kill()
    with RunFolder(tmp_path).lock():  # the lock of a killed process holds nobody up
        assert (tmp_path / "lock").read_text() == str(os.getpid())


@pytest.mark.parametrize("text", ["", "4194303", "own", "nonsense"])
def test_a_file_left_behind_holds_nobody_up(text, tmp_path):
    (tmp_path / "lock").write_text(str(os.getpid()) if text == "own" else text)
    with RunFolder(tmp_path).lock():
        pass
    with RunFolder(tmp_path).lock():
        pass


def test_a_place_that_takes_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match="file"), RunFolder(out).lock():
            pytest.fail("locked a file")


def network():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    return net, torch.optim.AdamW(net.parameters(), lr=0.1)


@pytest.mark.parametrize("steps", [0, 2])
def test_a_state_comes_back_whole(steps, tiny_recipe, tmp_path):
    net, optimiser = network()
    for _ in range(steps):
        net(torch.ones(1, 3)).sum().backward()
        optimiser.step()
    ema = {k: v + 1 for k, v in net.state_dict().items()}
    path = tmp_path / "last.safetensors"
    save_state(path, pack(net, ema, optimiser), {"step": steps}, tiny_recipe)
    tensors, facts, recipe = load_state(path)
    assert (facts, recipe) == ({"step": steps}, tiny_recipe)
    other, fresh = network()
    torch.manual_seed(5)
    averaged = unpack(tensors, other, fresh)
    assert all(torch.equal(averaged[k], v) for k, v in ema.items())
    again = pack(other, averaged, fresh)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[k], v) for k, v in tensors.items())


def test_a_damaged_state_is_reported(tiny_recipe, tmp_path):
    path = tmp_path / "last.safetensors"
    net, optimiser = network()
    save_state(path, pack(net, {}, optimiser), {}, tiny_recipe)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Exception, match=r"last\.safetensors") as e:
        load_state(path)
    assert type(e.value).__name__ in {"CheckpointError", "TrainingError"}
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path, metadata={"format": STATE_FORMAT})
    with pytest.raises(TrainingError, match="damaged or from another version"):
        load_state(path)


def test_rows_after_the_state_are_dropped_and_a_damaged_row_does_no_harm(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (25, 50, 75):
        folder.record(EpochDone(0, step, 0.5, 1e-3))
    with folder.metrics.open("a") as f:
        f.write("1,1")  # a row cut short
    folder.cut_back(50)
    assert [line.split(",")[1] for line in folder.metrics.read_text().splitlines()] == ["step", "25", "50", "1"]


def test_cases_that_cannot_be_compared_are_refused(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "last.safetensors").write_bytes(b"x")
    with pytest.raises(TrainingError, match=r"run\.json cannot be read"):
        folder.earlier({"train": ["a"]}, resume=True)
    (tmp_path / "run.json").write_text('{"train": ["a"], "validation": ["b"], "more": 1}')
    assert folder.earlier({"train": ["a"], "validation": ["b"]}, resume=True)["more"] == 1
    with pytest.raises(TrainingError, match="other validation cases"):
        folder.earlier({"train": ["a"], "validation": ["c"]}, resume=True)
