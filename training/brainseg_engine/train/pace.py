"""How long a step takes, so that a training can be given minutes: measured once, then the number of steps is fixed."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch

PILOT = 4
"""Steps that are measured; the first, which warms up, is not counted."""


def undone(
    step: Callable[[], None], net: torch.nn.Module, ema: dict[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> float:
    """Seconds a step. Afterwards weights, average and optimiser are what they were before.

    What is random in a step depends on its number alone, so that the first real step is as if nothing had been before.
    """
    before = {k: v.detach().clone() for k, v in net.state_dict().items()}
    averaged = {k: v.clone() for k, v in ema.items()}
    slots = copy.deepcopy(optimiser.state_dict())
    modes = {name: module.training for name, module in net.named_modules()}
    took = []
    try:
        for _ in range(PILOT):
            began = time.perf_counter()
            step()
            took.append(time.perf_counter() - began)
    finally:
        net.load_state_dict(before)
        optimiser.load_state_dict(slots)
        ema.update(averaged)
        for name, module in net.named_modules():
            module.train(modes[name])
    return sum(took[1:]) / len(took[1:])


def steps_within(minutes: float, step_s: float, validating_s: float) -> int:
    """Steps that fit beside the pilot and all validations; one at least, and half of the time is kept for steps."""
    budget = 60 * minutes - PILOT * step_s
    return max(1, int(max(budget - validating_s, budget / 2) / max(step_s, 1e-6)))
