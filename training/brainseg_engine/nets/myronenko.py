"""Encoder–decoder with a variational autoencoder branch (Myronenko 2018, arXiv:1810.11654).

In two forms. ``skips = "add"`` is the paper's: encoder maps are added to the decoder's. ``"concat"`` is that of the
repository AghdamAmir/3D-Brain-Tumor-Segmentation-using-AutoEncoder-Regularization: they are concatenated and a 1×1×1
convolution brings them back to width, and interpolation aligns the corners. (Its branch also holds 1×1×1 convolutions that
are never used; they are left out here.)

The branch reconstructs the input from the bottom of the encoder. Only its gradient matters, so it exists only in the
network that is built for training. The repository draws the latent numbers without letting a gradient through; here they
are reparameterised (Kingma & Welling 2014, arXiv:1312.6114), as in the paper.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from brainseg_engine.core.geometry import Shape3
from brainseg_engine.nets.sizes import require_multiples
from brainseg_engine.recipe import MyronenkoConfig, Recipe

GROUPS = 8
BRANCH_CHANNELS = 16
"""Of the map that the branch's dense layer reads."""
LOG_VARIANCE_BOUND = 10.0


def build(config: MyronenkoConfig, in_channels: int, out_channels: int, recipe: Recipe, training: bool) -> Myronenko:
    """The network; with its branch where it is wanted and for training. Raises ValueError for a size it cannot have."""
    if not (training and config.autoencoder):
        return Myronenko(in_channels, out_channels, config)
    size = recipe.window.size
    if size is None or len(size) != 3:
        raise ValueError(f"the autoencoder branch needs a window.size of three numbers, not {size}")
    return MyronenkoAutoencoder(in_channels, out_channels, config, size)


class Myronenko(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z); sides must be multiples of 2^(levels − 1)."""

    def __init__(self, in_channels: int, out_channels: int, config: MyronenkoConfig) -> None:
        super().__init__()
        self.divisor = config.divisor[0]
        widths = [config.init_filters * 2**level for level in range(len(config.blocks_down))]
        self.stem = nn.Conv3d(in_channels, widths[0], 3, padding=1, bias=False)
        self.dropout = nn.Dropout3d(config.dropout)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
            for width, blocks in zip(widths, config.blocks_down, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Conv3d(width, 2 * width, 3, stride=2, padding=1, bias=False) for width in widths[:-1]
        )
        self.decoder = nn.ModuleList(SkipDecoder(width, config.skips == "concat") for width in reversed(widths[:-1]))
        self.head = nn.Conv3d(widths[0], out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises ValueError for sizes that do not fit."""
        return self.decode(self.encode(x))

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The encoder's maps, finest first: (N, width · 2^level, X / 2^level, …)."""
        require_multiples(x, self.divisor)
        maps = [self.encoder[0](self.dropout(self.stem(x)))]
        for down, blocks in zip(self.down, self.encoder[1:], strict=True):
            maps.append(blocks(down(maps[-1])))
        return maps

    def decode(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """The encoder's maps → logits."""
        *skips, x = maps
        for step, skip in zip(self.decoder, reversed(skips), strict=True):
            x = step(x, skip)
        logits: torch.Tensor = self.head(x)
        return logits


class MyronenkoAutoencoder(Myronenko):
    """The same with its branch, for training on images of one ``size`` (x, y, z), which the branch's dense layers fix."""

    def __init__(self, in_channels: int, out_channels: int, config: MyronenkoConfig, size: Shape3) -> None:
        super().__init__(in_channels, out_channels, config)
        self.size = tuple(size)
        self.branch = Branch(in_channels, config, size)

    def training_forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Images of ``size`` → logits, and ``reconstruction`` (N, C, X, Y, Z), ``mean`` and ``log_variance`` (N, latent).

        Raises ValueError for another size.
        """
        if tuple(x.shape[2:]) != self.size:
            raise ValueError(
                f"the autoencoder branch was built for images of {self.size} (window.size), not {tuple(x.shape[2:])}"
            )
        maps = self.encode(x)
        return self.decode(maps), self.branch(maps[-1])


class ResidualBlock(nn.Module):
    """Group normalisation, ReLU, convolution, twice over, and the input added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, width, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape."""
        out: torch.Tensor = x + self.body(x)
        return out


class SkipDecoder(nn.Module):
    """One step of the decoder: half the channels, twice the resolution, the encoder's map, a residual block."""

    def __init__(self, width: int, concatenate: bool) -> None:
        super().__init__()
        self.project = nn.Conv3d(2 * width, width, 1)
        self.merge = nn.Conv3d(2 * width, width, 1) if concatenate else None
        self.block = ResidualBlock(width)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """(N, 2·width, X, Y, Z) and the skip (N, width, 2X, 2Y, 2Z) → the skip's shape."""
        x = doubled(self.project(x), align_corners=self.merge is not None)
        x = x + skip if self.merge is None else self.merge(torch.cat((x, skip), dim=1))
        out: torch.Tensor = self.block(x)
        return out


class Branch(nn.Module):
    """Bottom of the encoder → distribution of the latent numbers → one draw of them → the image."""

    def __init__(self, channels: int, config: MyronenkoConfig, size: Shape3) -> None:
        super().__init__()
        divisor = config.training_divisor[0]
        if any(side < divisor or side % divisor for side in size):
            raise ValueError(
                f"for the autoencoder branch every side must be a multiple of {divisor}, not {tuple(size)}"
            )
        self.align_corners = config.skips == "concat"
        self.latent = config.latent
        bottom = config.init_filters * 2 ** (len(config.blocks_down) - 1)
        self.start = (bottom // 2, *(side // divisor for side in size))
        self.reduce = nn.Sequential(
            nn.GroupNorm(GROUPS, bottom),
            nn.ReLU(),
            nn.Conv3d(bottom, BRANCH_CHANNELS, 3, stride=2, padding=1),
        )
        cells = math.prod(self.start[1:])
        self.to_latent = nn.Linear(BRANCH_CHANNELS * cells, 2 * config.latent)
        self.from_latent = nn.Linear(config.latent, math.prod(self.start))
        self.widen = nn.Conv3d(bottom // 2, bottom, 1)
        widths = [bottom // 2**step for step in range(1, len(config.blocks_down))]
        self.project = nn.ModuleList(nn.Conv3d(2 * width, width, 1) for width in widths)
        self.blocks = nn.ModuleList(ResidualBlock(width) for width in widths)
        self.head = nn.Conv3d(config.init_filters, channels, 1)

    def forward(self, bottom: torch.Tensor) -> dict[str, torch.Tensor]:
        """See :meth:`MyronenkoAutoencoder.training_forward`. In evaluation mode the mean stands for the draw."""
        both = self.to_latent(self.reduce(bottom).flatten(1)).float()
        mean, log_variance = both[:, : self.latent], bounded(both[:, self.latent :])
        z = mean
        if self.training:
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return {"reconstruction": self.reconstruct(z), "mean": mean, "log_variance": log_variance}

    def reconstruct(self, z: torch.Tensor) -> torch.Tensor:
        """Latent numbers (N, latent) → image (N, C, *size)."""
        x = F.relu(self.from_latent(z)).reshape(-1, *self.start)
        x = doubled(self.widen(x), self.align_corners)
        for project, block in zip(self.project, self.blocks, strict=True):
            x = block(doubled(project(x), self.align_corners))
        image: torch.Tensor = self.head(x)
        return image


def bounded(log_variance: torch.Tensor) -> torch.Tensor:
    """Within ±10 (σ from 0.007 to 148), smoothly: its exponential overflows in no precision, and no gradient is cut off."""
    return LOG_VARIANCE_BOUND * torch.tanh(log_variance / LOG_VARIANCE_BOUND)


def doubled(x: torch.Tensor, align_corners: bool) -> torch.Tensor:
    """Twice the resolution, trilinear. The paper does not say how the corners lie; the repository aligns them."""
    return F.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=align_corners)
