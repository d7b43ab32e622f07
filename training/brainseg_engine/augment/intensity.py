"""Changes of one modality's intensities; outside the brain 0 stays 0."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from brainseg_engine.augment.draw import chance, uniform
from brainseg_engine.recipe import Augmentation


def change(channel: torch.Tensor, config: Augmentation, g: torch.Generator) -> torch.Tensor:
    """(X, Y, Z) → blur, gamma, bias field, contrast and shift, noise, each at its own odds."""
    brain = channel != 0
    if chance(config.blur, g):
        channel = _blur(channel, uniform(0.5, 1.0, g))
    if chance(config.gamma, g):
        low, high = torch.aminmax(channel)
        size = (high - low).clamp_min(1e-6)
        channel = ((channel - low) / size).pow_(uniform(*config.gamma_range, g)).mul_(high - low).add_(low)
    if chance(config.bias_field, g):
        channel = channel + smooth_field(torch.randn(3, 3, 3, generator=g) * 0.15, channel)
    if chance(config.intensity, g):
        contrast = uniform(*config.contrast, g)
        channel = channel * contrast + uniform(-config.shift, config.shift, g)
    if chance(config.noise, g):
        noise = torch.randn(channel.shape, generator=g).to(channel.device)
        channel = channel + noise.mul_(uniform(0.0, config.noise_sd, g))
    return channel * brain


def smooth_field(corners: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(3, 3, 3) values at corners and middles → linear between them, of the shape of ``like``."""
    field = corners.to(like.device)
    for axis, n in enumerate(like.shape):
        rows = F.interpolate(torch.eye(3)[None], n, mode="linear", align_corners=True)[0]  # weights (3, n)
        field = torch.tensordot(field, rows.to(like.device), dims=([axis], [0])).movedim(-1, axis)
    return field


def _blur(channel: torch.Tensor, sigma: float) -> torch.Tensor:
    """Separable Gaussian of five taps, 0 beyond the array: sums of shifted arrays, on a CPU quicker than a convolution."""
    kernel = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / sigma) ** 2)
    middle, near, far = (kernel / kernel.sum())[2:].tolist()
    for axis, n in enumerate(channel.shape):
        if n == 1:
            continue
        out = channel * middle
        for distance, weight in ((1, near), (2, far)):
            if n > distance:
                low, high = channel.narrow(axis, 0, n - distance), channel.narrow(axis, distance, n - distance)
                out.narrow(axis, distance, n - distance).add_(low, alpha=weight)
                out.narrow(axis, 0, n - distance).add_(high, alpha=weight)
        channel = out
    return channel
