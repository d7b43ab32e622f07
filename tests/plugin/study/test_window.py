"""A model of slices in a real napari window: trained, listed, and its answer a volume on the study's own grid."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study, write_cohort
from helpers.window import Window
from qtpy.QtWidgets import QComboBox

from brainseg_engine.recipe import load_recipe
from brainseg_engine.scores.overlap import dice
from brainseg_engine.train import TrainOptions, train
from napari_brainseg.display import layers

pytestmark = [pytest.mark.window, pytest.mark.slow]


@pytest.fixture
def window(qtbot, make_napari_viewer, own_home, tmp_path):
    recipe = load_recipe("kermi2018", [
        "network.width=8", "network.levels=3", "window.size=[24, 24]", "optimiser.learning_rate=5e-3",
        "training.validate_every_steps=30", "training.batch_size=8",
    ])  # fmt: skip
    data, split = write_cohort(tmp_path)
    train(
        recipe,
        TrainOptions(data, split, tmp_path / "run", steps=60, device="cpu", seed=0, name="slices"),
        lambda _: None,
    )
    (own_home / "models").mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / "model.safetensors").rename(own_home / "models" / "slices.safetensors")
    made = Window(qtbot, make_napari_viewer(show=True))
    yield made
    made.app.close()


def test_a_model_of_slices_is_listed_and_gives_a_volume_on_the_studys_grid(window, tmp_path, monkeypatch):
    affine = np.diag([1.0, -1.0, 2.0, 1.0])
    study = make_study(3, shape=(26, 34, 20), affine=affine, id="A")
    window.open(monkeypatch, write(study, tmp_path, mask=False))
    box = window.widget("model")
    assert isinstance(box, QComboBox)
    box.setCurrentIndex(box.findData("slices"))
    box.activated.emit(box.currentIndex())
    window.wait(lambda: window.session.model.name == "slices")
    window.press("segment")
    window.wait(lambda: window.session.job is None, 200)
    window.wait(lambda: window.session.measures is not None)
    assert window.session.message.kind.value == "good", window.session.message.text
    assert "slices" in window.session.message.text
    layer = window.app.context.labels
    labels, grid = layers.labels_of(layer), layers.layer_info(layer).grid
    assert grid.same_as(study.reference.grid) and labels.shape == study.reference.grid.shape
    reference = layers.image_layers(window.viewer)[study.reference.modality]
    np.testing.assert_array_equal(layer.extent.world, reference.extent.world)
    slices = (labels > 0).any(axis=(0, 1))
    assert slices.sum() > 3
    assert dice(labels > 0, study.segmentation.labels > 0) > 0.5  # no slice is upside down or out of place
    window.press("plane_3d")
    window.wait(
        lambda: not window.app.features.regions.surfaces.busy and "WT" in window.app.features.regions.surfaces.surfaces
    )
