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


NNUNET_PLAIN = {"n_conv_per_stage": [1, 1, 1]}
NNUNET_RESIDUAL = {"n_blocks_per_stage": [1, 2, 1]}


def nnunet_plans(*, residual: bool = False, spacing=(1.0, 1.0, 1.0), transpose=(0, 1, 2), patch=(24, 40, 32)) -> dict:
    """Plans of nnU-Net 2.8 with a small network; axes as there: z, y, x, transposed. With a patch of two sides, of its
    configuration ``2d``: ``spacing`` is then two numbers too."""
    d = len(patch)
    called = "3d_fullres" if d == 3 else "2d"
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    arch = {
        "n_stages": 3, "features_per_stage": [8, 16, 24], "conv_op": f"torch.nn.modules.conv.Conv{d}d",
        "kernel_sizes": [k[-d:] for k in ([1, 3, 3], [3, 3, 3], [3, 3, 3])],
        "strides": [s[-d:] for s in ([1, 1, 1], [1, 2, 2], [2, 2, 2])],
        **(NNUNET_RESIDUAL if residual else NNUNET_PLAIN), "n_conv_per_stage_decoder": [1, 1], "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{d}d", "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    resampling = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": f"nnUNetPlans_{called}", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": list(patch), "median_image_size_in_voxels": [44.0, 72.0, 64.0], "spacing": list(spacing),
        "normalization_schemes": ["ZScoreNormalization"] * 4, "use_mask_for_norm": [True, True, False, True],
        "resampling_fn_data": resampling, "resampling_fn_seg": resampling, "resampling_fn_probabilities": resampling,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}", "arch_kwargs": arch,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]},
        "batch_dice": True,
    }  # fmt: skip
    numbers = {
        "max": 1.0,
        "mean": 1.0,
        "median": 1.0,
        "min": 0.0,
        "percentile_00_5": 0.0,
        "percentile_99_5": 1.0,
        "std": 1.0,
    }
    return {
        "dataset_name": "Dataset137_BraTS", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0], "original_median_shape_after_transp": [44, 72, 64],
        "image_reader_writer": "SimpleITKIO", "transpose_forward": list(transpose),
        "transpose_backward": [list(transpose).index(a) for a in range(3)],
        "configurations": {called: configuration}, "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(n): numbers for n in range(4)},
    }  # fmt: skip


def nnunet_dataset(*, regions: bool = True) -> dict:
    """``dataset.json`` with regions as BraTS has them, or classes in the order of the Decathlon."""
    labels = (
        {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
        if regions
        else {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3}
    )
    return {
        "channel_names": {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"}, "labels": labels,
        **({"regions_class_order": [1, 2, 3]} if regions else {}), "numTraining": 3, "file_ending": ".nii.gz",
        "name": "BraTS", "licence": "CC-BY-NC-SA 4.0", "reference": "Menze et al. 2015",
    }  # fmt: skip


def nnunet_trained(folder: Path, plans: dict, dataset: dict, study: Study, folds=("0",)) -> Path:
    """A trained folder, each fold built, trained for a moment and saved by nnU-Net's own trainer."""
    from nnunetv2.inference.data_iterators import PreprocessAdapterFromNpy  # noqa: F401  # nnU-Net is there
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    configuration = next(iter(plans["configurations"]))
    at = folder / f"nnUNetTrainer__nnUNetPlans__{configuration}"
    at.mkdir(parents=True)
    (at / "plans.json").write_text(json.dumps(plans))
    (at / "dataset.json").write_text(json.dumps(dataset))
    for fold in folds:
        torch.manual_seed(int(fold))
        told = {**json.loads(json.dumps(plans)), "continue_training": False}  # the trainer takes it out again
        trainer = nnUNetTrainer(told, configuration, int(fold), dataset, torch.device("cpu"))
        prepared = Path(trainer.preprocessed_dataset_folder)
        prepared.mkdir(parents=True, exist_ok=True)
        (prepared / "case.b2nd").touch()  # it looks at what lies there to choose how to read it
        trainer.initialize()
        image, truth = _nnunet_sample(trainer, study, regions="regions_class_order" in dataset)
        _nnunet_steps(trainer, image, truth)
        trainer.logger.log("mean_fg_dice", np.float64(0.5), 0)
        target = at / f"fold_{fold}"
        target.mkdir()
        trainer.save_checkpoint(str(target / "checkpoint_final.pth"))
    return at


def _nnunet_sample(trainer, study: Study, regions: bool):
    """A patch-sized piece of the study as nnU-Net prepares it: (image, target)."""
    order = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
    data = stacked(study, order).transpose(0, 3, 2, 1)
    labels = study.segmentation.labels.transpose(2, 1, 0)
    values = np.zeros(256, dtype=np.int16)
    values[[1, 2, 3]] = (2, 1, 3)  # canonical NCR, ED, ET → the data set's
    seg = values[labels][None]
    configuration = trainer.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    image, seg, _ = preprocessor.run_case_npy(
        data, seg, {"spacing": [1.0, 1.0, 1.0]}, trainer.plans_manager, configuration, trainer.dataset_json
    )
    sides = [n // 4 * 4 for n in image.shape[1:]]
    image, seg = (a[(slice(None), *(slice(0, s) for s in sides))] for a in (image, seg))
    seg = np.maximum(seg[0], 0)
    groups = ((1, 2, 3), (2, 3), (3,)) if regions else ((0,), (1,), (2,), (3,))
    return torch.from_numpy(image).float(), torch.from_numpy(np.stack([np.isin(seg, g) for g in groups])).float()


def _nnunet_steps(trainer, image, truth, steps: int = 14) -> None:
    """On the piece (C, *spatial), or on its slices as a batch where the network works in two dimensions."""
    optimiser = torch.optim.AdamW(trainer.network.parameters(), lr=3e-3)
    trainer.network.train()
    regions = truth.shape[0] == 3
    weight = torch.tensor([1.0 + 9.0 * (regions or n > 0) for n in range(truth.shape[0])])
    in_slices = len(trainer.configuration_manager.patch_size) == 2
    image, truth = (a.transpose(0, 1) if in_slices else a[None] for a in (image, truth))
    for _ in range(steps):
        optimiser.zero_grad()
        found = trainer.network(image)
        found = found[0] if isinstance(found, list | tuple) else found
        if regions:
            each = weight.view(-1, *[1] * (truth.ndim - 2))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(found, truth, pos_weight=each)
        else:
            loss = torch.nn.functional.cross_entropy(found, truth.argmax(1), weight=weight)
        loss.backward()
        optimiser.step()


def nnunet_predicted(folder: Path, files: list[Path], folds=("0",)):
    """(labels, probabilities) that nnU-Net's own predictor gives for those files, in its axes: z, y, x."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=True, perform_everything_on_device=False,
        device=torch.device("cpu"), verbose=False, verbose_preprocessing=False, allow_tqdm=False,
    )  # fmt: skip
    predictor.initialize_from_trained_model_folder(str(folder), tuple(folds), "checkpoint_final.pth")
    image, properties = SimpleITKIO().read_images([str(f) for f in files])
    return predictor.predict_single_npy_array(image, properties, None, None, True)
