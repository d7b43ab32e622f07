"""Random numbers of a training sample, all from one generator on the CPU, whatever device the sample is on."""

from __future__ import annotations

import torch

_STREAM = 0x9E3779B97F4A7C15  # far apart: 2^64 divided by the golden ratio


def generator(seed: int, epoch: int, index: int, stream: int = 0) -> torch.Generator:
    """The generator of one sample in one epoch; each ``stream`` has random numbers of its own."""
    g = torch.Generator()
    g.manual_seed(((seed * 1_000_003 + epoch) * 1_000_003 + index + stream * _STREAM) % 2**63)  # torch takes 64 bits
    return g


def uniform(low: float, high: float, g: torch.Generator) -> float:
    """Between ``low`` and ``high``."""
    return low + (high - low) * float(torch.rand((), generator=g))


def whole(low: int, high: int, g: torch.Generator) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return int(torch.randint(low, high + 1, (), generator=g))


def chance(p: float, g: torch.Generator) -> bool:
    """True with probability ``p``."""
    return float(torch.rand((), generator=g)) < p
