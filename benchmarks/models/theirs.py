"""nnU-Net's side: its own planner, preprocessing, trainer and predictor, on the same cases and the same clock."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import budget
import numpy as np
from numpy.typing import NDArray

NUMBER, NAME = 137, "Dataset137_BraTS"
SERIES = {"t1": "_t1|-t1n", "t1ce": "_t1ce|-t1c", "t2": "_t2|-t2w", "flair": "_flair|-t2f"}
"""Series, in nnU-Net's order of them → how its file's name ends, in BraTS up to 2022 and from 2023 on."""
CANONICAL_OF = np.array([0, 2, 1, 3], dtype=np.uint8)
"""nnU-Net's values of BraTS (1 oedema, 2 necrotic core, 3 enhancing) → this package's."""
PROCESSES = "nnUNet_n_proc_DA"
TRAINER = "nnUNetTrainer"
CONFIGURATION = "3d_fullres"


def settle(work: Path) -> None:
    """Its folders below ``work``: to be called before nnU-Net is imported."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(work / name)


def prepare(cases: Mapping[str, Path], work: Path, memory: float) -> None:
    """The data set in its form, fingerprint, plans and preprocessed cases, all by its own defaults but ``memory``: the GB
    that it plans for (8)."""
    os.environ.update({PROCESSES: "1"})
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    _write_dataset(cases, work / "nnUNet_raw" / NAME)
    api.extract_fingerprint_dataset(NUMBER, num_processes=1, check_dataset_integrity=True, clean=False)
    api.plan_experiment_dataset(NUMBER, gpu_memory_target_in_gb=memory)
    api.preprocess_dataset(NUMBER, configurations=(CONFIGURATION,), num_processes=[1], show_progress_bar=False)


def _write_dataset(cases: Mapping[str, Path], at: Path) -> None:
    """As its own converter of BraTS writes it: regions WT, TC, ET; the images are links."""
    import nibabel as nib

    from brainseg_engine.io import load_study

    (at / "imagesTr").mkdir(parents=True, exist_ok=True)
    (at / "labelsTr").mkdir(exist_ok=True)
    values = np.zeros(256, dtype=np.uint8)
    values[CANONICAL_OF] = range(4)
    for case, folder in cases.items():
        study = load_study(folder)
        if study.segmentation is None:
            raise SystemExit(f"{folder} has no mask")
        for n, series in enumerate(SERIES):
            link = at / "imagesTr" / f"{case}_{n:04d}.nii.gz"
            link.unlink(missing_ok=True)
            link.symlink_to(_image(folder, series))
        mask = nib.Nifti1Image(values[study.segmentation.labels], study.reference.grid.affine)
        nib.save(mask, at / "labelsTr" / f"{case}.nii.gz")
    dataset = {
        "channel_names": {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
        "regions_class_order": [1, 2, 3], "numTraining": len(cases), "file_ending": ".nii.gz",
    }  # fmt: skip
    (at / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")


def _image(folder: Path, series: str) -> Path:
    ending = re.compile(rf"({SERIES[series]})\.nii\.gz", re.IGNORECASE)
    return next(p for p in folder.resolve().iterdir() if ending.fullmatch(p.name.removeprefix(folder.name)))


def train(work: Path, minutes: float) -> dict[str, Any]:
    """Its trainer's steps on all training cases; its polynomial learning rate ends when the budget does."""
    os.environ.update({PROCESSES: "0"})  # batches are made in this process, on this clock
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    prepared = work / "nnUNet_preprocessed" / NAME
    plans, dataset = (json.loads((prepared / name).read_text()) for name in ("nnUNetPlans.json", "dataset.json"))
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # what nnU-Net draws from
    trainer = nnUNetTrainer({**plans, "continue_training": False}, CONFIGURATION, "all", dataset, torch.device("cpu"))
    trainer.on_train_start()
    trainer.network.train()

    def step(number: int, part: float) -> float:
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - part) ** 0.9
        return float(trainer.train_step(next(trainer.dataloader_train))["loss"])

    def state() -> dict[str, Any]:
        return {"net": trainer.network.state_dict(), "optimiser": trainer.optimizer.state_dict()}

    def restore(kept: dict[str, Any]) -> None:
        trainer.network.load_state_dict(kept["net"])
        trainer.optimizer.load_state_dict(kept["optimiser"])

    told = budget.train(work / "last.pt", minutes, step, state, restore)
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    chosen = plans["configurations"][CONFIGURATION]
    return {**told, "patch": chosen["patch_size"], "batch": chosen["batch_size"]}


def trained(work: Path) -> Path:
    """The folder that its trainer wrote."""
    return work / "nnUNet_results" / NAME / f"{TRAINER}__nnUNetPlans__{CONFIGURATION}"


class Theirs:
    """nnU-Net's own predictor: its overlap, its Gaussian, and its mirroring where it is wanted."""

    def __init__(self, work: Path, *, mirroring: bool) -> None:
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        at = trained(work)
        self._predictor = nnUNetPredictor(
            use_mirroring=mirroring, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
        )
        self._predictor.initialize_from_trained_model_folder(str(at), ("all",), "checkpoint_final.pth")
        self.megabytes = (at / "fold_all" / "checkpoint_final.pth").stat().st_size / 1e6

    def predict(self, folder: Path) -> NDArray[np.uint8]:
        """Canonical labels (X, Y, Z) on the grid of the study's files."""
        from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

        image, properties = SimpleITKIO().read_images([str(_image(folder, s)) for s in SERIES])
        found = self._predictor.predict_single_npy_array(image, properties, None, None, False)
        return CANONICAL_OF[np.asarray(found).transpose(2, 1, 0)]
