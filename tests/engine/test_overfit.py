"""The honest smoke test of every network, loss and label path: trained on one phantom, a 3D recipe learns it by heart."""

import pytest

from brainseg_engine.labels import Region
from brainseg_engine.phantom import phantom_study, write_study
from brainseg_engine.predict import Predictor
from brainseg_engine.recipe import load_recipe, recipe_names
from brainseg_engine.score import score_case
from brainseg_engine.train import Options, train

SHAPE = (96, 112, 90)
PLAIN = [
    "augmentation.flip=0", "augmentation.affine=0", "augmentation.intensity=0", "augmentation.gamma=0",
    "augmentation.bias_field=0", "augmentation.noise=0", "augmentation.blur=0", "augmentation.artefacts.probability=0",
    "postprocess.min_component_ml={}", "preprocess.spacing_mm=0", "training.batch_size=1", "training.ema_decay=0.9",
    "training.validate_every_steps=100000", "schedule.name=cosine", "schedule.warmup_steps=5", "schedule.floor=0.05",
]  # fmt: skip
REDUCED = {
    "baseline": (150, ["network.init_filters=16", "network.blocks_down=[1, 1, 1]", "network.blocks_up=[1, 1]",
                       "optimiser.learning_rate=3e-3"]),
    "myronenko2018": (150, ["network.init_filters=8", "network.blocks_down=[1, 1, 1]", "window.size=[48, 48, 48]",
                            "window.foreground=0.8", "network.dropout=0", "optimiser.learning_rate=3e-3"]),
    "attention_unet": (150, ["network.channels=[8, 16, 32]", "optimiser.learning_rate=1e-2"]),
    "efficientnet_graft": (250, ["network.depth_strides=[2, 2, 2]", "network.filters=[8, 8, 16]", "window.size=[64, 64, 24]",
                                 "network.dropout=0", "network.decoder_dropout=0", "window.foreground=0.8",
                                 "optimiser.learning_rate=3e-3"]),
}  # fmt: skip


def test_every_3d_recipe_is_here():
    assert set(REDUCED) == {n for n in recipe_names() if load_recipe(n).network.dimensions == 3}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", REDUCED)
def test_it_learns_one_phantom_by_heart(name, tmp_path):
    steps, settings = REDUCED[name]
    study = phantom_study(11, SHAPE)
    write_study(study, tmp_path / "data")
    split = tmp_path / "split.csv"
    split.write_text(f"case,fold\n{study.id},0\n")
    recipe = load_recipe(name, [*PLAIN, *settings])
    train(
        recipe,
        Options(tmp_path / "data", split, tmp_path / "run", steps=steps, device="cpu", fold="all"),
        lambda e: None,
    )
    labels = Predictor(tmp_path / "run/model.safetensors", "cpu").predict(study).segmentation.labels
    scores = score_case(labels, study.segmentation.labels, study.reference.grid, hd95=False)
    assert {r: s.dice for r, s in scores.items() if s.dice < 0.95} == {}, {r: s.dice for r, s in scores.items()}
    assert set(scores) == set(Region)
