"""Efficient embedding network (Messaoudi et al. 2020, code: Lichtvir/Efficient-embedding-network-for-3D-brain-tumor-…).

A 3D encoder squeezes the depth to three planes and leaves height and width; the planes are the colours of a picture, which a
2D EfficientNet-B0 with a 2D decoder turns into three planes again; a 3D decoder brings the depth back, adding the encoder's
maps. The original is written in Keras; constants and padding follow it.
"""

from __future__ import annotations

import logging
from typing import Self

import torch
from torch import nn
from torch.nn import functional as F

from brainseg_engine.nets import trunk
from brainseg_engine.nets.keras import EPSILON, batch_norm_2d, glorot_
from brainseg_engine.nets.sizes import require_multiples
from brainseg_engine.recipe import GraftConfig

_log = logging.getLogger(__name__)
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of colours within 0…1
_DECODER = (512, 256, 128, 64)


class Graft(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z); x and y multiples of 32, z exactly 3 · product of ``depth_strides``."""

    def __init__(self, in_channels: int, out_channels: int, config: GraftConfig, training: bool = False) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(in_channels, config)
        self.picture_decoder = PictureDecoder(config.decoder_dropout)
        self.decoder = Decoder(out_channels, config)
        glorot_(self)
        self.trunk = trunk.Trunk()
        if training and config.trunk_weights is not None:
            trunk.load_weights(self.trunk, config.trunk_weights)
        elif training:
            _log.info("the EfficientNet-B0 within the network starts from random weights (network.trunk_weights)")
        self.trunk.requires_grad_(not config.freeze_trunk)

    def train(self, mode: bool = True) -> Self:
        """What is frozen stays in evaluation mode."""
        super().train(mode)
        if self.config.freeze_trunk:
            self.trunk.eval()
        if self.config.frozen_batch_norm:
            for m in (*self.trunk.modules(), *self.picture_decoder.modules()):
                if isinstance(m, nn.BatchNorm2d):
                    m.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        depth = self.config.depth
        if x.shape[-1] != depth:
            raise ValueError(f"z must be {depth}, 3 times the product of depth_strides, not {x.shape[-1]}")
        require_multiples(x, (32, 32, depth))
        planes, maps = self.encoder(x)
        picture = planes[:, 0].permute(0, 3, 2, 1)  # (N, 1, X, Y, 3) → (N, 3, Y, X), rows first
        if self.config.image_scaling:
            mean, sd = (picture.new_tensor(v)[:, None, None] for v in (_MEAN, _SD))
            picture = (picture / 255 - mean) / sd
        picture = self.picture_decoder(self.trunk(picture))
        logits: torch.Tensor = self.decoder(picture.permute(0, 3, 2, 1)[:, None], maps)
        return logits


class Encoder(nn.Module):
    """(N, C, X, Y, Z) → planes (N, 1, X, Y, 3), and the maps on the way at each depth."""

    def __init__(self, in_channels: int, config: GraftConfig) -> None:
        super().__init__()
        f = config.filters
        self.stem = nn.Conv3d(in_channels, f[0], 3, padding=1)
        self.dropout = nn.Dropout3d(config.dropout)
        self.blocks = nn.ModuleList(ProjectedBlock(n, n) for n in f)
        self.squeeze = nn.ModuleList(
            Squeeze(i, o, s) for i, o, s in zip(f, (*f[1:], f[2]), config.depth_strides, strict=True)
        )
        self.last = ProjectedBlock(f[2], f[2])
        self.planes = nn.Conv3d(f[2], 1, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Images → planes, and three maps, deepest grid first."""
        x = self.dropout(self.stem(x))
        maps = []
        for block, squeeze in zip(self.blocks, self.squeeze, strict=True):
            x = block(x)
            maps.append(x)
            x = squeeze(x)
        return F.relu(self.planes(self.last(x))), maps


class PictureDecoder(nn.Module):
    """The trunk's five maps → (N, 3, H, W): the U-Net's way up with channel dropout, and no convolution after it joins."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        *skips, channels = trunk.CHANNELS
        steps = []
        for width, skip in zip(_DECODER, reversed(skips), strict=True):
            up = nn.ConvTranspose2d(channels, width, 3, stride=2, bias=False)
            steps.append(nn.Sequential(up, Crop(), batch_norm_2d(width), nn.Dropout2d(dropout), nn.ReLU()))
            channels = width + skip
        self.steps = nn.ModuleList(steps)
        self.last = nn.Sequential(nn.ConvTranspose2d(channels, 3, 3, stride=2), Crop())

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Maps, finest first → a picture."""
        *skips, x = maps
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            x = torch.cat((step(x), skip), dim=1)
        picture: torch.Tensor = self.last(x)
        return picture


class Decoder(nn.Module):
    """Planes (N, 1, X, Y, 3) and the encoder's maps → logits (N, K, X, Y, Z)."""

    def __init__(self, out_channels: int, config: GraftConfig) -> None:
        super().__init__()
        f = config.filters
        self.strides = config.depth_strides
        self.widen = nn.ModuleList(nn.Conv3d(i, o, 1) for i, o in ((1, f[2]), (f[2], f[1]), (f[1], f[0])))
        self.blocks = nn.ModuleList(ProjectedBlock(n, n) for n in reversed(f))
        self.mix = nn.Conv3d(f[0], f[0], 3, padding=1)
        self.head = nn.Conv3d(f[0], out_channels, 1)

    def forward(self, x: torch.Tensor, maps: list[torch.Tensor]) -> torch.Tensor:
        """Planes → logits."""
        for widen, block, stride, skip in zip(
            self.widen, self.blocks, reversed(self.strides), reversed(maps), strict=True
        ):
            x = F.interpolate(widen(x), scale_factor=(1.0, 1.0, float(stride)), mode="nearest")
            x = block(x + skip)
        logits: torch.Tensor = self.head(self.mix(x))
        return logits


class ProjectedBlock(nn.Module):
    """A 1×1×1 convolution of x + two 3×3×3 ones, each behind its normalisation and ReLU. (N, i, X, Y, Z) → (N, o, X, Y, Z)."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv3d(i, o, 1)
        self.norm1, self.conv1 = nn.GroupNorm(8, i, eps=EPSILON), nn.Conv3d(i, o, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, o, eps=EPSILON), nn.Conv3d(o, o, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features → features of the same size."""
        body = self.conv1(F.relu(self.norm1(x)))
        body = self.conv2(F.relu(self.norm2(body)))
        features: torch.Tensor = self.shortcut(x) + body
        return features


class Squeeze(nn.Module):
    """3×3×3 convolution with a stride along z: (N, i, X, Y, Z) → (N, o, X, Y, Z / stride).

    Along z it is padded as Keras' "same" pads a divisible side: not at all from a stride of 3 on, behind it for 2.
    """

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(i, o, 3, stride=(1, 1, stride), padding=(1, 1, 0))
        missing = max(3 - stride, 0)
        self.ends = (missing // 2, missing - missing // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features → features of less depth."""
        if any(self.ends):
            x = F.pad(x, self.ends)
        features: torch.Tensor = self.conv(x)
        return features


class Crop(nn.Module):
    """Cuts off the last row and column: a transposed 3×3 convolution of stride 2 gives 2n + 1, and Keras keeps the first 2n."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, 2h + 1, 2w + 1) → (N, C, 2h, 2w)."""
        return x[..., :-1, :-1]
