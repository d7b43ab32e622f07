"""Losses on logits and nested region targets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from brainseg_engine.labels import REGION_LABELS, Region
from brainseg_engine.recipe import Loss

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def region_targets(labels: torch.Tensor, regions: tuple[Region, ...]) -> torch.Tensor:
    """Canonical labels (N, X, Y, Z) uint8 → (N, K, X, Y, Z) float32 of 0 and 1, in the order of ``regions``."""
    lookup = torch.zeros(256, len(regions), dtype=torch.float32)
    for k, region in enumerate(regions):
        lookup[[int(v) for v in REGION_LABELS[region]], k] = 1.0
    return lookup.to(labels.device)[labels.int()].movedim(-1, 1)


def build(config: Loss) -> LossFunction:
    """The recipe's loss: (logits (N, K, …), targets (N, K, …)) → scalar."""
    from monai.losses import DiceLoss

    dice = DiceLoss(sigmoid=True, squared_pred=config.squared, smooth_nr=1e-5, smooth_dr=1e-5)

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        total = logits.new_zeros(())
        if config.dice:
            total = total + config.dice * dice(logits, targets)
        if config.cross_entropy:
            total = total + config.cross_entropy * F.binary_cross_entropy_with_logits(logits, targets)
        return total

    return loss
