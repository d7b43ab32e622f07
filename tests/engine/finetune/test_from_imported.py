"""Fine-tuning goes on from models of other programs, with their own preparation; licence and limits stay with what it makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import peers
from helpers.small_world import make_world

from brainseg_engine import models
from brainseg_engine.core.errors import TrainingError
from brainseg_engine.finetune import FinetuneOptions
from brainseg_engine.finetune.job import run
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.models import checkpoint
from brainseg_engine.models.importers import ImportOptions, import_foreign
from brainseg_engine.nets.nnunet import UNet
from brainseg_engine.recipe import NnUNetConfig


def monai_bundle(tmp_path):
    from monai.networks.nets import SegResNet

    folder = peers.bundle(tmp_path / "b", roi=(32, 32, 24))
    net = SegResNet(blocks_down=[1, 2], blocks_up=[1], init_filters=8, in_channels=4, out_channels=3, dropout_prob=0.2)
    torch.save(net.state_dict(), folder / "models" / "model.pt")
    return import_foreign(folder, ImportOptions("bundle", licence="CC-BY-NC 4.0"))


def bundle_of_classes(tmp_path):
    from monai.networks.nets import SegResNet

    given = {"blocks_down": [1, 2], "blocks_up": [1], "init_filters": 8, "in_channels": 4, "out_channels": 4}
    names = ("background", "edema", "necrosis", "enhancing")
    series = {str(n): name for n, name in enumerate(("T1c", "T1", "T2", "FLAIR"))}
    folder = peers.bundle(
        tmp_path / "b", roi=(32, 32, 24), network_def={"_target_": "SegResNet", **given},
        network_data_format={"inputs": {"image": {"channel_def": series}},
                             "outputs": {"pred": {"channel_def": {str(n): name for n, name in enumerate(names)}}}},
        postprocessing={"transforms": [{"_target_": "AsDiscreted", "argmax": True}]}, copyright="For research only",
    )  # fmt: skip
    (folder / "LICENSE").unlink()
    torch.save(SegResNet(**given).state_dict(), folder / "models" / "model.pt")
    return import_foreign(folder, ImportOptions("classes", licence="CC-BY-NC 4.0"))


def nnunet(tmp_path, members=1, dimensions=3):
    called = "3d_fullres" if dimensions == 3 else "2d"
    folder = tmp_path / f"T__P__{called}"
    config = NnUNetConfig(
        features=(8, 16, 24), kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)), strides=((1, 1, 1), (2, 2, 1), (2, 2, 2)),
        blocks=(1, 1, 1), blocks_up=(1, 1),
    )  # fmt: skip
    for n in range(members):
        state = {k: v.permute(0, 1, 4, 3, 2) if v.ndim == 5 else v for k, v in UNet(4, 3, config).state_dict().items()}
        if dimensions == 2:
            state = {k: v[:, :, v.shape[2] // 2] if v.ndim == 5 else v for k, v in state.items()}
        (folder / f"fold_{n}").mkdir(parents=True)
        tree = {"network_weights": state, "init_args": {"configuration": called},
                "inference_allowed_mirroring_axes": (0, 1, 2)[:dimensions]}  # fmt: skip
        torch.save(tree, folder / f"fold_{n}" / "checkpoint_final.pth")
    plans = peers.nnunet_plans(patch=(16, 24, 24)[-dimensions:], spacing=(1.2, 1.2, 1.2)[-dimensions:])
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(peers.nnunet_dataset()))
    return import_foreign(folder, ImportOptions("nn"))


def nnunet_2d(tmp_path):
    return nnunet(tmp_path, dimensions=2)


def swin_unetr(tmp_path):
    from monai.networks.nets import SwinUNETR

    net = SwinUNETR(in_channels=4, out_channels=3, feature_size=12)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "model.pt")
    small = ("window.size=[64, 64, 64]",)
    return import_foreign(tmp_path / "model.pt", ImportOptions("swin", settings=small, licence="CC-BY-NC 4.0"))


@pytest.mark.slow
@pytest.mark.parametrize("make", [monai_bundle, bundle_of_classes, nnunet, nnunet_2d, swin_unetr])
def test_training_goes_on_from_it(make, tmp_path):
    torch.manual_seed(0)
    base = make(tmp_path)
    store, anchors = make_world(tmp_path, corrections=4, anchors=2)
    report = run(FinetuneOptions(tmp_path / "run", str(base), store.path, anchors, epochs=2, rate=1.0, device="cpu"))
    before, after = checkpoint.load(base), checkpoint.load(tmp_path / "run" / "model.safetensors")
    assert after.recipe.preprocess == before.recipe.preprocess and after.recipe.plans == before.recipe.plans
    assert after.card.terms == before.card.terms != "" and after.card.licence == before.card.licence
    assert report["held_out"]["after"]["mean"].keys() == {"WT", "TC", "ET"}
    trained = json.loads((tmp_path / "run" / "report.json").read_text())["guard"]["alpha"]
    moved = any(not torch.equal(v, after.state[k]) for k, v in before.state.items())
    assert moved == (trained > 0)
    from brainseg_engine.io import load_study

    study = load_study(next((tmp_path / "anchors").iterdir()))
    found = Predictor(models.find(report["model"]["name"]) if moved else base, "cpu").predict(study)
    assert found.segmentation.labels.shape == study.reference.grid.shape and found.segmentation.labels.dtype == np.uint8


def test_several_folds_in_one_are_not_trained(tmp_path):
    base = nnunet(tmp_path, members=2)
    store, anchors = make_world(tmp_path, corrections=1, anchors=1)
    with pytest.raises(TrainingError, match="Import one of them"):
        run(FinetuneOptions(tmp_path / "run", str(base), store.path, anchors, epochs=1, device="cpu"))
