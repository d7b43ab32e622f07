"""A second network, on the whole tumour's box: which of its tissue is core, which enhances, and where its border lies.

The first network sees the whole brain and finds the tumour. What is core and what enhances is told by the tissue itself and
what lies about it; a small network without normalisation, which sees little else and no feature of the first, learns that from
few cases better than a large one does (cascades of regions: Wang 2017, arXiv:1709.00382).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from brainseg_engine.nets.folding import fold, unfold
from brainseg_engine.recipe import SecondStageConfig

_FOLD = 2
_SLOPE = 0.1
_EMPTY = -20.0
"""The logit of the whole tumour beyond the array: there is none."""
POSSIBLE = -2.0
"""Logit of the whole tumour above which the second stage decides; beside that, the first one's answer stays."""
_REACH = 2
"""Voxels by which the whole tumour may grow beyond that."""
Box = tuple[slice, slice, slice]


class SecondStage(nn.Module):
    """(images (N, C, X, Y, Z), logits (N, K, X, Y, Z) of the first network, the whole tumour's first) → logits (N, K, X, Y, Z).

    A share of them is the mean of the members' logits, within the box of the tumour and its surroundings, where tumour is
    possible. The whole tumour's stay what they are, unless ``config.whole_tumour``: then they change too, as far as 2 voxels
    beyond. Empty margins change nothing. ``difference``: the numbers of two series, of which the second minus the first is
    one input more.
    """

    def __init__(
        self, channels: int, regions: int, config: SecondStageConfig, difference: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.share = config.share
        self.margin, self.divisor = config.margin, _FOLD * 2 ** (len(config.filters) - 1)
        self.difference = difference
        inner = (channels + 1 + (difference is not None)) * _FOLD**3
        self.whole_tumour = config.whole_tumour
        self.answers = slice(0 if config.whole_tumour else 1, None)
        """Which of the regions."""
        outer = (regions - (not config.whole_tumour)) * _FOLD**3
        self.everywhere = False
        """Whether the whole array is the box: for graphs, which cannot depend on what is found."""
        self.members = nn.ModuleList(_LocalNet(inner, outer, config.filters) for _ in range(config.members))

    def forward(self, images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Of each sample for itself, since each has its own box."""
        return torch.stack([self._of_one(x, z) for x, z in zip(images, logits, strict=True)])

    def _of_one(self, image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if self.everywhere:
            mixed = self._mixed(logits, self._answer(image, logits[:1]), self.possible(logits[:1]))
            return mixed if self.whole_tumour else torch.cat([logits[:1], mixed])
        box = self.box(image, logits[0])
        if box is None:
            if not torch.is_grad_enabled():
                return logits
            box = (slice(0, self.divisor),) * 3  # several processes wait for everyone's gradient
        answer = self._answer(_cut(image, box, 0.0), _cut(logits[:1], box, _EMPTY))
        inside, own = _overlap(box, logits.shape[1:])
        held = logits[(slice(None), *inside)]
        out = logits.clone()
        out[(self.answers, *inside)] = self._mixed(held, answer[(slice(None), *own)], self.possible(held[:1]))
        return out

    def _mixed(self, logits: torch.Tensor, answer: torch.Tensor, possible: torch.Tensor) -> torch.Tensor:
        """Of the regions that are answered: the share of the answer, where tumour is possible."""
        first = logits[self.answers]
        return first.lerp(answer.to(first.dtype), self.share).where(possible, first)

    def possible(self, tumour: torch.Tensor) -> torch.Tensor:
        """Where the answer counts, of the whole tumour's logits (1, X, Y, Z)."""
        possible = tumour > POSSIBLE
        return grown(possible, _REACH) if self.whole_tumour else possible

    def _answer(self, image: torch.Tensor, tumour: torch.Tensor) -> torch.Tensor:
        """The members' mean: logits of the regions that are answered, (…, X, Y, Z)."""
        seen = self.seen(image, tumour)
        answer: torch.Tensor = self.members[0](seen)[0]
        for member in self.members[1:]:
            answer = answer + member(seen)[0]
        return answer / len(self.members)

    def seen(self, image: torch.Tensor, tumour: torch.Tensor) -> torch.Tensor:
        """What the members see of images (C, X, Y, Z) and the whole tumour's logits (1, X, Y, Z), folded: the images, the
        difference of two (0 where one is missing), and the tumour's probability from −1 to 1."""
        parts = [image]
        if self.difference is not None:
            before, after = (image[n : n + 1] for n in self.difference)
            parts.append((after - before) * (before.any() & after.any()))
        return fold(torch.cat([*parts, tumour.sigmoid().to(image.dtype) * 2 - 1])[None], _FOLD)

    def box(self, image: torch.Tensor, tumour: torch.Tensor) -> Box | None:
        """That of the tumour's logits (X, Y, Z) above 0, with its margin as far as there is brain in the images (C, X, Y, Z), of
        sides that fit. It may reach beyond the array, so that it is the same one in a larger array. None without tumour."""
        found = tumour > 0
        if not bool(found.any()):
            return None
        brain = (image != 0).amax(dim=0)  # any() takes five times as long
        sides = []
        for axis in range(3):
            (least, most), (first, last) = _ends(brain, axis), _ends(found, axis)
            # in whole steps from the brain's corner: a few voxels more of tumour do not move the coarser grids
            corner = least // _FOLD * _FOLD
            start = corner + max(0, first - self.margin - corner) // self.divisor * self.divisor
            length = min(most, last + self.margin) + 1 - start
            sides.append(slice(start, start + max(1, -(-length // self.divisor)) * self.divisor))
        return sides[0], sides[1], sides[2]


class _LocalNet(nn.Module):
    """(N, C, X, Y, Z) folded → logits (N, K, 2X, 2Y, 2Z); sides are multiples of 2^(levels − 1). A voxel sees its surroundings,
    and no mean over all of them."""

    def __init__(self, inner: int, outer: int, filters: Sequence[int]) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(filters))
        self.first = nn.Conv3d(inner, filters[0], 3, padding=1)
        self.down = nn.ModuleList(_LocalBlock(width) for width in filters)
        self.step = nn.ModuleList(nn.Conv3d(fine, coarse, 3, 2, padding=1) for fine, coarse in pairs)
        self.back = nn.ModuleList(nn.Conv3d(coarse, fine, 1) for fine, coarse in pairs)
        self.up = nn.ModuleList(_LocalBlock(width) for width in filters[:-1])
        self.last = nn.Conv3d(filters[0], outer, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits."""
        x = self.down[0](self.first(x))
        kept = []
        for step, block in zip(self.step, self.down[1:], strict=True):
            kept.append(x)
            x = block(step(x))
        for back, block in zip(reversed(self.back), reversed(self.up), strict=True):
            x = block(functional.interpolate(back(x), scale_factor=2.0, mode="trilinear") + kept.pop())
        return unfold(self.last(functional.leaky_relu(x, _SLOPE)), _FOLD)


class _LocalBlock(nn.Module):
    """Leaky ReLU, convolve, twice; a share of it, at first a tenth, plus its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv3d(width, width, 3, padding=1) for _ in range(2))
        self.share = nn.Parameter(torch.full((1, width, 1, 1, 1), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the same shape."""
        y = self.conv1(functional.leaky_relu(x, _SLOPE))
        y = self.conv2(functional.leaky_relu(y, _SLOPE, inplace=not torch.is_grad_enabled()))
        return torch.addcmul(x, y, self.share)


def grown(mask: torch.Tensor, voxels: int) -> torch.Tensor:
    """(1, X, Y, Z) and what lies within so many voxels of it along each axis; the same shape."""
    near = mask.float()[None]
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = 2 * voxels + 1, voxels
        near = functional.max_pool3d(near, size, 1, pad)
    return near[0] > 0


def _ends(mask: torch.Tensor, axis: int) -> tuple[int, int]:
    """The first and last place along an axis where there is any; (0, −1) without."""
    one, other = (a for a in range(3) if a != axis)
    at = mask.amax(dim=(one, other)).nonzero()
    return (int(at[0]), int(at[-1])) if len(at) else (0, -1)


def _overlap(box: Box, shape: Sequence[int]) -> tuple[Box, Box]:
    """(what of the array lies in the box, where in the box that is)."""
    inside = [slice(max(0, s.start), min(n, s.stop)) for s, n in zip(box, shape, strict=True)]
    own = [slice(i.start - s.start, i.stop - s.start) for i, s in zip(inside, box, strict=True)]
    return (inside[0], inside[1], inside[2]), (own[0], own[1], own[2])


def _cut(x: torch.Tensor, box: Box, beyond: float) -> torch.Tensor:
    """(C, X, Y, Z) → what lies in the box, filled up with ``beyond``."""
    inside, own = _overlap(box, x.shape[1:])
    pads = [(o.start, (s.stop - s.start) - o.stop) for o, s in zip(own, box, strict=True)]
    held = x[(slice(None), *inside)]
    return (
        functional.pad(held, [n for pair in reversed(pads) for n in pair], value=beyond)
        if any(map(any, pads))
        else held
    )
