"""Swin UNETR as published for BraTS 2021 (MONAI research contributions, ``fold*_f48_ep300_4gpu_dice0_*``): ``model.pt``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.models.importers.bundle import sliding
from brainseg_engine.models.importers.meaning import series_of
from brainseg_engine.models.importers.writing import Foreign, ImportOptions
from brainseg_engine.nets.foreign import read_weights
from brainseg_engine.recipe import parse_recipe

ORDER = ("FLAIR", "T1ce", "T1", "T2")
REGIONS = ("TC", "WT", "ET")
_MARK = "swinViT.patch_embed.proj.weight"


def found_in(folder: Path) -> Path | None:
    """The checkpoint in that folder, where it is the only one."""
    files = sorted(p for pattern in ("*.pt", "*.pth", "*/*.pt") for p in folder.glob(pattern))
    return files[0] if len(files) == 1 and knows(files[0]) else None


def knows(file: Path) -> bool:
    """Whether its weights are called like those of Swin UNETR. Raises CheckpointError for a file that is damaged or unsafe."""
    return _MARK in read_weights(file)


def read(file: Path, source: Path, options: ImportOptions) -> Foreign:
    """The checkpoint as a recipe and weights. Raises CheckpointError for another number of channels or regions."""
    where = f"The checkpoint {source.name}"
    state = read_weights(file)
    features, channels = state[_MARK].shape[:2]
    answers = state["out.conv.conv.weight"].shape[0] if "out.conv.conv.weight" in state else 0
    if channels != len(ORDER) or answers != len(REGIONS):
        raise CheckpointError(
            f"{where} is a Swin UNETR of another task: it takes {channels} channels and gives {answers} answers, not the four "
            "series and three regions of BraTS."
        )
    series = series_of(ORDER, where, options.series)
    tree = {
        "name": "swin_unetr",
        "summary": "Swin UNETR as trained for BraTS 2021.",
        "source": "Hatamizadeh et al. 2022, arXiv:2201.01266",
        "modalities": [m.value for m in series],
        "preprocess": {"orientation": "LPS", "spacing_mm": 1.0, "crop": "none", "normalise": "zscore",
                       "clip_percentiles": [0, 100]},
        "window": sliding([128, 128, 128], {"overlap": 0.6}, where),
        "network": {"name": "swin_unetr", "feature_size": features, "depths": _depths(state), "heads": _heads(state),
                    "second_version": any(k.startswith("swinViT.layers1c.") for k in state)},
        "output": {"kind": "regions", "regions": list(REGIONS)},
        "loss": {"dice": 1.0, "squared": True, "cross_entropy": 0.0},
    }  # fmt: skip
    return Foreign(
        parse_recipe(tree, where),
        {f"body.{k}": v for k, v in state.items()},
        f"Swin UNETR, {source.name}",
        licence="Apache-2.0 (the code it was published with); its data are those of BraTS 2021, with terms of their own",
        citation="Hatamizadeh et al. 2022, Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI "
        "Images, arXiv:2201.01266",
        data="BraTS 2021, four of five folds",
        failures=("It was made for skull-stripped, co-registered series at 1 mm: others are prepared so first.",),
        bytes_of=(file,),
    )


def _depths(state: Mapping[str, torch.Tensor]) -> list[int]:
    """Blocks of each stage."""
    found: dict[int, int] = {}
    for key in state:
        match = re.match(r"swinViT\.layers(\d)\.0\.blocks\.(\d+)\.", key)
        if match:
            stage = int(match[1])
            found[stage] = max(found.get(stage, 0), int(match[2]) + 1)
    return [found[stage] for stage in sorted(found)]


def _heads(state: Mapping[str, torch.Tensor]) -> list[int]:
    """Attention heads of each stage."""
    pattern = re.compile(r"swinViT\.layers(\d)\.0\.blocks\.0\.attn\.relative_position_bias_table")
    tables = {int(m[1]): t.shape[1] for k, t in state.items() if (m := pattern.fullmatch(k))}
    return [tables[stage] for stage in sorted(tables)]
