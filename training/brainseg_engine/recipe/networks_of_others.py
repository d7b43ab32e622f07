"""The settings of networks that models of other programs bring: MONAI's Auto3DSeg, nnU-Net, ONNX, and a network of one's own.

As in :mod:`.networks`, each knows how many ``dimensions`` it has and which sizes it takes (``divisor``, ``smallest``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from brainseg_engine.core.geometry import Shape3
from brainseg_engine.recipe.network_sizes import Blocks, Filters, Stride, cube
from brainseg_engine.recipe.section import RecipeSection


class SegResNetDsConfig(RecipeSection):
    """SegResNet with deep supervision, in MONAI's form (``SegResNetDS``), as its Auto3DSeg trains it."""

    dimensions: ClassVar[int] = 3
    name: Literal["segresnet_ds"] = "segresnet_ds"
    init_filters: int = Field(default=32, ge=4, le=512)
    blocks_down: Blocks = (1, 2, 2, 4, 4)
    norm: Literal["batch", "instance", "group"] = "batch"
    norm_affine: bool = True
    upsample: Literal["deconv", "deconvgroup", "nontrainable", "pixelshuffle"] = "deconv"
    depth: int = Field(default=4, ge=1, le=8)
    """Levels that give an answer in training (``dsdepth``); the finest counts in use."""

    @property
    def divisor(self) -> Shape3:
        """Each level but the first halves."""
        return cube(2 ** (len(self.blocks_down) - 1))

    @property
    def smallest(self) -> Shape3:
        """Normalisation needs more than one value a channel at the bottom, even of a batch of one."""
        return cube(2 ** len(self.blocks_down))


class SwinUnetrConfig(RecipeSection):
    """Swin UNETR (Hatamizadeh 2022, arXiv:2201.01266) as MONAI builds it."""

    dimensions: ClassVar[int] = 3
    name: Literal["swin_unetr"] = "swin_unetr"
    feature_size: int = Field(default=48, ge=12, le=192, multiple_of=12)
    depths: Blocks = (2, 2, 2, 2)
    heads: Blocks = (3, 6, 12, 24)
    second_version: bool = False
    """MONAI's ``use_v2``: a residual convolution at the beginning of each stage."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.depths) != 4 or len(self.heads) != 4:
            raise ValueError(f"depths and heads have four entries each, not {len(self.depths)} and {len(self.heads)}")
        wrong = next((h for n, h in enumerate(self.heads) if self.feature_size * 2**n % h), None)
        if wrong is not None:
            raise ValueError(
                f"heads: {wrong} does not divide the features of its stage (feature_size {self.feature_size})"
            )
        return self

    @property
    def divisor(self) -> Shape3:
        """2 to the fifth: the network halves its input five times."""
        return cube(32)

    @property
    def smallest(self) -> Shape3:
        """Its instance normalisation needs more than one value at the bottom."""
        return cube(64)


Triple = Annotated[tuple[Stride, ...], Field(min_length=3, max_length=3)]
"""For x, y, z."""


class NnUNetConfig(RecipeSection):
    """U-Net as nnU-Net v2 plans it: ``plain`` or with a ``residual`` encoder; one entry a stage, the finest first, sizes along
    x, y, z. Several ``members`` (folds) answer by the mean of their logits."""

    dimensions: ClassVar[int] = 3
    name: Literal["nnunet"] = "nnunet"
    encoder: Literal["plain", "residual"] = "plain"
    features: Annotated[tuple[Filters, ...], Field(min_length=2, max_length=10)]
    kernels: Annotated[tuple[Triple, ...], Field(min_length=2, max_length=10)]
    strides: Annotated[tuple[Triple, ...], Field(min_length=2, max_length=10)]
    blocks: Annotated[tuple[Annotated[int, Field(ge=1, le=32)], ...], Field(min_length=2, max_length=10)]
    """Convolutions of each stage, or residual blocks."""
    blocks_up: Annotated[tuple[Annotated[int, Field(ge=1, le=32)], ...], Field(min_length=1, max_length=9)]
    """Convolutions of the decoder's stages, the coarsest first."""
    bias: bool = True
    members: int = Field(default=1, ge=1, le=10)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        n = len(self.features)
        wrong = {k: len(getattr(self, k)) for k in ("kernels", "strides", "blocks") if len(getattr(self, k)) != n}
        if wrong or len(self.blocks_up) != n - 1:
            raise ValueError(f"features has {n} stages, but {wrong or {'blocks_up': len(self.blocks_up)}}")
        if any(side % 2 == 0 for kernel in self.kernels for side in kernel):
            raise ValueError(f"kernels must be odd, not {self.kernels}")
        return self

    @property
    def divisor(self) -> Shape3:
        """The product of all strides."""
        x, y, z = (math.prod(stride[axis] for stride in self.strides) for axis in range(3))
        return x, y, z

    @property
    def smallest(self) -> Shape3:
        """The size that leaves one voxel at the deepest level."""
        return self.divisor


class OnnxConfig(RecipeSection):
    """A network that came in as ONNX: its graph of ``size_bytes`` lies in the model file itself, and onnxruntime runs it."""

    dimensions: ClassVar[int] = 3
    name: Literal["onnx"] = "onnx"
    size_bytes: int = Field(ge=1, le=2**29)
    multiple: Annotated[int, Field(ge=1, le=256)] = 16
    """What every side of its input must be a multiple of."""
    fixed: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(max_length=3)] = ()
    """The only size (x, y, z) it takes; () for any."""

    @property
    def divisor(self) -> Shape3:
        """As the settings say."""
        return (self.fixed[0], self.fixed[1], self.fixed[2]) if len(self.fixed) == 3 else cube(self.multiple)

    @property
    def smallest(self) -> Shape3:
        """The divisor itself."""
        return self.divisor


class ExternalConfig(RecipeSection):
    """A network of one's own: ``target`` is ``module:name`` or an entry point of the group ``brainseg.networks``, called with the
    numbers of input and output channels and ``options`` (see :mod:`brainseg_engine.nets.external`)."""

    name: Literal["external"] = "external"
    target: str = Field(min_length=1, max_length=200)
    options: Mapping[str, bool | int | float | str | tuple[int | float, ...]] = Field(default_factory=dict)
    dimensions: Literal[2, 3] = 3
    multiple: Annotated[int, Field(ge=1, le=256)] = 16
    """What every side of its input must be a multiple of (of slices: both sides)."""

    @property
    def divisor(self) -> Shape3:
        """As the settings say."""
        return (self.multiple, self.multiple, self.multiple if self.dimensions == 3 else 1)

    @property
    def smallest(self) -> Shape3:
        """The divisor itself."""
        return self.divisor
