"""The part of the model that is adapted: what a small network adds to its logits, fitted to a few slices in seconds.

The features before the model's last convolution are computed once; a network of one hidden layer turns them, with the
images and the model's own logits, into a correction of the logits. It begins at zero, so that before the first step the
adapted model is the model. It learns what is right in the corrected slices, and elsewhere to leave the logits alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

# Chosen on training cases with artificially degraded images; the validation cases had no say. See benchmarks/propagate.
STEPS = 150
LEARNING_RATE = 1e-2
WEIGHT_DECAY = 1e-2
HIDDEN = 32
BATCH = 7200
"""Voxels a step: a third each from the corrected slices, from their part that is or might be tumour, and from elsewhere."""
STAY = 1.5
"""How much staying with the model elsewhere counts, beside what is right in the corrected slices."""
SMOOTH = 50.0
"""Voxels added to both sides of the Dice of a batch: a region of few voxels is no reason for a large step."""
CERTAIN = 10.0
"""Logits beyond are taken as this."""
MIGHT_BE = -4.0
"""Voxels whose logit of any region is above might be tumour."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What there is to learn from, (…, N) voxels of one box, flattened: ``inputs`` (D, N), the model's ``logits`` (R, N) with
    the recipe's threshold at 0, the ``truth`` (R, N) where ``known`` (N) holds, and the ``brain`` (N)."""

    inputs: torch.Tensor
    logits: torch.Tensor
    truth: torch.Tensor
    known: torch.Tensor
    brain: torch.Tensor


def fit(lesson: Lesson, seed: int, between: Callable[[int], None]) -> torch.Tensor:
    """What the adapted model adds to the logits, (R, N) float32. ``between(step)`` is called before each step and may raise."""
    draw = _Draw(lesson, seed)
    net = _network(len(lesson.inputs), len(lesson.logits), seed).to(lesson.inputs.device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, STEPS)
    for step in range(STEPS):
        between(step)
        inside, outside = draw.both()
        loss = _right(net, lesson, inside) + STAY * _same(net, lesson, outside)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        slower.step()
    added = torch.zeros_like(lesson.logits)
    with torch.no_grad():
        for some in torch.split(torch.nonzero(lesson.brain).flatten(), 1 << 18):
            added[:, some] = net(_rows(lesson.inputs, some)).T
    return added


def _network(inputs: int, regions: int, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = nn.Linear(HIDDEN, regions)
        net = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), last)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return net


def _right(net: nn.Module, lesson: Lesson, at: torch.Tensor) -> torch.Tensor:
    """Cross entropy and Dice on voxels of which the truth is known."""
    logits = _rows(lesson.logits, at) + net(_rows(lesson.inputs, at))
    truth, p = _rows(lesson.truth, at), torch.sigmoid(logits)
    overlap = (2 * (p * truth).sum(dim=0) + SMOOTH) / (p.sum(dim=0) + truth.sum(dim=0) + SMOOTH)
    loss: torch.Tensor = 3 * F.binary_cross_entropy_with_logits(logits, truth) + 1 - overlap.mean()
    return loss


def _same(net: nn.Module, lesson: Lesson, at: torch.Tensor) -> torch.Tensor:
    """Divergence from the model's own probabilities."""
    before = _rows(lesson.logits, at)
    p = torch.sigmoid(before)
    after = before + net(_rows(lesson.inputs, at))
    loss: torch.Tensor = 3 * (
        F.binary_cross_entropy_with_logits(after, p) - F.binary_cross_entropy_with_logits(before, p)
    )
    return loss


def _rows(columns: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return columns[:, at].T.float()


class _Draw:
    """Draws voxels, with replacement, the same for the same seed."""

    def __init__(self, lesson: Lesson, seed: int) -> None:
        self._chance = torch.Generator().manual_seed(seed)
        tumour = (lesson.logits > MIGHT_BE).any(dim=0)
        inside, outside = lesson.known & lesson.brain, lesson.brain & ~lesson.known
        of_interest = inside & (tumour | (lesson.truth > 0).any(dim=0))
        self._inside = [_places(inside), _places(of_interest)]
        self._outside = [_places(outside), _places(outside & tumour)]

    def both(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Voxels that are known, and voxels that are not."""
        return self._some(self._inside, BATCH // 3), self._some(self._outside, BATCH // 6)

    def _some(self, pools: list[torch.Tensor], n: int) -> torch.Tensor:
        drawn = [p[torch.randint(len(p), (n,), generator=self._chance).to(p.device)] for p in pools if len(p)]
        return torch.cat(drawn) if drawn else pools[0]


def _places(mask: torch.Tensor) -> torch.Tensor:
    return torch.nonzero(mask).flatten()
