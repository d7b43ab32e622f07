"""Blocks of voxels into channels and back: space to depth, and depth to space (Shi 2016, arXiv:1609.05158)."""

from __future__ import annotations

import torch


def fold(x: torch.Tensor, r: int) -> torch.Tensor:
    """(N, C, X, Y, Z) → (N, C·r³, X/r, Y/r, Z/r)."""
    if r == 1:
        return x
    n, c, a, b, d = x.shape
    x = x.reshape(n, c, a // r, r, b // r, r, d // r, r).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(n, c * r**3, a // r, b // r, d // r)


def unfold(x: torch.Tensor, r: int) -> torch.Tensor:
    """(N, C·r³, X, Y, Z) → (N, C, X·r, Y·r, Z·r), the inverse of :func:`fold`."""
    if r == 1:
        return x
    n, c, a, b, d = x.shape
    x = x.reshape(n, c // r**3, r, r, r, a, b, d).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(n, c // r**3, a * r, b * r, d * r)
