"""Data folders in the layouts that are not one file a series, small, written without the engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.on_disk import SHAPE, affine_of, image, write

CHANNELS = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
LABELS = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}


def write_slices(folder: Path, numbers=(1, 2, 3, 10), size=(6, 9), masks=True, seed: int = 0) -> np.ndarray:
    """Slices of (rows, columns) with masks that have one bright pixel each; gives the pictures (n, rows, columns, 3)."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.random.default_rng(seed).integers(0, 256, (len(numbers), *size, 3)).astype(np.uint8)
    for i, n in enumerate(numbers):
        Image.fromarray(pictures[i]).save(folder / f"{folder.name}_{n}.tif")
        if masks:
            mask = np.zeros(size, np.uint8)
            mask[(n + seed) % size[0], n % size[1]] = 255
            Image.fromarray(mask).save(folder / f"{folder.name}_{n}_mask.tif")
    return pictures


def write_decathlon(
    root: Path, names=("BRATS_001", "BRATS_002"), channels=CHANNELS, labels=LABELS, codes="LPS"
) -> Path:
    """Task01 as published: 4-D images, labels 0 to 3, the description; gives the root."""
    for i, name in enumerate(names):
        data = np.stack([image(10 * i + c) for c in range(4)], axis=-1)
        write(root / "imagesTr" / f"{name}.nii.gz", data, affine_of(codes))
        values = np.random.default_rng(i).integers(0, 4, SHAPE).astype(np.uint8)
        write(root / "labelsTr" / f"{name}.nii.gz", values, affine_of(codes))
    (root / "imagesTr" / "._BRATS_001.nii.gz").write_bytes(b"a Mac was here")
    content = {"name": "BRATS", "tensorImageSize": "4D", "modality": channels, "labels": labels}
    (root / "dataset.json").write_text(json.dumps(content))
    return root
