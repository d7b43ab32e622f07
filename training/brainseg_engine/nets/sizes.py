"""Which sizes a network takes, said in one way by all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def require_multiples(x: torch.Tensor, divisor: int | Sequence[int]) -> None:
    """Every spatial side of (N, C, *spatial) a multiple of ``divisor``, one for all or one for each. Raises ValueError."""
    sides = tuple(x.shape[2:])
    divisors = (divisor,) * len(sides) if isinstance(divisor, int) else tuple(divisor)
    if any(side == 0 or side % d for side, d in zip(sides, divisors, strict=True)):
        of = str(divisors[0]) if len(set(divisors)) == 1 else "×".join(map(str, divisors))
        raise ValueError(f"every side must be a multiple of {of}, not {sides}")
