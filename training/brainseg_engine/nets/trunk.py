"""EfficientNet-B0 (Tan & Le 2019, arXiv:1905.11946) without its classifier, as a pyramid of five feature maps.

The maps are those that U-shaped networks in Keras tap: the expanded channels of a block whose depthwise convolution is about
to halve the picture, not the block's answer. MONAI's network pads as TensorFlow does for sides that are multiples of 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.nets.foreign import read_weights

CHANNELS = (96, 144, 240, 672, 1280)
"""Of the five maps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture's sides."""
TAPPED_STAGES = (1, 2, 3, 5)
REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks in a stage."""


class Trunk(nn.Module):
    """(N, 3, H, W), sides multiples of 32 → five maps (N, CHANNELS[i], H / 2^(i + 1), W / 2^(i + 1))."""

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets import EfficientNetBN

        self.body = EfficientNetBN("efficientnet-b0", pretrained=False)
        del self.body._fc, self.body._avg_pooling, self.body._dropout
        self.body._swish = nn.SiLU()
        for blocks in self.body._blocks:
            for block in blocks:
                block._swish = nn.SiLU()
        for stage in TAPPED_STAGES:
            self.body._blocks[stage][0].expand_ratio = 1  # the block starts behind its expansion, which is done here

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Pictures → feature maps, finest first."""
        body, maps = self.body, []
        x = body._swish(body._bn0(body._conv_stem(body._conv_stem_padding(x))))
        for stage, blocks in enumerate(body._blocks):
            for i, block in enumerate(blocks):
                if i == 0 and stage in TAPPED_STAGES:
                    x = block._swish(block._bn0(block._expand_conv(x)))
                    maps.append(x)
                x = block(x)
        maps.append(body._swish(body._bn1(body._conv_head(x))))
        return maps


def load_weights(trunk: Trunk, path: Path) -> None:
    """ImageNet weights of EfficientNet-B0, named as MONAI, lukemelas/EfficientNet-PyTorch, torchvision or timm name them.

    Raises CheckpointError.
    """
    given = read_weights(path)
    wanted = trunk.body.state_dict()
    needed = [k for k in wanted if not k.endswith("num_batches_tracked")]
    for names in (_monai(), _lukemelas(), _torchvision(), _timm()):
        foreign = {k: _renamed(k, names) for k in needed}
        if all(f in given for f in foreign.values()):
            break
    else:
        raise CheckpointError(
            f"network.trunk_weights: {path} holds no EfficientNet-B0 as MONAI, torchvision or timm name its layers. "
            "Give another file, or leave the key out to start from random weights."
        )
    wrong = next((k for k in needed if given[foreign[k]].shape != wanted[k].shape), None)
    if wrong is not None:
        raise CheckpointError(
            f"network.trunk_weights: {path} is no EfficientNet-B0: {foreign[wrong]} has the shape "
            f"{tuple(given[foreign[wrong]].shape)}, not {tuple(wanted[wrong].shape)}."
        )
    trunk.body.load_state_dict({**wanted, **{k: given[f] for k, f in foreign.items()}})


def _renamed(key: str, names: Mapping[str, str]) -> str:
    module, _, leaf = key.rpartition(".")
    return f"{names[module]}.{leaf}"


def _monai() -> dict[str, str]:
    """MONAI's modules, onto themselves."""
    names = {m: m for m in ("_conv_stem", "_bn0", "_conv_head", "_bn1")}
    block = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv", "_bn2")
    for stage, _, n in _blocks():
        for m in block[2:] if stage == 0 else block:
            names[f"_blocks.{stage}.{n}.{m}"] = f"_blocks.{stage}.{n}.{m}"
    return names


def _lukemelas() -> dict[str, str]:
    """Blocks are counted through, without stages."""
    names = _monai()
    for stage, _, n in _blocks():
        names |= {k: f"_blocks.{n}.{k.rpartition('.')[2]}" for k in names if k.startswith(f"_blocks.{stage}.{n}.")}
    return names


def _torchvision() -> dict[str, str]:
    names = {"_conv_stem": "features.0.0", "_bn0": "features.0.1", "_conv_head": "features.8.0", "_bn1": "features.8.1"}
    for stage, i, n in _blocks():
        ours, theirs = f"_blocks.{stage}.{n}", f"features.{stage + 1}.{i}.block"
        at = 0 if stage == 0 else 1  # the first stage does not expand
        if at:
            names |= {f"{ours}._expand_conv": f"{theirs}.0.0", f"{ours}._bn0": f"{theirs}.0.1"}
        names |= {
            f"{ours}._depthwise_conv": f"{theirs}.{at}.0",
            f"{ours}._bn1": f"{theirs}.{at}.1",
            f"{ours}._se_reduce": f"{theirs}.{at + 1}.fc1",
            f"{ours}._se_expand": f"{theirs}.{at + 1}.fc2",
            f"{ours}._project_conv": f"{theirs}.{at + 2}.0",
            f"{ours}._bn2": f"{theirs}.{at + 2}.1",
        }
    return names


def _timm() -> dict[str, str]:
    names = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    for stage, i, n in _blocks():
        ours, theirs = f"_blocks.{stage}.{n}", f"blocks.{stage}.{i}"
        expands = stage > 0
        if expands:
            names |= {f"{ours}._expand_conv": f"{theirs}.conv_pw", f"{ours}._bn0": f"{theirs}.bn1"}
        names |= {
            f"{ours}._depthwise_conv": f"{theirs}.conv_dw",
            f"{ours}._bn1": f"{theirs}.bn{1 + expands}",
            f"{ours}._se_reduce": f"{theirs}.se.conv_reduce",
            f"{ours}._se_expand": f"{theirs}.se.conv_expand",
            f"{ours}._project_conv": f"{theirs}.{'conv_pwl' if expands else 'conv_pw'}",
            f"{ours}._bn2": f"{theirs}.bn{2 + expands}",
        }
    return names


def _blocks() -> list[tuple[int, int, int]]:
    """(stage, number within it, number in all) of every block."""
    places = [(stage, i) for stage, repeats in enumerate(REPEATS) for i in range(repeats)]
    return [(stage, i, n) for n, (stage, i) in enumerate(places)]
