"""Running a network over an array that may be larger than its window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch

from brainseg_engine.core.geometry import Shape3
from brainseg_engine.recipe import Output, Window

Network = Callable[[torch.Tensor], torch.Tensor]
Between = Callable[[], None]
SLICES_AT_ONCE = 8


def starts(size: int, window: int, overlap: float, fixed: bool = False) -> list[int]:
    """Where tiles of ``window`` begin along an axis of ``size`` so that they cover it: evenly spaced, or in ``fixed`` steps
    with the last one pushed back to fit."""
    if size <= window:
        return [0]
    if fixed:
        step = max(1, int(window * (1 - overlap)))
        return [min(first, size - window) for first in range(0, size - window + step, step)]
    steps = -(-(size - window) // max(1, int(window * (1 - overlap))))
    return [round(i * (size - window) / steps) for i in range(steps + 1)]


def plan(
    shape: Sequence[int], largest: Shape3, overlap: float, divisor: Shape3, fixed: bool = False
) -> tuple[Shape3, list[Shape3]]:
    """(tile shape, tile starts) for an array of ``shape``, whose sides are multiples of ``divisor``."""
    tile = [min(n, max(d, w // d * d)) for n, w, d in zip(shape, largest, divisor, strict=True)]
    rows = [starts(n, t, overlap, fixed) for n, t in zip(shape, tile, strict=True)]
    return (tile[0], tile[1], tile[2]), [(a, b, c) for a in rows[0] for b in rows[1] for c in rows[2]]


def run(
    net: Network,
    image: torch.Tensor,
    tile: Shape3,
    places: list[Shape3],
    output: Output,
    between: Between,
    window: Window | None = None,
) -> torch.Tensor:
    """Probabilities (K, X, Y, Z) of the network's answer, or logits where the ``window`` averages these; tiles are blended by
    its weights. ``between`` is called before each pass and may raise to stop."""
    window = window or Window()
    images = mirrored(window)

    def answer(x: torch.Tensor) -> torch.Tensor:
        if len(images) == 1 and window.average == "probabilities":
            between()
            return probabilities(net(x), output)[0]
        total = None
        for axes in images:
            between()
            logits = net(x.flip(axes)).flip(axes)
            found = probabilities(logits, output) if window.average == "probabilities" else logits.float()
            total = found if total is None else total + found
        mean: torch.Tensor = total[0] / len(images)  # type: ignore[index]  # there is one at least
        return mean

    if len(places) == 1 and window.weights != "nnunet":
        return answer(image[None])
    weight = WEIGHTS[window.weights](tile).to(image.device)
    total = weight.new_zeros((output.channels, *image.shape[1:]))
    norm = weight.new_zeros(image.shape[1:])
    if window.weights == "nnunet":  # sums in half precision depend on their order: that of nnU-Net's axes
        places = sorted(places, key=lambda start: start[::-1])
    for start in places:
        where = tuple(slice(s, s + t) for s, t in zip(start, tile, strict=True))
        total[(slice(None), *where)] += answer(image[(slice(None), *where)][None]) * weight
        norm[where] += weight
    return (total / norm).float()


def run_slices(net: Network, image: torch.Tensor, output: Output, between: Between) -> torch.Tensor:
    """Probabilities (K, X, Y, Z) of a network of axial slices (N, C, Y, X), a few whole slices at a time."""
    slices = image.permute(3, 0, 2, 1)
    answer = image.new_empty((slices.shape[0], output.channels, *slices.shape[2:]))
    for first in range(0, slices.shape[0], SLICES_AT_ONCE):
        between()
        some = slice(first, first + SLICES_AT_ONCE)
        answer[some] = probabilities(net(slices[some].contiguous()), output)
    return answer.permute(1, 3, 2, 0).contiguous()


def mirrored(window: Window) -> list[tuple[int, ...]]:
    """The axes of (N, C, X, Y, Z) to flip for each of a tile's mirror images; none for itself."""
    axes = ["xyz".index(a) + 2 for a in window.mirror_axes]
    return [some for n in range(len(axes) + 1) for some in itertools.combinations(axes, n)]


def rounds(image: Sequence[int], places: Sequence[Shape3], dimensions: int, window: Window | None = None) -> int:
    """How often ``between`` is called for an array of that shape."""
    if dimensions == 2:
        return -(-image[-1] // SLICES_AT_ONCE)
    return len(places) * len(mirrored(window or Window()))


def probabilities(logits: torch.Tensor, output: Output) -> torch.Tensor:
    """Logits (N, K, …) of any precision → float32 probabilities: sigmoid for regions, softmax for classes."""
    logits = logits.float()
    return logits.softmax(dim=1) if output.kind == "classes" else torch.sigmoid(logits)


def _bell(tile: Shape3) -> torch.Tensor:
    """Separable Hann-like weight, positive everywhere."""
    sides = [torch.sin(torch.pi * (torch.arange(n) + 0.5) / n) ** 2 + 1e-3 for n in tile]
    return _outer(sides)


def _gaussian(tile: Shape3) -> torch.Tensor:
    """MONAI's: centred, its standard deviation an eighth of each side, never below a thousandth."""
    found = _outer([torch.exp(-((torch.arange(n) - (n - 1) / 2) ** 2) / (2 * (n / 8) ** 2)) for n in tile])
    return found.clamp_min(max(float(found.min()), 1e-3))


def _of_nnunet(tile: Shape3) -> torch.Tensor:
    """nnU-Net's: about the voxel in the middle, its standard deviation an eighth of each side, cut at four of them, and the
    smallest positive value where that is 0. All in half precision, and so are its sums: towards the corners they are coarse, and
    an answer that is to be nnU-Net's has to be as coarse."""
    sides = []
    for n in tile:
        off = (torch.arange(n, dtype=torch.float64) - n // 2).abs()
        sides.append(torch.exp(-(off**2) / (2 * (n / 8) ** 2)) * (off <= int(4 * (n / 8) + 0.5)))
    found = (_outer(sides) * 10).half()
    return torch.where(found == 0, found[found > 0].min(), found)


def _outer(sides: list[torch.Tensor]) -> torch.Tensor:
    return sides[0][:, None, None] * sides[1][None, :, None] * sides[2][None, None, :]


WEIGHTS: Mapping[str, Callable[[Shape3], torch.Tensor]] = {
    "bell": _bell,
    "constant": torch.ones,
    "gaussian": _gaussian,
    "nnunet": _of_nnunet,
}
"""Of a tile (x, y, z), by the name that a recipe's window has for them."""
