"""Trained folders of nnU-Net v2: the answers are those of nnU-Net's own predictor, and what is not known is refused."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers import peers

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.study import Modality
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.models import checkpoint
from brainseg_engine.models.importers import ImportOptions, import_foreign
from brainseg_engine.phantom import phantom_study

ORDER = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
KINDS = {
    "plain, regions": ({}, {}, ("0",)),
    "residual, classes, another spacing, transposed": (
        {"residual": True, "spacing": (1.4, 1.2, 1.1), "transpose": (1, 0, 2), "patch": (32, 24, 40)}, {"regions": False}, ("0",),
    ),
    "in two dimensions": ({"spacing": (1.0, 1.0), "patch": (40, 32)}, {}, ("0",)),
    "in two dimensions, along another axis, another spacing, residual, classes": (
        {"residual": True, "spacing": (1.3, 1.2), "transpose": (2, 0, 1), "patch": (32, 40)}, {"regions": False}, ("0",),
    ),
    "thick slices, two folds": ({"spacing": (3.6, 1.0, 1.0), "patch": (12, 40, 32)}, {}, ("0", "1")),
}  # fmt: skip


@pytest.fixture(scope="module")
def case():
    return phantom_study(1_000_003, (64, 72, 44))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_answers_are_those_of_nnunet(kind, case, tmp_path, monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: see docs/development.md")
    plans, labels, folds = KINDS[kind]
    dataset = peers.nnunet_dataset(**labels)
    folder = peers.nnunet_trained(tmp_path, peers.nnunet_plans(**plans), dataset, case, folds)
    files = []
    for n, m in enumerate(ORDER):
        files.append(tmp_path / f"case_{n:04d}.nii.gz")
        nib.save(nib.Nifti1Image(case.volumes[m].data, case.reference.grid.affine), files[-1])
    theirs, probabilities = peers.nnunet_predicted(folder, files, folds)
    theirs, probabilities = theirs.transpose(2, 1, 0), probabilities.transpose(0, 3, 2, 1)

    found = Predictor(import_foreign(folder, ImportOptions("nn")), "cpu").predict(case, probabilities=True)
    canonical = np.array([0, 2, 1, 3], dtype=np.uint8)[theirs]
    assert (canonical > 0).sum() > 500 and len(np.unique(canonical)) > 2
    assert peers.agreement(found.segmentation.labels, canonical) >= 0.999
    if "regions_class_order" not in dataset:
        probabilities = np.stack([probabilities[1:].sum(0), probabilities[2:].sum(0), probabilities[3]])
    ours = np.stack([found.probabilities[r] for r in ("WT", "TC", "ET")]).astype(np.float32)
    assert np.abs(ours - probabilities).max() < 2e-3  # nnU-Net keeps its sums in half precision
    assert np.abs(ours - probabilities).mean() < 1e-4


def fake(tmp_path, plans=None, dataset=None, weights=None):
    """A trained folder with that in it, its network nobody's."""
    at = tmp_path / "T__P__3d_fullres"
    (at / "fold_0").mkdir(parents=True)
    (at / "plans.json").write_text(json.dumps(plans or peers.nnunet_plans()))
    (at / "dataset.json").write_text(json.dumps(dataset or peers.nnunet_dataset()))
    tree = {"network_weights": weights or {"w": torch.zeros(1)}, "init_args": {"configuration": "3d_fullres"},
            "logging": {"mean_fg_dice": [np.float64(0.5)]}, "inference_allowed_mirroring_axes": (0, 1, 2)}  # fmt: skip
    torch.save(tree, at / "fold_0" / "checkpoint_final.pth")
    return at


def changed(tree, *path, value):
    tree = json.loads(json.dumps(tree))
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return tree


CONFIGURATION = ("configurations", "3d_fullres")
CASCADE = changed(peers.nnunet_plans(), *CONFIGURATION, "previous_stage", value="3d_lowres")
REFUSED = {
    "newer network": ({"plans": changed(peers.nnunet_plans(), *CONFIGURATION, "architecture", "network_class_name",
                                        value="a.b.Primus")}, "Primus.*2.0 to 2.8"),
    "newer layers": ({"plans": changed(peers.nnunet_plans(), *CONFIGURATION, "architecture", "arch_kwargs", "norm_op",
                                       value="torch.nn.LayerNorm")}, "norm_op.*2.0 to 2.8"),
    "newer resampling": ({"plans": changed(peers.nnunet_plans(), *CONFIGURATION, "resampling_fn_data",
                                           value="resample_torch")}, "resample_torch.*2.0 to 2.8"),
    "another preprocessor": ({"plans": changed(peers.nnunet_plans(), *CONFIGURATION, "preprocessor_name", value="OursPlain")},
                             "OursPlain"),
    "two ways of thick slices": ({"plans": changed(peers.nnunet_plans(), *CONFIGURATION, "resampling_fn_probabilities_kwargs",
                                                   "force_separate_z", value=True)}, "force_separate_z"),
    "settings that are none": ({"plans": changed(peers.nnunet_plans(), *CONFIGURATION, "resampling_fn_data_kwargs",
                                                 value="cubic")}, "cubic"),
    "cascade": ({"plans": {**CASCADE, "configurations": {**CASCADE["configurations"], "3d_lowres": {}}}},
                "cascade.*3d_lowres.*answers alone: 3d_lowres"),
    "CT": ({"plans": changed(peers.nnunet_plans(), *CONFIGURATION, "normalization_schemes",
                             value=["CTNormalization"] * 4)}, "CT"),
    "spleen": ({"dataset": {"channel_names": {"0": "CT"}, "labels": {"background": 0, "spleen": 1}}}, "another task.*CT"),
    "other labels": ({"dataset": changed(peers.nnunet_dataset(regions=False), "labels",
                                         value={"background": 0, "liver": 1, "vessel": 2, "cyst": 3})}, "--coding"),
    "channels without names": ({"dataset": changed(peers.nnunet_dataset(), "channel_names",
                                                   value={str(n): "noNorm" for n in range(4)})}, "--series"),
    "one channel": ({"dataset": changed(peers.nnunet_dataset(), "channel_names", value={"0": "Flair"})}, "other series"),
    "channels without numbers": ({"dataset": changed(peers.nnunet_dataset(), "channel_names", value={"a": "T1"})},
                                 "cannot be understood"),
    "labels without numbers": ({"dataset": changed(peers.nnunet_dataset(regions=False), "labels", "edema", value="two")},
                               "cannot be understood"),
    "no patch": ({"plans": changed(peers.nnunet_plans(), *CONFIGURATION, "patch_size", value=None)}, "cannot be understood"),
    "other weights": ({}, "do not fit"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_is_not_is_said_in_words(what, tmp_path):
    change, words = REFUSED[what]
    with pytest.raises(CheckpointError, match=words):
        import_foreign(fake(tmp_path, **change), ImportOptions("m"))


def test_a_fold_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="folds 3; there are: 0"):
        import_foreign(fake(tmp_path), ImportOptions("m", folds=("3",)))


def older():
    """The same network in the plans of nnU-Net 2.0."""
    plans = peers.nnunet_plans()
    configuration = plans["configurations"]["3d_fullres"]
    arch = configuration.pop("architecture")["arch_kwargs"]
    configuration |= {
        "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 8, "unet_max_num_features": 24,
        "n_conv_per_stage_encoder": [1, 1, 1], "n_conv_per_stage_decoder": [1, 1],
        "conv_kernel_sizes": arch["kernel_sizes"], "pool_op_kernel_sizes": arch["strides"],
    }  # fmt: skip
    return plans


def network_weights(members=1):
    from brainseg_engine.nets.nnunet import UNet
    from brainseg_engine.recipe import NnUNetConfig

    config = NnUNetConfig(
        features=(8, 16, 24), kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)), strides=((1, 1, 1), (2, 2, 1), (2, 2, 2)),
        blocks=(1, 1, 1), blocks_up=(1, 1),
    )  # fmt: skip
    state = UNet(4, 3, config).state_dict()
    return {k: v.permute(0, 1, 4, 3, 2) if v.ndim == 5 else v for k, v in state.items()}


def test_plans_of_2023_and_of_now_give_one_network(tmp_path):
    weights = network_weights()
    loaded = [
        checkpoint.load(import_foreign(fake(tmp_path / name, plans, weights=weights), ImportOptions(name)))
        for name, plans in (("old", older()), ("new", peers.nnunet_plans()))
    ]
    assert loaded[0].recipe.network == loaded[1].recipe.network
    assert loaded[0].recipe.window.mirror_axes == ("x", "y", "z") and loaded[0].card.terms
    assert all(torch.equal(v, loaded[1].state[k]) for k, v in loaded[0].state.items())


def test_a_configuration_may_inherit(tmp_path):
    plans = peers.nnunet_plans()
    plans["configurations"]["base"] = plans["configurations"].pop("3d_fullres")
    plans["configurations"]["3d_fullres"] = {"inherits_from": "base", "patch_size": [16, 32, 24]}
    path = import_foreign(fake(tmp_path, plans, weights=network_weights()), ImportOptions("m"))
    assert checkpoint.read_metadata(path)[1].window.size == (24, 32, 16)
