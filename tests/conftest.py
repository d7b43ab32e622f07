"""What all tests share: where real data may lie, and a study and a model small enough for any machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.small_study import make_study
from hypothesis import settings

from brainseg_engine.core.study import Study

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

# real cases are never part of the repository; tests that need them skip where they are absent
DATA = Path(os.environ.get("BRAINSEG_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real cases."""
    if not (DATA / "brats").is_dir():
        pytest.skip(f"no real cases in {DATA}; name their folder in BRAINSEG_DATA")
    return DATA


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
