"""A series whose field of view ends inside the head: where it shows nothing, the answer is that of the other series.

A network that stands a missing series still takes the 0 beyond a cut one for tissue, and misses what only shows there. Asked
once more without that series, it answers the part as it does a study that lacks it. Elsewhere all series count; but the more
of the tumour lies in that part, the less is a network to be trusted elsewhere that has seen a FLAIR without it: it finds tumour
in the healthy half. What both gain for FLAIR is measured in ``benchmarks/stress``; the other series are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from brainseg_engine.core.study import Modality
from brainseg_engine.inference.postprocess import of_regions
from brainseg_engine.inference.tiles import probabilities
from brainseg_engine.recipe import Output, Recipe
from brainseg_engine.studies.checks import COVERED

_PAYS = (Modality.FLAIR,)
"""T1ce and T2 gain nothing (six training cases, a quarter of the head cut off); T1 was not measured."""
_SOFT = 1
"""Voxels to both sides of the border, over which the two answers are blended: beyond it the usual answer is the better one."""


class Gap(NamedTuple):
    """A series by its number, the part of the brain that it does not show, and where in (X, Y, Z) the answer without it counts,
    from 0 to 1."""

    series: int
    part: float
    where: torch.Tensor


def found(image: torch.Tensor, recipe: Recipe) -> list[Gap]:
    """Those of a preprocessed image (C, X, Y, Z), 0 where a series shows nothing; of series that the model may lack."""
    few = image[:, ::2, ::2, ::2] != 0
    present = [n for n, shows in enumerate(few) if bool(shows.any())]
    names, gaps = recipe.modalities, []
    for n in present:
        others = [k for k in present if k != n]
        if names[n] not in _PAYS or len(others) < 2 or not recipe.needed.met_by([names[k] for k in others]):
            continue
        brain = _most(few[others])
        part = int((brain & ~few[n]).sum()) / max(1, int(brain.sum()))
        if part > 1 - COVERED:
            gaps.append(Gap(n, part, _blended(_most(image[others] != 0) & (image[n] == 0))))
    return gaps


def filled(
    answered: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    gaps: Sequence[Gap],
    output: Output,
    *,
    logits: bool,
) -> torch.Tensor:
    """(C, X, Y, Z) → the answer (K, X, Y, Z), ``logits`` or probabilities: in each gap that of the image without the series;
    elsewhere, too, by the square of the part of the tumour, as found without it, that lies in the gap (compared with other laws
    on training cases: docs/models/runs.md)."""
    answer = answered(image)
    for gap in gaps:
        without = image.clone()
        without[gap.series] = 0
        other = answered(without)
        tumour = of_regions(probabilities(other[None], output)[0] if logits else other, output).amax(dim=0) > 0.5
        where = gap.where.to(answer.device)
        inside = float(where[tumour].sum()) / max(1, int(tumour.sum()))
        answer = answer.lerp(other, (where + (1 - where) * inside**2).to(answer))
    return answer


def words(gaps: Sequence[Gap], modalities: Sequence[Modality]) -> str:
    """A sentence for each, "" without any."""
    return " ".join(
        f"{modalities[gap.series].title} does not show {100 * gap.part:.0f} % of the brain; there the result rests on the other "
        "series."
        for gap in gaps
    )


def _most(there: torch.Tensor) -> torch.Tensor:
    """(C, X, Y, Z) → where most of the series show something."""
    return there.sum(dim=0) > len(there) // 2


def _blended(gap: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z): 1 in it, falling to 0 across its border."""
    x = gap.float()[None, None]
    return functional.avg_pool3d(x, 2 * _SOFT + 1, 1, _SOFT, count_include_pad=False)[0, 0]
