"""2D residual U-Net of Kermi, Mahmoudi & Khadir 2018 (code: Issam28/Brain-tumor-segmentation), written there in Keras.

Every convolution stands behind its normalisation and activation (He 2016, arXiv:1603.05027). The 2×2 convolutions of
stride 1 are padded at the bottom and at the right alone, as Keras pads what cannot be padded evenly.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from brainseg_engine.nets.keras import batch_norm_2d, glorot_
from brainseg_engine.nets.sizes import require_multiples
from brainseg_engine.recipe import ResidualUNet2dConfig


class ResidualUNet2d(nn.Module):
    """(N, C, Y, X) → logits (N, K, Y, X); sides must be multiples of 2^(levels − 1).

    In training the input gets Gaussian noise from torch's global generator.
    """

    def __init__(self, in_channels: int, out_channels: int, config: ResidualUNet2dConfig) -> None:
        super().__init__()
        self.divisor, self.noise_sd = config.divisor[0], config.noise_sd
        widths = [config.width * 2**i for i in range(config.levels)]
        steps = list(itertools.pairwise(widths))
        self.stem = nn.Conv2d(in_channels, widths[0], 2)
        self.encoder = nn.ModuleList(Encode(w) for w in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        self.bottom = Encode(widths[-1])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 2) for a, b in reversed(steps))
        self.decoder = nn.ModuleList(Decode(2 * a, a) for a, _ in reversed(steps))
        self.head = nn.Sequential(batch_norm_2d(widths[0]), _prelu(widths[0]), nn.Conv2d(widths[0], out_channels, 1))
        glorot_(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        require_multiples(x, self.divisor)
        if self.training and self.noise_sd:
            x = x + self.noise_sd * torch.randn_like(x)
        x = self.stem(_pad(x))
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            x = encode(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for up, decode in zip(self.up, self.decoder, strict=True):
            x = up(_pad(F.interpolate(x, scale_factor=2.0, mode="nearest")))
            x = decode(torch.cat((skips.pop(), x), dim=1))
        logits: torch.Tensor = self.head(x)
        return logits


class Encode(nn.Module):
    """x + two convolutions of it. (N, c, Y, X) → (N, c, Y, X)."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolve(c, c), _convolve(c, c))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features → features of the same size."""
        features: torch.Tensor = self.body(x)
        return x + features


class Decode(nn.Module):
    """A 1×1 convolution of x + two 3×3 ones of it. (N, i, Y, X) → (N, o, Y, X)."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(i, o, 1, bias=False)
        self.body = nn.Sequential(_convolve(i, o), _convolve(o, o))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features → features of the same size."""
        features: torch.Tensor = self.shortcut(x) + self.body(x)
        return features


def _convolve(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(batch_norm_2d(i), _prelu(i), nn.Conv2d(i, o, 3, padding=1))


def _prelu(channels: int) -> nn.PReLU:
    """One slope a channel, which starts at 0: a ReLU."""
    return nn.PReLU(channels, init=0.0)


def _pad(x: torch.Tensor) -> torch.Tensor:
    return F.pad(x, (0, 1, 0, 1))
