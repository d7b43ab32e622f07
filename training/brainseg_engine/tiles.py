"""Running a network over an array that may be larger than its window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from brainseg_engine.geometry import Shape3

Network = Callable[[torch.Tensor], torch.Tensor]


def starts(size: int, window: int, overlap: float) -> list[int]:
    """Where tiles of ``window`` begin along an axis of ``size`` so that they cover it, evenly spaced."""
    if size <= window:
        return [0]
    steps = -(-(size - window) // max(1, int(window * (1 - overlap))))
    return [round(i * (size - window) / steps) for i in range(steps + 1)]


def plan(shape: Sequence[int], largest: Shape3, overlap: float, divisor: int) -> tuple[Shape3, list[Shape3]]:
    """(tile shape, tile starts) for an array of ``shape``, whose sides are multiples of ``divisor``."""
    tile = [min(n, max(divisor, w // divisor * divisor)) for n, w in zip(shape, largest, strict=True)]
    rows = [starts(n, t, overlap) for n, t in zip(shape, tile, strict=True)]
    return (tile[0], tile[1], tile[2]), [(a, b, c) for a in rows[0] for b in rows[1] for c in rows[2]]


def run(
    net: Network, image: torch.Tensor, tile: Shape3, places: list[Shape3], channels: int, between: Callable[[], None]
) -> torch.Tensor:
    """Probabilities (K, X, Y, Z) of the sigmoid of the logits, tiles blended by a smooth window. ``between`` is called before
    each tile and may raise to stop."""
    if len(places) == 1:
        between()
        return torch.sigmoid(net(image[None])[0].float())
    weight = _bell(tile).to(image.device)
    total = image.new_zeros((channels, *image.shape[1:]))
    norm = image.new_zeros(image.shape[1:])
    for start in places:
        between()
        where = tuple(slice(s, s + t) for s, t in zip(start, tile, strict=True))
        total[(slice(None), *where)] += torch.sigmoid(net(image[(slice(None), *where)][None])[0].float()) * weight
        norm[where] += weight
    return total / norm


def _bell(tile: Shape3) -> torch.Tensor:
    """Separable Hann-like weight, positive everywhere."""
    sides = [torch.sin(torch.pi * (torch.arange(n) + 0.5) / n) ** 2 + 1e-3 for n in tile]
    return sides[0][:, None, None] * sides[1][None, :, None] * sides[2][None, None, :]
