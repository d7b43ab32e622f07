"""A series whose field of view ends inside the head: where it shows nothing, the answer is that of the other series.

A network that stands a missing series still takes the 0 beyond a cut one for tissue, and misses what only shows there. Asked
once more without that series, it answers the part as it does a study that lacks it; the rest of the brain keeps all series.
What that gains is measured in ``benchmarks/stress``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from brainseg_engine.core.study import Modality
from brainseg_engine.recipe import Recipe
from brainseg_engine.studies.checks import COVERED

_REACH, _SOFT = 8, 4
"""Voxels: how far beyond the gap the network is misled by it, and over how many the two answers are blended into each other."""
Gap = tuple[int, torch.Tensor]
"""The number of a series, and where in (X, Y, Z) the answer without it counts, from 0 to 1."""


def found(image: torch.Tensor, recipe: Recipe) -> list[Gap]:
    """Those of a preprocessed image (C, X, Y, Z), 0 where a series shows nothing; of series that the model may lack."""
    few = image[:, ::2, ::2, ::2] != 0
    present = [n for n, shows in enumerate(few) if bool(shows.any())]
    names, gaps = recipe.modalities, []
    for n in present:
        others = [k for k in present if k != n]
        if len(others) < 2 or not recipe.needed.met_by([names[k] for k in others]):
            continue
        brain = _most(few[others])
        if int((brain & ~few[n]).sum()) > (1 - COVERED) * int(brain.sum()):
            gaps.append((n, _blended(_most(image[others] != 0) & (image[n] == 0))))
    return gaps


def filled(answered: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, gaps: Sequence[Gap]) -> torch.Tensor:
    """(C, X, Y, Z) → the answer (K, X, Y, Z), in each gap that of the image without the series."""
    answer = answered(image)
    for n, where in gaps:
        without = image.clone()
        without[n] = 0
        answer = answer.lerp(answered(without), where.to(answer))
    return answer


def words(gaps: Sequence[Gap], image: torch.Tensor, modalities: Sequence[Modality]) -> str:
    """A sentence for each, "" without any."""
    brain = max(1, int((image != 0).any(dim=0).sum()))
    return " ".join(
        f"{modalities[n].title} does not show {100 * int((where > 0.5).sum()) / brain:.0f} % of the brain; there the result "
        "rests on the other series."
        for n, where in gaps
    )


def _most(there: torch.Tensor) -> torch.Tensor:
    """(C, X, Y, Z) → where most of the series show something."""
    return there.sum(dim=0) > len(there) // 2


def _blended(gap: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z): 1 in it, falling to 0 beyond its reach."""
    x = gap.float()[None, None]
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = 2 * _REACH + 1, _REACH
        x = functional.max_pool3d(x, size, 1, pad)
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = 2 * _SOFT + 1, _SOFT
        x = functional.avg_pool3d(x, size, 1, pad, count_include_pad=False)
    return x[0, 0]
