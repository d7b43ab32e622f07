"""The networks' own settings: one class each, distinguished by ``name``. Those that models of other programs bring are in
:mod:`.networks_of_others`.

Each knows, without building anything, how many ``dimensions`` it has and which sizes it takes: every side of the input a
multiple of ``divisor`` (x, y, z; z is 1 for networks of slices) and at least ``smallest``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from brainseg_engine.core.geometry import Shape3
from brainseg_engine.core.study import Modality
from brainseg_engine.recipe.network_sizes import Blocks, Filters, Stride, cube, divided
from brainseg_engine.recipe.networks_of_others import (
    ExternalConfig,
    NnUNetConfig,
    OnnxConfig,
    SegResNetDsConfig,
    SwinUnetrConfig,
)
from brainseg_engine.recipe.section import Fraction, RecipeSection


class SecondStageConfig(RecipeSection):
    """A second network on the box of the whole tumour that the first one finds: it tells the regions apart there.

    It sees the series (and T1ce minus T1 where both are there) and the whole tumour's probability, is folded by 2, has a level of
    residual blocks for each number of ``filters``, no normalisation, and as many ``members`` as are averaged.
    """

    filters: Annotated[tuple[Filters, ...], Field(min_length=1, max_length=6)] = (24, 48, 48)
    members: int = Field(default=1, ge=1, le=8)
    share: float = Field(default=0.5, gt=0, le=1)
    """Of its logits; the rest are the first network's."""
    margin: int = Field(default=16, ge=0, le=64)
    """Voxels about the tumour that it sees as well."""
    whole_tumour: bool = False
    """Whether it answers for the whole tumour's border too, or for the other regions alone."""


class SegResNetConfig(RecipeSection):
    """Encoder–decoder of Myronenko 2018 (arXiv:1810.11654) without the autoencoder branch, in MONAI's form.

    ``fold`` = r folds each r×r×r block of voxels into channels before the first convolution and unfolds the logits at the
    end, so that images and answers are at full resolution while the convolutions run on a grid r times coarser.
    """

    dimensions: ClassVar[int] = 3
    name: Literal["segresnet"] = "segresnet"
    fold: int = Field(default=2, ge=1, le=4)
    init_filters: int = Field(default=16, ge=8, le=512)
    blocks_down: Blocks = (1, 2, 2, 4)
    blocks_up: Blocks = (1, 1, 1)
    dropout: Fraction = Field(default=0.0, ge=0, lt=1)
    norm_over: Literal["image", "brain"] = "image"
    """What group normalisation takes its statistics from: the whole array, or the voxels of the brain (any series ≠ 0) at
    every scale, outside of which activations are kept at 0, so that an empty margin does not change the answer."""
    own_weights_without: tuple[Modality, ...] = ()
    """Series without which a study is answered by weights of its own: all normalisations, the finest level and the decoder. The
    convolutions of the coarser levels are the same for all studies. The first one that a study lacks counts."""
    second_stage: SecondStageConfig | None = None
    """None: one network answers all."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.blocks_up) != len(self.blocks_down) - 1:
            raise ValueError(
                f"blocks_up needs one entry less than blocks_down, not {len(self.blocks_up)} and {len(self.blocks_down)}"
            )
        return divided(self, "init_filters", self.init_filters)

    @property
    def divisor(self) -> Shape3:
        """Each level halves the folded grid."""
        return cube(self.fold * 2 ** (len(self.blocks_down) - 1))

    @property
    def smallest(self) -> Shape3:
        """The size that leaves one voxel at the deepest level."""
        return self.divisor


class MyronenkoConfig(RecipeSection):
    """Encoder–decoder with variational autoencoder branch (Myronenko 2018, arXiv:1810.11654).

    The branch reconstructs the input in training and is dropped for use; its dense layers fix the training size, which is
    the recipe's ``window.size``.
    """

    dimensions: ClassVar[int] = 3
    name: Literal["myronenko"] = "myronenko"
    init_filters: int = Field(default=32, ge=8, le=512)
    blocks_down: Blocks = (1, 2, 2, 4)
    dropout: Fraction = Field(default=0.2, ge=0, lt=1)
    """Of whole channels, after the first convolution."""
    skips: Literal["add", "concat"] = "add"
    """The paper adds encoder maps to the decoder's; the repository AghdamAmir/… concatenates them."""
    autoencoder: bool = True
    latent: int = Field(default=128, ge=1, le=8192)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.blocks_down) < 2 or min(self.blocks_down) < 1:
            raise ValueError(f"blocks_down needs two positive entries or more, not {list(self.blocks_down)}")
        return divided(self, "init_filters", self.init_filters)

    @property
    def divisor(self) -> Shape3:
        """For use: each level halves."""
        return cube(2 ** (len(self.blocks_down) - 1))

    @property
    def training_divisor(self) -> Shape3:
        """The branch halves once more."""
        return cube(2 ** (len(self.blocks_down) - (0 if self.autoencoder else 1)))

    @property
    def smallest(self) -> Shape3:
        """One voxel at the bottom of the branch."""
        return self.training_divisor


class UNet2dConfig(RecipeSection):
    """2D U-Net of constant width (giacomodeodato/Brain-MRI-segmentation)."""

    dimensions: ClassVar[int] = 2
    name: Literal["unet2d"] = "unet2d"
    width: int = Field(default=32, ge=1, le=1024)
    depth: int = Field(default=4, ge=2, le=8)
    """Levels of resolution."""

    @property
    def divisor(self) -> Shape3:
        """Each level but the first halves."""
        side = 2 ** (self.depth - 1)
        return side, side, 1

    @property
    def smallest(self) -> Shape3:
        """Batch normalisation needs more than one value a channel at the bottom, even of a batch of one."""
        side = 2**self.depth
        return side, side, 1


class AttentionUNetConfig(RecipeSection):
    """3D Attention U-Net (Oktay 2018, arXiv:1804.03999) as MONAI builds it."""

    dimensions: ClassVar[int] = 3
    name: Literal["attention_unet"] = "attention_unet"
    channels: Annotated[tuple[Filters, ...], Field(max_length=8)] = (16, 32, 64, 128, 256)
    dropout: Fraction = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.channels) < 2 or min(self.channels) < 2:
            raise ValueError(f"channels needs two entries or more, each at least 2, not {list(self.channels)}")
        return self

    @property
    def divisor(self) -> Shape3:
        """Each level but the first halves."""
        return cube(2 ** (len(self.channels) - 1))

    @property
    def smallest(self) -> Shape3:
        """Batch normalisation needs more than one value a channel at the bottom, even of a batch of one."""
        return cube(2 ** len(self.channels))


class GraftConfig(RecipeSection):
    """3D → 2D → 3D network around an EfficientNet-B0 (Messaoudi 2020): the depth is squeezed to 3 planes, which become the
    colours of a 2D network, and brought back."""

    dimensions: ClassVar[int] = 3
    name: Literal["efficientnet_graft"] = "efficientnet_graft"
    depth_strides: tuple[Stride, Stride, Stride] = (3, 4, 4)
    """Along z; the depth is 3 times their product: 3·4·4 for 144 slices, 3·3·4 for 108."""
    filters: tuple[Filters, Filters, Filters] = (16, 32, 64)
    dropout: Fraction = Field(default=0.2, ge=0, lt=1)
    decoder_dropout: Fraction = Field(default=0.5, ge=0, lt=1)
    trunk_weights: Path | None = None
    """ImageNet weights of EfficientNet-B0 (a local .pth or .safetensors file); None starts from random ones."""
    freeze_trunk: bool = False
    frozen_batch_norm: bool = False
    """Trunk and 2D decoder normalise with stored statistics: a batch of one gives noisy ones."""
    image_scaling: bool = False
    """The grafted planes are divided by 255 and standardised as ImageNet pictures are, as Keras' EfficientNet does."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if min(self.depth_strides) < 1:
            raise ValueError(f"depth_strides must be positive, not {list(self.depth_strides)}")
        return divided(self, "filters", *self.filters)

    @property
    def depth(self) -> int:
        """Slices, exactly."""
        return 3 * math.prod(self.depth_strides)

    @property
    def divisor(self) -> Shape3:
        """The trunk halves x and y five times."""
        return 32, 32, self.depth

    @property
    def smallest(self) -> Shape3:
        """Batch normalisation needs more than one value a channel at the bottom, even of a batch of one."""
        return 64, 32, self.depth


class ResidualUNet2dConfig(RecipeSection):
    """2D residual U-Net (Kermi, Mahmoudi, Khadir 2018)."""

    dimensions: ClassVar[int] = 2
    name: Literal["residual_unet2d"] = "residual_unet2d"
    width: int = Field(default=64, ge=1, le=512)
    levels: int = Field(default=4, ge=2, le=6)
    """Of resolution; the width doubles at each."""
    noise_sd: float = Field(default=0.01, ge=0, le=100)
    """Gaussian noise on the input, in training."""

    @property
    def divisor(self) -> Shape3:
        """Each level but the first halves."""
        side = 2 ** (self.levels - 1)
        return side, side, 1

    @property
    def smallest(self) -> Shape3:
        """Batch normalisation needs more than one value a channel at the bottom, even of a batch of one."""
        side = 2**self.levels
        return side, side, 1


NetworkConfig = Annotated[
    SegResNetConfig
    | MyronenkoConfig
    | UNet2dConfig
    | AttentionUNetConfig
    | GraftConfig
    | ResidualUNet2dConfig
    | SegResNetDsConfig
    | SwinUnetrConfig
    | NnUNetConfig
    | OnnxConfig
    | ExternalConfig,
    Field(discriminator="name"),
]
