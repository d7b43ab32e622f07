"""Running a network over an array that may be larger than its window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from brainseg_engine.core.geometry import Shape3
from brainseg_engine.recipe import Output

Network = Callable[[torch.Tensor], torch.Tensor]
Between = Callable[[], None]
SLICES_AT_ONCE = 8


def starts(size: int, window: int, overlap: float) -> list[int]:
    """Where tiles of ``window`` begin along an axis of ``size`` so that they cover it, evenly spaced."""
    if size <= window:
        return [0]
    steps = -(-(size - window) // max(1, int(window * (1 - overlap))))
    return [round(i * (size - window) / steps) for i in range(steps + 1)]


def plan(shape: Sequence[int], largest: Shape3, overlap: float, divisor: Shape3) -> tuple[Shape3, list[Shape3]]:
    """(tile shape, tile starts) for an array of ``shape``, whose sides are multiples of ``divisor``."""
    tile = [min(n, max(d, w // d * d)) for n, w, d in zip(shape, largest, divisor, strict=True)]
    rows = [starts(n, t, overlap) for n, t in zip(shape, tile, strict=True)]
    return (tile[0], tile[1], tile[2]), [(a, b, c) for a in rows[0] for b in rows[1] for c in rows[2]]


def run(
    net: Network, image: torch.Tensor, tile: Shape3, places: list[Shape3], output: Output, between: Between
) -> torch.Tensor:
    """Probabilities (K, X, Y, Z) of the network's answer, tiles blended by a smooth window. ``between`` is called before
    each tile and may raise to stop."""
    if len(places) == 1:
        between()
        return probabilities(net(image[None]), output)[0]
    weight = _bell(tile).to(image.device)
    total = image.new_zeros((output.channels, *image.shape[1:]))
    norm = image.new_zeros(image.shape[1:])
    for start in places:
        between()
        where = tuple(slice(s, s + t) for s, t in zip(start, tile, strict=True))
        total[(slice(None), *where)] += probabilities(net(image[(slice(None), *where)][None]), output)[0] * weight
        norm[where] += weight
    return total / norm


def run_slices(net: Network, image: torch.Tensor, output: Output, between: Between) -> torch.Tensor:
    """Probabilities (K, X, Y, Z) of a network of axial slices (N, C, Y, X), a few whole slices at a time."""
    slices = image.permute(3, 0, 2, 1)
    found = image.new_empty((slices.shape[0], output.channels, *slices.shape[2:]))
    for first in range(0, slices.shape[0], SLICES_AT_ONCE):
        between()
        some = slice(first, first + SLICES_AT_ONCE)
        found[some] = probabilities(net(slices[some].contiguous()), output)
    return found.permute(1, 3, 2, 0).contiguous()


def rounds(image: Sequence[int], places: Sequence[Shape3], dimensions: int) -> int:
    """How often ``between`` is called for an array of that shape."""
    return -(-image[-1] // SLICES_AT_ONCE) if dimensions == 2 else len(places)


def probabilities(logits: torch.Tensor, output: Output) -> torch.Tensor:
    """Logits (N, K, …) of any precision → float32 probabilities: sigmoid for regions, softmax for classes."""
    logits = logits.float()
    return logits.softmax(dim=1) if output.kind == "classes" else torch.sigmoid(logits)


def _bell(tile: Shape3) -> torch.Tensor:
    """Separable Hann-like weight, positive everywhere."""
    sides = [torch.sin(torch.pi * (torch.arange(n) + 0.5) / n) ** 2 + 1e-3 for n in tile]
    return sides[0][:, None, None] * sides[1][None, :, None] * sides[2][None, None, :]
