"""What all tests share: where real data may lie, and a study and a model small enough for any machine."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from helpers.small_study import make_study
from hypothesis import settings

from brainseg_engine.core.study import Study

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

_displays: list[subprocess.Popen[bytes]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Of several workers each has its share of the cores, for itself and the programs it starts, and a display of its own:
    two that compute with all cores are far slower than one after the other, and windows on one screen take the keyboard
    from each other."""
    if not hasattr(config, "workerinput"):
        return
    cores = max(1, (os.cpu_count() or 1) // config.workerinput["workercount"])
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    if shutil.which("Xvfb"):
        ours, theirs = os.pipe()
        command = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
        _displays.append(subprocess.Popen(command, pass_fds=[theirs], stderr=subprocess.DEVNULL))
        os.close(theirs)
        with os.fdopen(ours) as number:
            os.environ["DISPLAY"] = f":{number.readline().strip()}"  # it says which once it is ready
        os.environ.pop("XAUTHORITY", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first (they have a timeout of their own), lest one worker is left alone with them at the end."""
    own = {item: item.get_closest_marker("timeout") for item in items}
    items.sort(key=lambda item: -float(own[item].args[0]) if own[item] else 0.0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What .ci/run has no time for within its hour is left out, and said so: slow tests once ``BRAINSEG_TESTS_UNTIL`` (seconds
    since 1970) has come."""
    until = float(os.environ.get("BRAINSEG_TESTS_UNTIL", "inf"))
    if time.time() > until and item.get_closest_marker("slow"):
        pytest.skip(
            f"NOT RUN, no time left: slow tests were to begin by {time.strftime('%H:%M', time.localtime(until))}"
        )


def pytest_unconfigure() -> None:
    """The display goes with its worker."""
    while _displays:
        _displays[-1].terminate()
        _displays.pop().wait()


# real cases are never part of the repository; tests that need them skip where they are absent
DATA = Path(os.environ.get("BRAINSEG_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real cases."""
    if not (DATA / "brats").is_dir():
        pytest.skip(f"no real cases in {DATA}; name their folder in BRAINSEG_DATA")
    return DATA


@pytest.fixture(autouse=True, scope="module")
def _what_is_loaded_rests() -> None:
    """What stays in memory from one module of tests to the next is no longer looked through for garbage: with torch and
    napari loaded that takes a third of a second each time, and napari does it whenever a layer goes."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk() -> Iterator[None]:
    """What is to outlive a failure of the power is not put to that test here, and thousands of waits are minutes."""
    with patch.object(os, "fsync", os.fstat):  # which refuses what is no open file, too
        yield


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a user's folder of its own."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("BRAINSEG_HOME", str(home))
    return home


@pytest.fixture
def study() -> Study:
    """See :func:`make_study`."""
    return make_study()


@pytest.fixture(scope="session")
def tiny_recipe():  # type: ignore[no-untyped-def]
    """A recipe whose network has a few thousand weights."""
    from brainseg_engine.recipe import load_recipe

    return load_recipe("baseline", [
        "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", "schedule.warmup_steps=2", "may_lack=[]",
        "optimiser.learning_rate=5e-3", "training.validate_every_steps=5",
    ])  # fmt: skip


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_recipe) -> Path:  # type: ignore[no-untyped-def]
    """A model file with random weights."""
    import torch

    from brainseg_engine import nets
    from brainseg_engine.models import checkpoint

    torch.manual_seed(0)
    net = nets.build(tiny_recipe)
    card = checkpoint.Card(
        name="tiny", recipe="baseline", modalities=tiny_recipe.modalities, regions=tiny_recipe.output.regions,
        parameters=nets.count_parameters(net),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    checkpoint.save(path, net.state_dict(), card, tiny_recipe)
    return path
