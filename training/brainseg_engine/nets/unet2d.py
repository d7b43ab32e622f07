"""2D U-Net (Ronneberger 2015, arXiv:1505.04597) of constant width, as giacomodeodato/Brain-MRI-segmentation has it.

Where the usual U-Net doubles its width at each level, this one keeps 32 channels throughout; ``depth`` counts the levels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from brainseg_engine.nets.sizes import require_multiples
from brainseg_engine.recipe import UNet2dConfig


class UNet2d(nn.Module):
    """(N, C, Y, X) → logits (N, K, Y, X); sides must be multiples of 2^(depth − 1)."""

    def __init__(self, in_channels: int, out_channels: int, config: UNet2dConfig) -> None:
        super().__init__()
        width, halvings = config.width, config.depth - 1
        self.divisor = config.divisor[0]
        self.encoder = nn.ModuleList(
            DoubleConvolution(in_channels if i == 0 else width, width) for i in range(halvings)
        )
        self.bottom = DoubleConvolution(width, width)
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, stride=2, bias=False) for _ in range(halvings))
        self.decoder = nn.ModuleList(DoubleConvolution(2 * width, width) for _ in range(halvings))
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, C, Y, X) → logits (N, K, Y, X). Raises ValueError for sizes that do not fit."""
        require_multiples(x, self.divisor)
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat((up(x), skips.pop()), dim=1))
        logits: torch.Tensor = self.head(x)
        return logits


class DoubleConvolution(nn.Module):
    """Twice: 3×3 convolution, batch normalisation, ReLU. (N, i, Y, X) → (N, o, Y, X)."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → features of the same size."""
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


def published_modules(config: UNet2dConfig) -> dict[str, str]:
    """Module in the published checkpoint → module here.

    There the net is one sequence ``layers.N``, in which N counts the pooling layers too.
    """
    halvings = config.depth - 1
    names = {f"layers.{2 * i}": f"encoder.{i}" for i in range(halvings)}
    names[f"layers.{2 * halvings}"] = "bottom"
    for i in range(halvings):
        names[f"layers.{2 * (halvings + i) + 1}"] = f"up.{i}"
        names[f"layers.{2 * (halvings + i) + 2}"] = f"decoder.{i}"
    names[f"layers.{4 * halvings + 1}"] = "head"
    return names
