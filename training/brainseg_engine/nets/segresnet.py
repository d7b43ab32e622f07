"""SegResNet (Myronenko 2018, arXiv:1810.11654) as MONAI builds it, between a fold and an unfold.

The fold (space to depth) moves each r×r×r block of voxels into channels, the unfold (depth to space, Shi et al. 2016,
arXiv:1609.05158) brings the logits back: with r = 2 a whole brain at 1 mm costs what a net on 2 mm images costs, and yet
sees and answers every voxel.
"""

from __future__ import annotations

import torch
from torch import nn

from brainseg_engine.recipe import SegResNetConfig


class FoldedSegResNet(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z); sizes must be multiples of ``fold`` · 2^(levels − 1)."""

    def __init__(self, in_channels: int, out_channels: int, config: SegResNetConfig) -> None:
        super().__init__()
        from monai.networks.nets import SegResNet

        self.fold = config.fold
        self.divisor = config.divisor[0]
        self.body = SegResNet(
            spatial_dims=3,
            init_filters=config.init_filters,
            in_channels=in_channels * config.fold**3,
            out_channels=out_channels * config.fold**3,
            dropout_prob=config.dropout or None,
            blocks_down=config.blocks_down,
            blocks_up=config.blocks_up,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        if any(s % self.divisor for s in x.shape[2:]):
            raise ValueError(f"every side must be a multiple of {self.divisor}, not {tuple(x.shape[2:])}")
        logits: torch.Tensor = self.body(fold(x, self.fold))
        return unfold(logits, self.fold)


def fold(x: torch.Tensor, r: int) -> torch.Tensor:
    """(N, C, X, Y, Z) → (N, C·r³, X/r, Y/r, Z/r)."""
    if r == 1:
        return x
    n, c, a, b, d = x.shape
    x = x.reshape(n, c, a // r, r, b // r, r, d // r, r).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(n, c * r**3, a // r, b // r, d // r)


def unfold(x: torch.Tensor, r: int) -> torch.Tensor:
    """(N, C·r³, X, Y, Z) → (N, C, X·r, Y·r, Z·r), the inverse of :func:`fold`."""
    if r == 1:
        return x
    n, c, a, b, d = x.shape
    x = x.reshape(n, c // r**3, r, r, r, a, b, d).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(n, c // r**3, a * r, b * r, d * r)
