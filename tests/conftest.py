"""What all tests share: where real data may lie, and a study and a model small enough for any machine."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from brainseg_engine.geometry import Grid
from brainseg_engine.labels import Label
from brainseg_engine.study import Modality, Segmentation, Study, Volume

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


def make_study(
    seed: int = 0, shape: tuple[int, int, int] = (28, 32, 24), affine: np.ndarray | None = None, id: str = "Case_1"
) -> Study:
    """A ball of brain with a nested tumour, bright where a real one is; zero outside the brain."""
    rng = np.random.default_rng(seed)
    grid = Grid(shape, np.diag([-1.0, -1.0, 1.0, 1.0]) if affine is None else affine)
    position = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    brain = (position**2).sum(axis=0) < 0.9
    centre = rng.uniform(-0.3, 0.3, size=3)[:, None, None, None]
    distance = np.sqrt(((position - centre) ** 2).sum(axis=0))
    labels = np.zeros(shape, dtype=np.uint8)
    for radius, label in ((0.5, Label.ED), (0.36, Label.ET), (0.2, Label.NCR)):
        labels[distance < radius] = label
    bright = {
        Modality.T1: {Label.NCR: 60, Label.ED: 80, Label.ET: 90},
        Modality.T1CE: {Label.NCR: 60, Label.ED: 85, Label.ET: 250},
        Modality.T2: {Label.NCR: 220, Label.ED: 180, Label.ET: 150},
        Modality.FLAIR: {Label.NCR: 130, Label.ED: 220, Label.ET: 180},
    }
    volumes = {}
    for m, values in bright.items():
        data = rng.normal(100, 8, size=shape)
        for label, value in values.items():
            data[labels == label] += value - 100
        data = np.where(brain, np.clip(data, 1, None), 0).astype(np.float32)
        volumes[m] = Volume(data, grid, m, sha256=f"{m}-{seed}")
    return Study(id, volumes, Segmentation(np.where(brain, labels, 0).astype(np.uint8), grid, "brats2023"))


@pytest.fixture
def study() -> Study:
    """See :func:`make_study`."""
    return make_study()


@pytest.fixture(scope="session")
def tiny_recipe():  # type: ignore[no-untyped-def]
    """A recipe whose network has a few thousand weights."""
    from brainseg_engine.recipe import load_recipe

    return load_recipe("baseline", [
        "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", "schedule.warmup_steps=2",
        "optimiser.learning_rate=5e-3", "training.validate_every_steps=5",
    ])  # fmt: skip


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_recipe) -> Path:  # type: ignore[no-untyped-def]
    """A model file with random weights."""
    import torch

    from brainseg_engine import checkpoint, nets

    torch.manual_seed(0)
    net = nets.build(tiny_recipe)
    card = checkpoint.Card(
        name="tiny", recipe="baseline", modalities=tiny_recipe.modalities, regions=tiny_recipe.output.regions,
        parameters=nets.count_parameters(net),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    checkpoint.save(path, net.state_dict(), card, tiny_recipe)
    return path
