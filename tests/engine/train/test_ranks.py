"""Two processes on the CPU (gloo) follow one process with the same global batch."""

import csv
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers.small_study import write_cohort
from safetensors.torch import load_file

from brainseg_engine.core.errors import RecipeError
from brainseg_engine.recipe import load_recipe
from brainseg_engine.train import TrainOptions
from brainseg_engine.train.ranks import make_fabric

SETTINGS = (
    "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", "schedule.warmup_steps=2",
    "optimiser.learning_rate=2e-3", "training.batch_size=2", "training.validate_every_steps=25",
)  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), 5)


def train(cohort, out, *more, env=None, prelude=""):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable, *(("-m", "brainseg_engine") if not prelude else (str(prelude),)), "train", "baseline",
        "--data", str(cohort[0]), "--split", str(cohort[1]), "--out", str(out), "--device", "cpu", "--seed", "3",
        *(x for s in SETTINGS for x in ("--set", s)), *more,
    ]  # fmt: skip
    environment = {**os.environ, "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", **(env or {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("The best model is") == 1  # however many processes there are
    return out


def losses(out):
    with (out / "metrics.csv").open() as f:
        return np.array([float(r["loss"]) for r in csv.DictReader(f)])


def difference(a, b):
    one, two = load_file(a / "last.safetensors"), load_file(b / "last.safetensors")
    assert one.keys() == two.keys()
    names = [k for k in one if k.startswith("model/")]
    distance = sum(float((one[k] - two[k]).double().pow(2).sum()) for k in names)
    size = sum(float(one[k].double().pow(2).sum()) for k in names)
    return (distance / size) ** 0.5


# the second process of a run whose gradients are never exchanged
ALONE = """
import sys, torch.distributed as dist
from lightning_fabric.wrappers import _FabricModule
from contextlib import nullcontext
from lightning_fabric import Fabric
def apart(self, module, *optimisers, **more):
    return (module, *optimisers) if optimisers else module
real = Fabric.setup
def setup(self, module, *optimisers, **more):
    before, self._strategy.setup_module = self._strategy.setup_module, lambda m: m
    try:
        return real(self, module, *optimisers, **more)
    finally:
        self._strategy.setup_module = before
Fabric.setup = setup
from brainseg_engine.cli import main
main()
"""


@pytest.mark.slow
def test_two_processes_follow_one(cohort, tmp_path):
    one = train(cohort, tmp_path / "one", "--steps", "50")
    two = train(cohort, tmp_path / "two", "--steps", "50", "--devices", "2")
    assert difference(one, two) < 1e-5
    np.testing.assert_allclose(losses(one), losses(two), rtol=1e-5)


@pytest.mark.slow
def test_so_they_do_where_some_weights_have_no_part_in_a_step(cohort, tmp_path):
    """Those for studies without FLAIR, where each lacks one or two series."""
    settings = ('network.own_weights_without=["flair"]', "augmentation.acquisition.missing=1.0")
    more = ("--steps", "20", *(x for s in settings for x in ("--set", s)))
    one = train(cohort, tmp_path / "one", *more)
    two = train(cohort, tmp_path / "two", *more, "--devices", "2")
    assert difference(one, two) < 1e-5
    np.testing.assert_allclose(losses(one), losses(two), rtol=1e-5)


@pytest.mark.slow
def test_without_the_exchange_of_gradients_they_do_not(cohort, tmp_path):
    """What the test above would see, if the processes did not share their gradients."""
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    one = train(cohort, tmp_path / "one", "--steps", "50")
    apart = train(cohort, tmp_path / "two", "--steps", "50", "--devices", "2", prelude=script)
    assert difference(one, apart) > 1e-3


def test_a_batch_that_cannot_be_shared_is_refused(cohort, tmp_path):
    recipe = load_recipe("baseline", ["training.batch_size=3"])
    with pytest.raises(RecipeError, match=r"3 cannot be shared equally among 2 .*multiple of 2"):
        make_fabric(recipe, TrainOptions(*cohort, tmp_path, device="cpu", devices=2))
