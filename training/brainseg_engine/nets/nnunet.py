"""U-Nets as nnU-Net v2 plans them (Isensee 2021, doi:10.1038/s41592-020-01008-z), plain or with a residual encoder (2024,
arXiv:2404.09556). Layers are called as there, so that its weights fit by their names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from brainseg_engine.nets.sizes import require_multiples
from brainseg_engine.recipe import NnUNetConfig

SLOPE = 0.01


class Unit(nn.Module):
    """Convolution, instance normalisation and, where ``active``, a leaky ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int] = (1, 1, 1),
        *,
        bias: bool,
        active: bool = True,
    ) -> None:
        super().__init__()
        k, s = (kernel[0], kernel[1], kernel[2]), (stride[0], stride[1], stride[2])
        self.conv = nn.Conv3d(inputs, outputs, k, s, (k[0] // 2, k[1] // 2, k[2] // 2), bias=bias)
        self.norm = nn.InstanceNorm3d(outputs, eps=1e-5, affine=True)
        self.active = active

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, X, Y, Z) → (N, outputs, X/s, Y/s, Z/s)."""
        x = self.norm(self.conv(x))
        return nn.functional.leaky_relu(x, SLOPE) if self.active else x


class Residual(nn.Module):
    """Two units with a short cut around them: pooled where there is a stride, convolved where widths differ (ResNet-D, He
    2019, arXiv:1812.01187)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] = (1, 1, 1), *, bias: bool
    ) -> None:
        super().__init__()
        self.conv1 = Unit(inputs, outputs, kernel, stride, bias=bias)
        self.conv2 = Unit(outputs, outputs, kernel, bias=bias, active=False)
        s = (stride[0], stride[1], stride[2])
        pool: list[nn.Module] = [nn.AvgPool3d(s, s)] if s != (1, 1, 1) else []
        widen = [Unit(inputs, outputs, (1, 1, 1), bias=False, active=False)] if inputs != outputs else []
        self.skip = nn.Sequential(*pool, *widen)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, X, Y, Z) → (N, outputs, X/s, Y/s, Z/s)."""
        return nn.functional.leaky_relu(self.conv2(self.conv1(x)) + self.skip(x), SLOPE)


def in_a_row(
    name: str,
    block: Callable[..., nn.Module],
    n: int,
    inputs: int,
    outputs: int,
    kernel: Sequence[int],
    stride: Sequence[int] = (1, 1, 1),
    *,
    bias: bool,
) -> nn.Sequential:
    """``n`` blocks one after the other, the first with a stride; their weights are below ``name``."""
    first = block(inputs, outputs, kernel, stride, bias=bias)
    rest = (block(outputs, outputs, kernel, bias=bias) for _ in range(n - 1))
    return nn.Sequential(OrderedDict({name: nn.Sequential(first, *rest)}))


units = partial(in_a_row, "convs", Unit)
residuals = partial(in_a_row, "blocks", Residual)


class NnUNetEncoder(nn.Module):
    """(N, C, X, Y, Z) → the maps of each stage, the finest first."""

    def __init__(self, inputs: int, config: NnUNetConfig) -> None:
        super().__init__()
        self.stem: nn.Sequential | None = None
        width = inputs
        if config.encoder == "residual":
            width = config.features[0]
            self.stem = units(1, inputs, width, config.kernels[0], bias=config.bias)
        stages: list[nn.Module] = []
        for n, features, kernel, stride in zip(
            config.blocks, config.features, config.kernels, config.strides, strict=True
        ):
            if config.encoder == "residual":
                stages.append(residuals(n, width, features, kernel, stride, bias=config.bias))
            else:
                stages.append(nn.Sequential(units(n, width, features, kernel, stride, bias=config.bias)))
            width = features
        self.stages = nn.ModuleList(stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps of all stages."""
        if self.stem is not None:
            x = self.stem(x)
        kept = []
        for stage in self.stages:
            x = stage(x)
            kept.append(x)
        return kept


class NnUNetDecoder(nn.Module):
    """The maps of each stage → logits of the finest."""

    def __init__(self, outputs: int, config: NnUNetConfig) -> None:
        super().__init__()
        up, stages, heads = [], [], []
        finer = list(zip(config.features, config.kernels, strict=True))[-2::-1]
        coarser = list(zip(config.features, config.strides, strict=True))[:0:-1]
        for n, (features, kernel), (below, stride) in zip(config.blocks_up, finer, coarser, strict=True):
            s = (stride[0], stride[1], stride[2])
            up.append(nn.ConvTranspose3d(below, features, s, s, bias=config.bias))
            stages.append(units(n, 2 * features, features, kernel, bias=config.bias))
            heads.append(nn.Conv3d(features, outputs, 1))
        self.transpconvs, self.stages = nn.ModuleList(up), nn.ModuleList(stages)
        self.seg_layers = nn.ModuleList(heads)
        """Of every stage: the coarser ones answer in training only."""

    def forward(self, kept: list[torch.Tensor], *, all_stages: bool = False) -> list[torch.Tensor]:
        """Logits, of the finest stage alone or of all, the finest first."""
        x, found = kept[-1], []
        for n, (enlarge, stage, head) in enumerate(zip(self.transpconvs, self.stages, self.seg_layers, strict=True)):
            x = stage(torch.cat((enlarge(x), kept[-2 - n]), dim=1))
            if all_stages or n + 1 == len(self.stages):
                found.append(head(x))
        return found[::-1]


class UNet(nn.Module):
    """One fold: (N, C, X, Y, Z) → logits (N, K, X, Y, Z)."""

    def __init__(self, inputs: int, outputs: int, config: NnUNetConfig) -> None:
        super().__init__()
        self.encoder, self.decoder = NnUNetEncoder(inputs, config), NnUNetDecoder(outputs, config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits."""
        found: torch.Tensor = self.decoder(self.encoder(x))[0]
        return found


class NnUNet(nn.Module):
    """One fold or several, which answer by the mean of their logits."""

    def __init__(self, inputs: int, outputs: int, config: NnUNetConfig) -> None:
        super().__init__()
        self.divisor = config.divisor
        self.members = nn.ModuleList(UNet(inputs, outputs, config) for _ in range(config.members))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        require_multiples(x, self.divisor)
        total: torch.Tensor = self.members[0](x)
        for member in list(self.members)[1:]:
            total = total + member(x)
        return total / len(self.members)
