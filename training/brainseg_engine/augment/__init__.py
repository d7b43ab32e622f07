"""Random changes of a training sample, as tensor operations on whatever device it is on.

All random numbers of a sample come from one generator, in a fixed order, which is a function of (seed, epoch, index): the
number of workers, the device and the moment of a resume do not change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from brainseg_engine.augment import artefacts, spatial, tensor_forms
from brainseg_engine.augment.acquisition import acquired, stripped
from brainseg_engine.augment.draw import chance, generator, uniform, whole
from brainseg_engine.augment.intensity import change
from brainseg_engine.core.study import Modality
from brainseg_engine.recipe import Artefacts, Augmentation

__all__ = ["augment", "generator"]


def augment(
    image: torch.Tensor,
    labels: torch.Tensor,
    config: Augmentation,
    g: torch.Generator,
    modalities: Sequence[Modality] = tuple(Modality),
    *,
    background: float = 0.0,
    spacing_mm: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (C, X, Y, Z) or (C, Y, X) float32 and labels (X, Y, Z) or (Y, X) uint8 → both changed, same shapes.

    ``modalities`` names the channels; ``background`` is their value outside the brain, which only artefacts change;
    ``spacing_mm``, the side of a voxel, is the unit of movements in mm.
    """
    flat = image.dim() == 3
    if flat:  # one code for both: a slice is a volume of one plane along its first axis
        image, labels = image[:, None], labels[None]
    if config.dose and chance(config.dose, g):
        image = _dose(image, modalities, uniform(*config.dose_range, g))
    flips = spatial.draw_flips(config, flat, g)
    affine = spatial.draw_affine(config, flat, g) if chance(config.affine, g) else None
    intensity = any((config.blur, config.gamma, config.bias_field, config.intensity, config.noise))
    shifted = background != 0 and (affine is not None or intensity)
    if shifted:
        image = torch.where(image == background, 0.0, image)
    if affine is not None:
        image, labels = spatial.move(image, labels, spatial.affine_positions(image.shape[1:], affine, flips))
    elif flips:
        image, labels = image.flip([axis + 1 for axis in flips]), labels.flip(flips)
    image = acquired(image, config.acquisition, g, spacing_mm)
    if config.acquisition.stripped and chance(config.acquisition.stripped, g):
        image, labels = stripped(image, labels, config.acquisition.stripped_mm / spacing_mm, chance(0.5, g), g)
    if intensity:
        image = torch.stack([change(channel, config, g) for channel in image])
    if shifted:
        image = torch.where(image == 0, background, image)
    if config.artefacts.probability and chance(config.artefacts.probability, g):
        image, labels = _spoilt(image, labels, config.artefacts, g, background, spacing_mm)
    return (image[:, 0], labels[0].contiguous()) if flat else (image, labels.contiguous())


def _dose(image: torch.Tensor, modalities: Sequence[Modality], dose: float) -> torch.Tensor:
    """T1ce ← T1 + dose · (T1ce − T1): of two standardised channels, what the contrast agent adds is their difference."""
    plain, enhanced = modalities.index(Modality.T1), modalities.index(Modality.T1CE)
    image = image.clone()
    image[enhanced] = torch.lerp(image[plain], image[enhanced], dose)
    return image


def _spoilt(
    image: torch.Tensor,
    labels: torch.Tensor,
    config: Artefacts,
    g: torch.Generator,
    background: float,
    spacing_mm: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One artefact of the kinds that are wanted, at equal odds."""
    kind = config.kinds[whole(0, len(config.kinds) - 1, g)]
    shape = (image.shape[1], image.shape[2], image.shape[3])
    forms: Any = tensor_forms
    if config.library == "torchio":
        from brainseg_engine.augment import torchio_forms

        forms = torchio_forms
    if background:
        image = image - background
    if kind == "elastic":
        image, labels = forms.deform(image, labels, artefacts.draw_elastic(config, shape, g), spacing_mm)
    else:
        drawn = [artefacts.draw(kind, config, shape, g) for _ in image]
        image = torch.stack([forms.spoil(c, artefact, spacing_mm) for c, artefact in zip(image, drawn, strict=True)])
    return (image + background if background else image), labels
