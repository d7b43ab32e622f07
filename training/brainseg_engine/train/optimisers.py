"""The optimisers that recipes name, as torch has them."""

from __future__ import annotations

import torch

from brainseg_engine.recipe import Optimiser


def build(config: Optimiser, net: torch.nn.Module) -> torch.optim.Optimizer:
    """Over all weights that are trained."""
    weights = [p for p in net.parameters() if p.requires_grad]
    lr, decay = config.learning_rate, config.weight_decay
    match config.name:
        case "adamw":
            return torch.optim.AdamW(weights, lr=lr, weight_decay=decay)
        case "adam":  # its weight decay is the L2 penalty of papers: added to the gradient
            return torch.optim.Adam(weights, lr=lr, weight_decay=decay)
        case "nadam":
            return torch.optim.NAdam(weights, lr=lr, weight_decay=decay)
        case "sgd":
            momentum = config.momentum or 0.0
            return torch.optim.SGD(weights, lr=lr, weight_decay=decay, momentum=momentum, nesterov=config.nesterov)
