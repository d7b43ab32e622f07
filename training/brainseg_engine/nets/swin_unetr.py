"""Swin UNETR (Hatamizadeh 2022, arXiv:2201.01266): MONAI's, with sizes checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from brainseg_engine.nets.sizes import require_multiples
from brainseg_engine.recipe import SwinUnetrConfig


class SwinUnetr(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z); sizes must be multiples of 32."""

    def __init__(self, inputs: int, outputs: int, config: SwinUnetrConfig) -> None:
        super().__init__()
        from monai.networks.nets import SwinUNETR

        self.divisor = config.divisor
        with _Rates():
            self.body = SwinUNETR(
                in_channels=inputs,
                out_channels=outputs,
                feature_size=config.feature_size,
                depths=config.depths,
                num_heads=config.heads,
                use_v2=config.second_version,
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        require_multiples(x, self.divisor)
        logits: torch.Tensor = self.body(x)
        return logits


class _Rates(TorchFunctionMode):
    """MONAI takes its drop-out rates out of a tensor, which has to hold numbers even where the network shall hold none."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        settings = dict(kwargs or {})
        if func is torch.linspace:
            settings["device"] = "cpu"
        return func(*args, **settings)
