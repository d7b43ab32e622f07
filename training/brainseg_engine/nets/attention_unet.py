"""3D Attention U-Net (Oktay 2018, arXiv:1804.03999) as MONAI builds it, which is how fajan-py/BraTS-2020-Segmentation has it."""

from __future__ import annotations

import torch
from torch import nn

from brainseg_engine.nets.sizes import require_multiples
from brainseg_engine.recipe import AttentionUNetConfig


class AttentionUNet(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z); sides must be multiples of 2^(levels − 1)."""

    def __init__(self, in_channels: int, out_channels: int, config: AttentionUNetConfig) -> None:
        super().__init__()
        from monai.networks.nets import AttentionUnet

        self.divisor = config.divisor[0]
        self.body = AttentionUnet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=config.channels,
            strides=(2,) * (len(config.channels) - 1),
            dropout=config.dropout,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        require_multiples(x, self.divisor)
        logits: torch.Tensor = self.body(x)
        return logits
