"""SegResNet (Myronenko 2018, arXiv:1810.11654), weight for weight as in MONAI, between a fold and an unfold.

The fold (space to depth) moves each r×r×r block of voxels into channels, the unfold (depth to space, Shi et al. 2016,
arXiv:1609.05158) brings the logits back: with r = 2 a whole brain at 1 mm costs what a net on 2 mm images costs, and yet
sees and answers every voxel.

Its layers stand here, under MONAI's names: to import MONAI's takes three seconds and 230 MB, more than a study does.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from brainseg_engine.nets.folding import fold, unfold
from brainseg_engine.nets.second_stage import SecondStage
from brainseg_engine.recipe import SegResNetConfig

_GROUPS = 8
OUTSIDE = -20.0
"""The logit of every region where there is no brain: its weights have no say there."""


class FoldedSegResNet(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z); sizes must be multiples of ``fold`` · 2^(levels − 1).

    ``difference``: the numbers of two series, of which the second stage sees the second minus the first. ``without``: name →
    number of each series without which an image (0 there) is answered by weights of its own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        config: SegResNetConfig,
        difference: tuple[int, int] | None = None,
        without: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.fold = config.fold
        self.divisor = config.divisor[0]
        self.norm_over = config.norm_over
        self.channels_last = config.norm_over == "brain"
        """Whether it trains faster in that memory order; torch's own group normalisation is inaccurate there."""
        inner, outer = in_channels * config.fold**3, out_channels * config.fold**3

        def body() -> SegResNet:
            dropout = config.dropout or None
            return SegResNet(inner, outer, config.init_filters, config.blocks_down, config.blocks_up, dropout)

        self.body = body()
        self.lacking = dict(without or {})
        self.without = nn.ModuleDict({name: body().sharing(self.body) for name in self.lacking})
        self.of_all = False
        """Whether every image is answered as one that lacks nothing: for graphs, which cannot depend on what they are shown."""
        stage = config.second_stage
        self.second_stage = None if stage is None else SecondStage(in_channels, out_channels, stage, difference)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        logits = self._first(x)
        return logits if self.second_stage is None else self.second_stage(x, logits)

    def costliest(self, x: torch.Tensor) -> torch.Tensor:
        """A pass over as many voxels that needs as much memory as one can: with tumour in all of a brain."""
        logits = self._first(x)
        everywhere = torch.ones_like
        return logits if self.second_stage is None else self.second_stage(everywhere(x), everywhere(logits))

    def _first(self, x: torch.Tensor) -> torch.Tensor:
        if any(s % self.divisor for s in x.shape[2:]):
            raise ValueError(f"every side must be a multiple of {self.divisor}, not {tuple(x.shape[2:])}")
        if self.of_all or not self.lacking:
            return self._by(self.body, x)
        answers = [self._by(self._answering(one), one) for one in torch.split(x, 1)]
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def _answering(self, x: torch.Tensor) -> nn.Module:
        """Which weights answer an image (1, C, X, Y, Z)."""
        lacks = (name for name, n in self.lacking.items() if not bool(x[:, n].any()))
        name = next(lacks, None)
        return self.body if name is None else self.without[name]

    def _by(self, body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        folded = fold(x, self.fold)
        return unfold(body(folded) if self.norm_over == "image" else self._within(body, folded), self.fold)

    def _within(self, body: Any, x: torch.Tensor) -> torch.Tensor:
        """The body's own layers, with the empty surroundings left out at every scale."""
        mask = (x != 0).any(dim=1, keepdim=True).to(x.dtype)
        x = _times(body.convInit(x), mask)
        if body.dropout_prob is not None:
            x = body.dropout(x)
        kept = []
        for level in body.down_layers:
            step, *blocks = level
            if not isinstance(step, nn.Identity):
                x, mask = step(x), functional.max_pool3d(mask, 2)
                x = _times(x, mask)
            for block in blocks:
                x = _residual(block, x, mask)
            kept.append((x, mask))
        _, mask = kept.pop()
        for sample, blocks in zip(body.up_samples, body.up_layers, strict=True):
            skip, finer = kept.pop()
            squeeze, enlarge = sample
            # linear between what is brain: weights of empty neighbours are shared out among the others
            x = _times(enlarge(_times(squeeze(x), mask)) / enlarge(mask).clamp_min(1e-3), finer) + skip
            mask = finer
            for block in blocks:
                x = _residual(block, x, mask)
        norm, _, last = body.conv_final
        logits: torch.Tensor = last(_activated(norm, x, mask))
        return logits.where(mask > 0, OUTSIDE)


class SegResNet(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z): levels of residual blocks with group normalisation, halved by strided
    convolutions, doubled linearly. MONAI's names and order of making, so that its weights fit and a seed gives the same ones."""

    def __init__(
        self, inner: int, outer: int, filters: int, down: Sequence[int], up: Sequence[int], dropout: float | None
    ) -> None:
        super().__init__()
        self.dropout_prob = dropout
        self.convInit = _convolution(inner, filters)
        self.down_layers, self.up_layers, self.up_samples = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, blocks in enumerate(down):
            width = filters * 2**level
            step = _convolution(width // 2, width, stride=2) if level else nn.Identity()
            self.down_layers.append(nn.Sequential(step, *(_Block(width) for _ in range(blocks))))
        for n, blocks in enumerate(up):
            width = filters * 2 ** (len(up) - n - 1)
            self.up_layers.append(nn.Sequential(*(_Block(width) for _ in range(blocks))))
            enlarge = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
            self.up_samples.append(nn.Sequential(_convolution(2 * width, width, size=1), enlarge))
        last = _convolution(filters, outer, size=1, bias=True)
        self.conv_final = nn.Sequential(nn.GroupNorm(_GROUPS, filters), nn.ReLU(inplace=True), last)
        if dropout is not None:
            self.dropout = nn.Dropout3d(dropout)

    def sharing(self, other: SegResNet) -> SegResNet:
        """Itself, with the other's convolutions in the coarser levels instead of its own: they are kept, and counted, there."""
        levels: Any = zip(self.down_layers, other.down_layers, strict=True)
        for mine, theirs in itertools.islice(levels, 1, None):
            mine[0] = _Borrowed(theirs[0])
            for block, its in zip(mine[1:], theirs[1:], strict=True):
                block.conv1, block.conv2 = _Borrowed(its.conv1), _Borrowed(its.conv2)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits."""
        x = self.convInit(x)
        if self.dropout_prob is not None:
            x = self.dropout(x)
        kept = []
        for level in self.down_layers:
            x = level(x)
            kept.append(x)
        kept.pop()
        for sample, blocks in zip(self.up_samples, self.up_layers, strict=True):
            x = blocks(sample(x) + kept.pop())
        logits: torch.Tensor = self.conv_final(x)
        return logits


class _Borrowed(nn.Module):
    """A module that another network holds."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._held = (module,)  # in a tuple, where torch does not look for weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The module's answer."""
        answer: torch.Tensor = self._held[0](x)
        return answer


class _Block(nn.Module):
    """Normalise, ReLU, convolve, twice; plus its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(_GROUPS, width), nn.GroupNorm(_GROUPS, width)
        self.act = nn.ReLU(inplace=True)
        self.conv1, self.conv2 = _convolution(width, width), _convolution(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the same shape."""
        y = self.conv1(self.act(self.norm1(x)))
        z: torch.Tensor = self.conv2(self.act(self.norm2(y)))
        return x + z


def _convolution(inner: int, outer: int, *, size: int = 3, stride: int = 1, bias: bool = False) -> nn.Sequential:
    made = nn.Conv3d(inner, outer, size, stride, padding=size // 2, bias=bias)
    return nn.Sequential(OrderedDict(conv=made))


def _residual(block: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A block (normalise, ReLU, convolve, twice; plus its input) within the mask."""
    y = _times(block.conv1(_activated(block.norm1, x, mask)), mask)
    return _times(block.conv2(_activated(block.norm2, y, mask)), mask) + x


def _times(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``x * mask``; where no gradient is asked for, in the memory of ``x``, which nobody else has."""
    return x * mask if torch.is_grad_enabled() or x.dtype != mask.dtype else x.mul_(mask)


def _activated(norm: nn.GroupNorm, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Group normalisation (Wu & He 2018, arXiv:1803.08494) by mean and variance of the voxels in the mask, then ReLU.

    ``x`` (N, C, X, Y, Z) is 0 outside of ``mask`` (N, 1, X, Y, Z), and so is the answer. Statistics are in float32. They are
    linear sums that zeros add nothing to: the same brain in a larger array has the same.
    """
    n, c = x.shape[:2]
    of_group = (n, norm.num_groups, c // norm.num_groups)
    voxels = mask.sum(dim=(1, 2, 3, 4), dtype=torch.float32).clamp_min(1.0)[:, None] * of_group[2]
    mean = x.sum(dim=(2, 3, 4), dtype=torch.float32).view(of_group).sum(dim=2) / voxels
    square = x.float().square().sum(dim=(2, 3, 4)).view(of_group).sum(dim=2) / voxels
    scale = torch.rsqrt((square - mean.square()).clamp_min(0) + norm.eps)
    weight = norm.weight.view(1, *of_group[1:]) * scale[..., None]
    bias = norm.bias.view(1, *of_group[1:]) - mean[..., None] * weight
    of_channel = (n, c, 1, 1, 1)
    normal = torch.addcmul(bias.view(of_channel).to(x.dtype), x, weight.view(of_channel).to(x.dtype))
    return _times(functional.relu(normal, inplace=not torch.is_grad_enabled()), mask)
