"""Random changes of a training case, as tensor operations.

All random numbers of a case come from one generator, which is a function of (seed, epoch, index): the number of workers and
the moment of a resume do not change them.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from brainseg_engine.recipe import Augmentation


def generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The generator of one case in one epoch."""
    g = torch.Generator()
    g.manual_seed(((seed * 1_000_003 + epoch) * 1_000_003 + index) % 2**63)  # torch takes 64 bits
    return g


def augment(
    image: torch.Tensor, labels: torch.Tensor, config: Augmentation, g: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (C, X, Y, Z) float32, zero outside the brain, and labels (X, Y, Z) uint8 → both changed, same shapes."""
    for axis in range(3):
        if _chance(config.flip, g):
            image, labels = image.flip(axis + 1), labels.flip(axis)
    if _chance(config.affine, g):
        image, labels = _affine(image, labels, config, g)
    brain = image != 0
    image = torch.stack([_intensity(c, b, config, g) for c, b in zip(image, brain, strict=True)])
    return image, labels.contiguous()


def _affine(
    image: torch.Tensor, labels: torch.Tensor, config: Augmentation, g: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One rotation about each axis and one isotropic scale about the centre; linear for images, nearest for labels."""
    angles = [math.radians(_uniform(-config.rotation_deg, config.rotation_deg, g)) for _ in range(3)]
    scale = 1 / _uniform(*config.scale, g)
    rotation = torch.eye(3)
    for (i, j), a in zip(((0, 1), (0, 2), (1, 2)), angles, strict=True):
        r = torch.eye(3)
        r[i, i] = r[j, j] = math.cos(a)
        r[i, j], r[j, i] = -math.sin(a), math.sin(a)
        rotation = rotation @ r
    # grid_sample speaks in units of half the side per axis, last axis first
    size = torch.tensor(image.shape[1:], dtype=torch.float32)
    matrix = scale * rotation * size[None, :] / size[:, None]
    theta = torch.zeros(1, 3, 4)
    theta[0, :, :3] = matrix.flip(0, 1)
    grid = F.affine_grid(theta, [1, 1, *image.shape[1:]], align_corners=False)
    moved = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    # interpolation smears the brain's rim into the zeros outside; the mask cuts it where the rim was
    exact = torch.stack([labels.float(), (image != 0).any(dim=0).float()])[None]
    exact = F.grid_sample(exact, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0]
    return moved * exact[1], exact[0].to(labels.dtype)


def _intensity(channel: torch.Tensor, brain: torch.Tensor, config: Augmentation, g: torch.Generator) -> torch.Tensor:
    """Contrast, shift, gamma, bias field, noise and blur of one modality; outside the brain stays 0."""
    if _chance(config.blur, g):
        channel = _blur(channel, _uniform(0.5, 1.0, g))
    if _chance(config.gamma, g):
        low, high = channel.min(), channel.max()
        unit = (channel - low) / (high - low).clamp_min(1e-6)
        channel = unit.pow(_uniform(*config.gamma_range, g)) * (high - low) + low
    if _chance(config.bias_field, g):
        field = torch.randn(1, 1, 3, 3, 3, generator=g) * 0.15
        channel = channel + F.interpolate(field, channel.shape, mode="trilinear", align_corners=True)[0, 0]
    if _chance(config.intensity, g):
        channel = channel * _uniform(*config.contrast, g) + _uniform(-config.shift, config.shift, g)
    if _chance(config.noise, g):
        channel = channel + torch.randn(channel.shape, generator=g) * _uniform(0.0, config.noise_sd, g)
    return channel * brain


def _blur(channel: torch.Tensor, sigma: float) -> torch.Tensor:
    kernel = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    out = channel[None, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[axis + 2], padding[axis] = 5, 2
        out = F.conv3d(out, kernel.view(shape), padding=padding)
    return out[0, 0]


def _uniform(low: float, high: float, g: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=g))


def _chance(p: float, g: torch.Generator) -> bool:
    return float(torch.rand((), generator=g)) < p
