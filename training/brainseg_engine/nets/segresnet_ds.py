"""SegResNet with deep supervision (MONAI's ``SegResNetDS``, of its Auto3DSeg); the finest of its answers counts."""

from __future__ import annotations

import torch
from torch import nn

from brainseg_engine.nets.sizes import require_multiples
from brainseg_engine.recipe import SegResNetDsConfig


class SegResNetDs(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z); sizes must be multiples of 2^(levels − 1)."""

    def __init__(self, inputs: int, outputs: int, config: SegResNetDsConfig) -> None:
        super().__init__()
        from monai.networks.nets import SegResNetDS

        norm = ("group", {"num_groups": 8}) if config.norm == "group" else (config.norm, {"affine": config.norm_affine})
        self.divisor = config.divisor
        self.body = SegResNetDS(
            in_channels=inputs,
            out_channels=outputs,
            init_filters=config.init_filters,
            blocks_down=config.blocks_down,
            norm=norm,
            dsdepth=config.depth,
            upsample_mode=config.upsample,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        require_multiples(x, self.divisor)
        found: list[torch.Tensor] | torch.Tensor = self.body(x)
        return found if isinstance(found, torch.Tensor) else found[0]
