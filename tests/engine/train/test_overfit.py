"""The honest smoke test of network, loss and label path together: trained on one phantom, a 3D recipe learns it by heart."""

import pytest

from brainseg_engine.core import device
from brainseg_engine.core.labels import Region
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.phantom import phantom_study, write_study
from brainseg_engine.recipe import load_recipe
from brainseg_engine.scores.scorer import score_case
from brainseg_engine.train import TrainOptions, train

SHAPE = (96, 112, 90)
PLAIN = [
    "augmentation.flip=0", "augmentation.affine=0", "augmentation.intensity=0", "augmentation.gamma=0",
    "augmentation.bias_field=0", "augmentation.noise=0", "augmentation.blur=0", "augmentation.artefacts.probability=0",
    "augmentation.acquisition.thick=0", "augmentation.acquisition.cut=0", "augmentation.acquisition.missing=0",
    "augmentation.acquisition.moved=0", "augmentation.acquisition.quantised=0", "augmentation.acquisition.stripped=0",
    "augmentation.dose=0", "augmentation.transplant=0", "window.policy=patch", "window.foreground=0.9",
    "postprocess.min_component_ml={}", "postprocess.thresholds={}", "preprocess.spacing_mm=0", "training.batch_size=1",
    "training.ema_decay=0.9", "training.validate_every_steps=100000", "schedule.name=cosine", "schedule.warmup_steps=5",
    "schedule.floor=0.05",
]  # fmt: skip
# name → (steps, what is reduced); bfloat16 where it is several times as fast on processors that have it
REDUCED = {
    "attention_unet": (300, ["network.channels=[8, 16, 32]", "window.size=[64, 64, 64]", "optimiser.learning_rate=1e-2",
                             "training.precision=bf16-mixed"]),
    # folded voxels want several times the steps for the same Dice on thin enhancing rims
    "baseline": (400, ["network.fold=1", "network.blocks_down=[1, 1, 1]", "network.blocks_up=[1, 1]",
                       "window.size=[48, 48, 48]", "optimiser.learning_rate=5e-3", "training.precision=bf16-mixed"]),
    # its batch normalisation follows slowly (momentum 0.01), so that use lags training by hundreds of steps
    "efficientnet_graft": (400, ["network.depth_strides=[2, 2, 2]", "network.dropout=0", "network.decoder_dropout=0",
                                 "window.size=[64, 64, 24]", "optimiser.learning_rate=2e-3",
                                 "training.precision=bf16-mixed"]),
    "myronenko2018": (400, ["network.init_filters=16", "network.blocks_down=[1, 1, 1]", "network.dropout=0",
                            "window.size=[48, 48, 48]", "optimiser.learning_rate=2e-3",
                            "training.precision=bf16-mixed"]),
}  # fmt: skip


@pytest.mark.skipif(
    device.imitates("bf16-mixed", "cpu"), reason="takes a quarter of an hour on a processor without AVX-512"
)
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
        TrainOptions(tmp_path / "data", split, tmp_path / "run", steps=steps, device="cpu", fold="all"),
        lambda e: None,
    )
    labels = Predictor(tmp_path / "run/model.safetensors", "cpu").predict(study).segmentation.labels
    scores = score_case(labels, study.segmentation.labels, study.reference.grid, hd95=False)
    assert {r: s.dice for r, s in scores.items() if s.dice < 0.95} == {}, {r: s.dice for r, s in scores.items()}
    assert set(scores) == set(Region)
