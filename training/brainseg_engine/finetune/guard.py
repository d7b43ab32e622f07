"""The guard against forgetting: weights between the base model's and the trained ones, chosen by what they do.

w(α) = base + α · (trained − base), after Wortsman 2022 (arXiv:2109.01903). The rule: of the α whose mean Dice on the anchors
is at most ``LIMIT`` below the base model's, the one that gains most on the held-out corrections, of equals the smallest. With
nothing held out, the largest such α up to ``BLIND``. Where no α keeps within the limit, the one that loses least; the model
is then marked as worse. α = 0 is the base model itself and is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
LIMIT = 0.01
BLIND = 0.5
EQUAL = 1e-4
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Row:
    """Mean Dice, over cases and regions, of the weights at ``alpha``; None where there is no case."""

    alpha: float
    held_out: float | None
    anchors: float | None

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """``why`` in words."""

    alpha: float
    why: str
    rows: tuple[Row, ...]


def mixed(base: State, trained: State, alpha: float) -> dict[str, torch.Tensor]:
    """The weights at α; at 0 and 1 bit for bit those given. Counters (whole numbers) are the trained ones' from 0.5 on."""
    if alpha in (0.0, 1.0):
        return dict(trained if alpha else base)
    return {
        k: torch.lerp(v, trained[k], alpha) if v.is_floating_point() else (trained[k] if alpha >= 0.5 else v)
        for k, v in base.items()
    }


def choose(score: Callable[[float], Row], limit: float = LIMIT) -> Choice:
    """Score every α and choose by the rule."""
    return chosen([score(alpha) for alpha in ALPHAS], limit)


def chosen(rows: Sequence[Row], limit: float = LIMIT) -> Choice:
    """The choice among scored weights; the first row is the base model's (α = 0)."""
    base, others = rows[0], rows[1:]

    def lost(row: Row) -> float:
        return base.anchors - row.anchors if base.anchors is not None and row.anchors is not None else 0.0

    def gained(row: Row) -> float:
        return row.held_out - base.held_out if base.held_out is not None and row.held_out is not None else 0.0

    kept = [row for row in others if lost(row) <= limit]
    if not kept:
        best = min(others, key=lambda row: (round(lost(row) / EQUAL), row.alpha))
        why = f"every mix loses more than {limit:g} Dice on the anchors; this one loses least ({lost(best):.3f})"
    elif base.held_out is None:
        modest = [row for row in kept if row.alpha <= BLIND]
        best = max(modest, key=lambda row: row.alpha) if modest else min(kept, key=lambda row: row.alpha)
        why = f"nothing is held out, so a moderate mix that loses at most {limit:g} Dice on the anchors"
    else:
        best = max(kept, key=lambda row: (round(gained(row) / EQUAL), -row.alpha))
        what = "gains most" if gained(best) > EQUAL else "loses least (none gains)"
        why = f"of the mixes tried that lose at most {limit:g} Dice on the anchors, this one {what} on the held-out corrections"
        why += f" ({gained(best):+.3f})"
    return Choice(best.alpha, why, tuple(rows))
