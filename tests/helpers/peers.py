"""Models as other programs make them: built, trained for a moment and saved by the programs' own libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from brainseg_engine.core.study import Modality, Study

BUNDLE_ORDER = (Modality.T1CE, Modality.T1, Modality.T2, Modality.FLAIR)
SWIN_ORDER = (Modality.FLAIR, Modality.T1CE, Modality.T1, Modality.T2)
EXPERTS_REGIONS = ("TC", "WT", "ET")


def targets(study: Study) -> torch.Tensor:
    """(3, X, Y, Z): TC, WT, ET of the study's own mask, as MONAI orders them."""
    labels = study.segmentation.labels
    return torch.from_numpy(np.stack([np.isin(labels, v) for v in ((1, 3), (1, 2, 3), (3,))]).astype(np.float32))


def stacked(study: Study, order) -> np.ndarray:
    """(C, X, Y, Z) float32, as files would be read."""
    return np.stack([study.volumes[m].data for m in order]).astype(np.float32)


def fitted(net: torch.nn.Module, image: torch.Tensor, truth: torch.Tensor, steps: int = 12) -> torch.nn.Module:
    """The network after a few steps on one study: its answers are no noise about 0.5 any more."""
    from monai.losses import DiceLoss

    loss = DiceLoss(sigmoid=True, squared_pred=True, batch=True)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    net.train()
    for _ in range(steps):
        optimiser.zero_grad()
        logits = net(image[None])
        logits = logits[0] if isinstance(logits, list | tuple) else logits
        (
            loss(logits, truth[None]) + torch.nn.functional.binary_cross_entropy_with_logits(logits, truth[None])
        ).backward()
        optimiser.step()
    return net.eval()


def bundle(folder: Path, roi=(48, 56, 32), filters=8, **changes) -> Path:
    """The files of ``brats_mri_segmentation`` with a small network: configs, licence; the weights come from
    :func:`bundle_weights`."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    metadata = {
        "version": "0.5.3", "name": "BraTS MRI segmentation", "task": "Multimodal Brain Tumor segmentation",
        "description": "A pre-trained model for volumetric (3D) segmentation of brain tumor subregions from MRI",
        "copyright": "Copyright (c) MONAI Consortium", "data_source": "BraTS 2018",
        "references": ["Myronenko 2018. https://arxiv.org/abs/1810.11654"],
        "network_data_format": {
            "inputs": {"image": {"num_channels": 4, "channel_def": {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}}},
            "outputs": {"pred": {"num_channels": 3, "channel_def": {
                "0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}}},
        },
    }  # fmt: skip
    inference = {
        "imports": ["$import glob"], "bundle_root": ".", "device": "$torch.device('cpu')", "roi": list(roi),
        "network_def": {"_target_": "SegResNet", "blocks_down": [1, 2], "blocks_up": [1], "init_filters": filters,
                        "in_channels": 4, "out_channels": 3, "dropout_prob": 0.2},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}]},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@roi", "sw_batch_size": 1, "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
             "nearest_interp": False, "to_tensor": True},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
            {"_target_": "Lambdad", "keys": "pred", "func":
             "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"}]},
    }  # fmt: skip
    for key, value in changes.items():
        (metadata if key in metadata else inference)[key] = value
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    (folder / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n")
    return folder


def bundle_parser(folder: Path):
    """MONAI's own reading of the bundle."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    return parser


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Share of voxels with one label, among those where either finds a tumour or lies near one."""
    either = (a > 0) | (b > 0)
    return float((a == b)[either].mean()) if either.any() else 1.0
