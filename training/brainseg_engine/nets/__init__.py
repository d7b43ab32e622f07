"""Networks: one module each; the registry is a plain dict from the kind of a recipe's network to a small function.

A network takes (N, C, *spatial) and gives logits (N, K, *spatial), K as the recipe's output says; 2D networks see axial
slices (N, C, Y, X). Every side of the input must be a multiple of ``recipe.network.divisor``. A network that trains on
more than its logits has ``training_forward(x) -> (logits, {name: tensor})``; what it holds for training only is left out
when it is built for use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from brainseg_engine.core.geometry import Shape3
from brainseg_engine.core.study import Modality
from brainseg_engine.nets import (
    attention_unet,
    external,
    graft,
    myronenko,
    nnunet,
    onnx,
    residual_unet2d,
    segresnet,
    segresnet_ds,
    swin_unetr,
    unet2d,
)
from brainseg_engine.recipe import (
    AttentionUNetConfig,
    ExternalConfig,
    GraftConfig,
    MyronenkoConfig,
    NnUNetConfig,
    OnnxConfig,
    Recipe,
    ResidualUNet2dConfig,
    SegResNetConfig,
    SegResNetDsConfig,
    SwinUnetrConfig,
    UNet2dConfig,
)

Builder = Callable[[Any, int, int, Recipe, bool], nn.Module]
"""(network's settings, input channels, output channels, whole recipe, for training) → network."""

BUILDERS: Mapping[type, Builder] = {
    MyronenkoConfig: myronenko.build,
    SegResNetConfig: lambda config, i, o, recipe, training: segresnet.FoldedSegResNet(
        i, o, config, _contrast(recipe), {m.value: recipe.modalities.index(m) for m in config.own_weights_without}
    ),
    UNet2dConfig: lambda config, i, o, recipe, training: unet2d.UNet2d(i, o, config),
    AttentionUNetConfig: lambda config, i, o, recipe, training: attention_unet.AttentionUNet(i, o, config),
    GraftConfig: lambda config, i, o, recipe, training: graft.Graft(i, o, config, training),
    ResidualUNet2dConfig: lambda config, i, o, recipe, training: residual_unet2d.ResidualUNet2d(i, o, config),
    SegResNetDsConfig: lambda config, i, o, recipe, training: segresnet_ds.SegResNetDs(i, o, config),
    SwinUnetrConfig: lambda config, i, o, recipe, training: swin_unetr.SwinUnetr(i, o, config),
    NnUNetConfig: lambda config, i, o, recipe, training: nnunet.NnUNet(i, o, config),
    OnnxConfig: lambda config, i, o, recipe, training: onnx.OnnxNet(config),
}


def _contrast(recipe: Recipe) -> tuple[int, int] | None:
    """The numbers of T1 and T1ce among the series; None without both."""
    series = recipe.modalities
    if not {Modality.T1, Modality.T1CE} <= set(series):
        return None
    return series.index(Modality.T1), series.index(Modality.T1CE)


def build(recipe: Recipe, training: bool = False) -> nn.Module:
    """The recipe's network with fresh weights from torch's global generator. ``training`` adds what only training needs."""
    config = recipe.network
    if isinstance(config, ExternalConfig):
        return external.build(len(recipe.modalities), recipe.output.channels, config)
    return BUILDERS[type(config)](config, len(recipe.modalities), recipe.output.channels, recipe, training)


DECODERS: Mapping[type, str] = {
    MyronenkoConfig: r"^(decoder|head)",
    SegResNetConfig: r"^(body|without\.\w+)\.(up_|conv_final)|^second_stage",
    UNet2dConfig: r"^(up|decoder|head)",
    AttentionUNetConfig: r"\.(upconv|attention|merge)\.|^body\.model\.2",
    GraftConfig: r"^(picture_)?decoder",
    ResidualUNet2dConfig: r"^(up|decoder|head)",
    SegResNetDsConfig: r"^body\.up_layers",
    SwinUnetrConfig: r"^body\.(decoder\d|out)",
    NnUNetConfig: r"^members\.\d+\.decoder",
}
"""Pattern of the names of weights that come after a network's deepest level."""
HEADS: Mapping[type, str] = {
    MyronenkoConfig: r"^head",
    SegResNetConfig: r"^(body|without\.\w+)\.conv_final|^second_stage\.members\.\d+\.last",
    UNet2dConfig: r"^head",
    AttentionUNetConfig: r"^body\.model\.2",
    GraftConfig: r"^decoder\.head",
    ResidualUNet2dConfig: r"^head",
    SegResNetDsConfig: r"^body\.up_layers\.\d+\.head",
    SwinUnetrConfig: r"^body\.out",
    NnUNetConfig: r"^members\.\d+\.decoder\.seg_layers",
}
"""Pattern of the names of the last convolution's."""
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)


def train_only(net: nn.Module, recipe: Recipe) -> None:
    """Freeze what ``training.parts`` leaves out."""
    kind, parts = type(recipe.network), recipe.training.parts
    if parts == "all":
        return
    wanted = re.compile(DECODERS[kind] if parts == "decoder" else HEADS[kind])
    for name, weight in net.named_parameters():
        weight.requires_grad = wanted.search(name) is not None
    if parts == "head":
        for module in net.modules():
            if isinstance(module, _NORMS):
                module.requires_grad_(True)


def divisor(recipe: Recipe) -> Shape3:
    """What every spatial size (x, y, z) of the input must be a multiple of."""
    return recipe.network.divisor


def for_use(recipe: Recipe, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of a state dict, what the network built for use has."""
    with torch.device("meta"):
        wanted = build(recipe).state_dict()
    return {k: state[k] for k in wanted}


def count_parameters(net: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
