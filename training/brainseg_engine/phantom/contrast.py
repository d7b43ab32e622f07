"""From tissue to the four modalities: contrasts, texture, bias field, resolution, noise, and the scanner's scale.

Contrasts are z-scores (units of the brain's own standard deviation), set by what glioma studies in the BraTS space show
on average; every case departs from them at random, by about as much as real cases differ from each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Modality
from brainseg_engine.phantom.anatomy import Anatomy, Head
from brainseg_engine.phantom.fields import Field
from brainseg_engine.phantom.tumour import shares

MODALITIES = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)

Row = tuple[float, float, float, float]
"""T1, T1ce, T2, FLAIR."""

MEAN: Mapping[str, Row] = {
    "csf": (-2.9, -2.2, 3.4, -2.9),
    "grey": (-0.15, -0.10, 0.05, 0.25),
    "white": (0.75, 0.40, -0.50, -0.10),
    "vessel": (-0.6, 4.2, -0.2, -0.8),
    "choroid": (-0.8, 2.0, 1.4, 0.4),
    "ED": (-0.2, -0.4, 1.75, 2.0),
    "NCR": (-1.0, -0.95, 3.0, 1.9),
    "ET": (-0.35, 2.0, 1.5, 1.9),
}
SPREAD: Mapping[str, Row] = {
    "csf": (0.2, 0.3, 0.5, 0.35),
    "grey": (0.10, 0.10, 0.12, 0.20),
    "white": (0.10, 0.12, 0.12, 0.20),
    "vessel": (0.4, 0.8, 0.4, 0.4),
    "choroid": (0.4, 0.6, 0.4, 0.4),
    "ED": (0.25, 0.25, 0.35, 0.40),
    "NCR": (0.40, 0.35, 0.50, 0.80),
    "ET": (0.35, 0.60, 0.40, 0.60),
}
ROUGH: Row = (0.35, 0.40, 0.55, 0.65)
"""Standard deviation of the texture inside a tumour."""

OFFSET: Mapping[Modality, tuple[float, float]] = {
    Modality.T1: (3.5, 4.3),
    Modality.T1CE: (3.0, 4.1),
    Modality.T2: (2.2, 3.1),
    Modality.FLAIR: (2.8, 3.4),
}
"""Mean over standard deviation of a brain: what is added to a z-score before it is scaled to intensities."""


def contrasts(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """This case's z-score of every tissue in every modality (4,). Orders that define a tissue always hold."""
    table = {
        tissue: (np.array(mean) + np.array(SPREAD[tissue]) * np.clip(rng.standard_normal(4), -1.8, 1.8)).astype(
            np.float32
        )
        for tissue, mean in MEAN.items()
    }
    _, t1ce, t2, flair = range(len(MODALITIES))
    table["ET"][t1ce] = max(table["ET"][t1ce], table["white"][t1ce] + 1.1)
    table["ED"][flair] = max(table["ED"][flair], table["grey"][flair] + 1.0)
    table["ED"][t2] = max(table["ED"][t2], table["grey"][t2] + 1.3)
    return table


def images(
    rng: np.random.Generator, head: Head, anatomy: Anatomy, labels: LabelArray
) -> dict[Modality, NDArray[np.int16]]:
    """Modality → int16 intensities (X, Y, Z), 0 outside the brain and at least 1 inside."""
    table = contrasts(rng)
    tumour = {label.name: share for label, share in shares(labels).items()}
    # Oedema thins out: its share varies, the rest stays healthy tissue.
    tumour["ED"] = tumour["ED"] * np.clip(0.95 + 0.16 * head.noise(rng, 18.0), 0.55, 1.1)
    taken = np.clip(sum(tumour.values()), 0, 1)
    healthy = {"csf": anatomy.csf, "grey": anatomy.grey, "white": anatomy.white}
    textures = [head.noise(rng, w) for w in (8.0, 11.0, 15.0, 22.0)]
    caps = np.exp(-np.clip(anatomy.ventricle, 0, None) / 2.5) * anatomy.white * np.float32(rng.uniform(0, 1.2))
    out = {}
    for i, modality in enumerate(MODALITIES):
        z = sum(share * table[tissue][i] for tissue, share in healthy.items())
        z += anatomy.choroid * (table["choroid"][i] - table["csf"][i])
        z += anatomy.vessel * (table["vessel"][i] - z)
        if modality is Modality.FLAIR:
            z += caps
        z *= 1 - taken
        weights = rng.standard_normal(4)
        weights /= np.linalg.norm(weights)
        mixture = sum(np.float32(w) * t for w, t in zip(weights, textures, strict=True))
        for tissue, share in tumour.items():
            rough = np.float32(0.7 if tissue == "ET" and modality is Modality.T1CE else ROUGH[i])
            z += share * (table[tissue][i] + rough * mixture)
        z += np.float32(0.12) * (1 - taken) * mixture
        out[modality] = _acquired(rng, head, z, anatomy.brain, modality)
    return out


def _acquired(
    rng: np.random.Generator, head: Head, z: Field, brain: NDArray[np.bool_], modality: Modality
) -> NDArray[np.int16]:
    """A z-score image as a scanner and its post-processing would store it."""
    from scipy.ndimage import gaussian_filter

    offset = np.float32(rng.uniform(*OFFSET[modality]))
    step = np.float32(head.box.step)
    thick = float(rng.uniform(0.3, 1.3)) / step  # slices were thicker than 1 mm, and were interpolated
    fine = float(rng.uniform(0.35, 0.6)) / step
    image = gaussian_filter(np.clip(z + offset, 0.05, None), (fine, fine, thick), truncate=2.5)
    bias = np.float32(rng.uniform(0.03, 0.10))
    image *= np.exp(bias * head.noise(rng, 120.0))
    level = np.float32(rng.uniform(0.06, 0.16))
    real, imaginary = (rng.standard_normal(image.shape, dtype=np.float32) * level for _ in range(2))
    # Resampling to 1 mm has smoothed the noise a little along the slices.
    real[:, :, 1:] = np.float32(0.8) * real[:, :, 1:] + np.float32(0.6) * real[:, :, :-1]
    image = np.hypot(image + real, imaginary)
    scale = float(np.clip(420 * np.exp(0.6 * rng.standard_normal()), 120, 2500)) / float(offset)
    stored = np.clip(np.rint(image * np.float32(scale)), 1, 32767).astype(np.int16)
    return np.where(brain, stored, np.int16(0))
