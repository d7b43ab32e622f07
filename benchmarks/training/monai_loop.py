"""The other side of the comparison: training patches the way a MONAI tutorial makes them.

Everything that does not change is cached in memory (CacheDataset), the indices of tumour and background for the crop
included; what is random is done by the loader's workers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, DataLoader
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    FgBgToIndicesd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)
from torch.utils.data import RandomSampler

BOTH = ("image", "label")
SUFFIXES = (("-t1n", "-t1c", "-t2w", "-t2f"), ("_t1", "_t1ce", "_t2", "_flair"))


def loader(
    studies: list[Path], side: int, batch_size: int, workers: int, augmentation: Any, samples: int
) -> DataLoader:
    """Batches of patches of ``side``³, ``samples`` in all from studies drawn at random; ``augmentation`` is the recipe's
    section, whose odds and ranges are taken."""
    a = augmentation
    size = (side, side, side)
    fixed = [
        LoadImaged(BOTH),
        EnsureChannelFirstd(BOTH),
        Orientationd(BOTH, axcodes="RAS", labels=None),
        CropForegroundd(BOTH, source_key="image", margin=2, allow_smaller=True),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
        SpatialPadd(BOTH, size),
        FgBgToIndicesd("label", image_key="image"),
    ]
    random = [
        RandCropByPosNegLabeld(
            BOTH, "label", size, pos=1, neg=1, num_samples=1, fg_indices_key="label_fg_indices",
            bg_indices_key="label_bg_indices",
        ),
        *(RandFlipd(BOTH, prob=a.flip, spatial_axis=axis) for axis in range(3)),
        RandAffined(
            BOTH, prob=a.affine, rotate_range=[math.radians(a.rotation_deg)] * 3, scale_range=[a.scale[1] - 1] * 3,
            mode=("bilinear", "nearest"), padding_mode="zeros",
        ),
        RandGaussianSmoothd("image", (0.5, 1.0), (0.5, 1.0), (0.5, 1.0), prob=a.blur),
        RandAdjustContrastd("image", prob=a.gamma, gamma=a.gamma_range),
        RandScaleIntensityd("image", factors=a.contrast[1] - 1, prob=a.intensity, channel_wise=True),
        RandShiftIntensityd("image", offsets=a.shift, prob=a.intensity, channel_wise=True),
        RandGaussianNoised("image", prob=a.noise, std=a.noise_sd),
    ]  # fmt: skip
    cached = CacheDataset([files(s) for s in studies], Compose([*fixed, *random]), cache_rate=1.0, progress=False)
    order = RandomSampler(cached, replacement=True, num_samples=samples)
    return DataLoader(cached, batch_size=batch_size, sampler=order, num_workers=workers)


def files(study: Path) -> dict[str, Any]:
    """Of one BraTS folder, in either naming."""
    found = {p.name.removesuffix(".nii.gz").removeprefix(study.name): str(p) for p in study.glob("*.nii.gz")}
    names = next(n for n in SUFFIXES if n[0] in found)
    label = found.get("-seg") or found["_seg"]
    return {"image": [found[n] for n in names], "label": label}
