"""The guard against forgetting: weights between the base model's and the trained ones, chosen by what they do.

w(α) = base + α · (trained − base), after Wortsman 2022 (arXiv:2109.01903). The rule: the largest α whose mean Dice on the
anchors kept for choosing is at most ``LIMIT`` below the base model's; at most ``BLIND`` where these are phantoms, or nothing is
held out to judge it by. Where no α keeps within the limit, the one that loses least. Neither the held-out corrections nor the
anchors that judge the model have a say, so that what they show afterwards is not chosen on them. α = 0 is the base model
itself and is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from brainseg_engine.finetune.verdict import LIMIT

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
BLIND = 0.5
EQUAL = 1e-4
StateDict = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class AlphaScore:
    """Mean Dice, over the anchors kept for choosing and their regions, of the weights at ``alpha``; None without any."""

    alpha: float
    anchors: float | None

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """How far the weights are moved (``alpha`` from 0, the base model, to 1), ``why`` in words, and the scores of all that
    were tried."""

    alpha: float
    why: str
    rows: tuple[AlphaScore, ...]


def mixed(base: StateDict, trained: StateDict, alpha: float) -> dict[str, torch.Tensor]:
    """The weights at α; at 0 and 1 bit for bit those given. Counters (whole numbers) are the trained ones' from 0.5 on."""
    if alpha in (0.0, 1.0):
        return dict(trained if alpha else base)
    return {
        k: torch.lerp(v, trained[k], alpha) if v.is_floating_point() else (trained[k] if alpha >= 0.5 else v)
        for k, v in base.items()
    }


def choose(score: Callable[[float], AlphaScore], most: float = 1.0, limit: float = LIMIT) -> Choice:
    """Score every α and choose by the rule, at most ``most``."""
    return chosen([score(alpha) for alpha in ALPHAS], most, limit)


def chosen(rows: Sequence[AlphaScore], most: float = 1.0, limit: float = LIMIT) -> Choice:
    """The choice among scored weights; the first row is the base model's (α = 0)."""
    base, others = rows[0], [row for row in rows[1:] if row.alpha <= most]

    def lost(row: AlphaScore) -> float:
        return base.anchors - row.anchors if base.anchors is not None and row.anchors is not None else 0.0

    kept = [row for row in others if lost(row) <= limit]
    if kept:
        best = max(kept, key=lambda row: row.alpha)
        if base.anchors is None:
            why = "a moderate mix, since no anchor could be scored"
        else:
            farther = "" if best is others[-1] else "; those farther away lose more"
            why = f"it loses at most {limit:g} Dice on the anchors kept for choosing ({-lost(best):+.3f}){farther}"
    else:
        best = min(others, key=lambda row: (round(lost(row) / EQUAL), row.alpha))
        why = f"every mix loses more than {limit:g} Dice on the anchors; this one loses least ({lost(best):.3f})"
    return Choice(best.alpha, why, tuple(rows))
