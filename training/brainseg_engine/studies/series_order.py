"""What the voxels of a series look like, whatever its file says: T1, T1ce, T2 or FLAIR, with or without skull.

Which is which is scored by linear weights over the numbers of :mod:`brainseg_engine.studies.appearance`, for each series
alone and for every two of them, and decided for all series of a study together. The weights were fitted on training cases
of the stored split and on degraded variants of them (``scripts/train_series_order.py`` makes them again; the file says how
many of each);
``benchmarks/series`` has what they achieve on other cases. All of these are pre-operative gliomas in adults: expect less
after surgery or in children.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.once import once
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.studies.appearance import Look, look, pair_features, swapped

ALARM, HEAD_ALARM = 1.0, 3.0
"""By how much (log-odds) another order of the series must explain them better before it is reported: where all are stripped,
and where a head is among them, which are known less surely."""


@dataclass(frozen=True)
class _Weights:
    """``alone`` (4, F) and ``offsets`` (4,) by role; ``together``: two roles, in the order of Modality, → (P,).

    There is one set for stripped brains and one for whole heads.
    """

    alone: NDArray[np.float64]
    offsets: NDArray[np.float64]
    together: Mapping[tuple[Modality, Modality], NDArray[np.float64]]


@cache
def _weights(stripped: bool) -> _Weights:
    stored = json.loads(files("brainseg_engine.studies").joinpath("series_order.json").read_text(encoding="utf-8"))
    stored = stored["stripped" if stripped else "head"]
    pairs = combinations(Modality, 2)
    return _Weights(
        np.array(stored["weights"]),
        np.array(stored["offsets"]),
        {pair: np.array(v) for pair, v in zip(pairs, stored["pair_weights"], strict=True)},
    )


def role_scores(seen: Look) -> dict[Modality, float]:
    """Modality → log-probability that the series is it, by its own voxels."""
    w = _weights(seen.stripped)
    raw = w.alone @ seen.features + w.offsets
    return dict(zip(Modality, (raw - np.logaddexp.reduce(raw)).tolist(), strict=True))


def pair_scores(a: Look, b: Look) -> dict[tuple[Modality, Modality], float]:
    """(what ``a`` would be, what ``b`` would be) → what the two say together, in log-odds."""
    w, pair = _weights(a.stripped and b.stripped), pair_features(a, b)
    turned = swapped(pair)
    scores = {(m, n): float(v @ pair) for (m, n), v in w.together.items()}
    return scores | {(n, m): float(v @ turned) for (m, n), v in w.together.items()}


def likely(seen: Look) -> tuple[Modality, float]:
    """What one series looks like most, and with which probability."""
    scores = role_scores(seen)
    best = max(scores, key=lambda m: scores[m])
    return best, float(np.exp(scores[best]))


def likely_order(volumes: Mapping[Modality, Volume]) -> dict[Modality, Modality]:
    """What each series looks like: given modality → likely modality. The identity unless another order is clearly better.

    At least two series, on any grids, with or without skull. All ways to give them the uses that they were given are
    scored; another one is reported only when it leads by :func:`alarm`.
    """
    key = ("order", *((m, *v.grid.key) for m, v in volumes.items()))
    return dict(once([v.data for v in volumes.values()], key, lambda: _likely_order(volumes)))


def _likely_order(volumes: Mapping[Modality, Volume]) -> dict[Modality, Modality]:
    same = {m: m for m in volumes}
    looks = {m: seen for m, v in volumes.items() if (seen := look(v)) is not None}
    if len(looks) < len(volumes) or len(volumes) < 2:
        return same
    scores = order_scores(looks)
    best = max(scores, key=lambda order: scores[order])
    given = tuple(looks)
    return dict(zip(given, best, strict=True)) if scores[best] - scores[given] > alarm(looks) else same


def alarm(looks: Mapping[Modality, Look]) -> float:
    """The lead that another order needs before it is reported."""
    return ALARM if all(seen.stripped for seen in looks.values()) else HEAD_ALARM


def order_scores(looks: Mapping[Modality, Look]) -> dict[tuple[Modality, ...], float]:
    """For every order of the given modalities (what the first series would be, the second, …) → its score."""
    given = tuple(looks)
    alone = {m: role_scores(seen) for m, seen in looks.items()}
    together = {(a, b): pair_scores(looks[a], looks[b]) for a, b in combinations(given, 2)}
    return {
        order: sum(alone[a][m] for a, m in zip(given, order, strict=True))
        + sum(together[given[i], given[j]][order[i], order[j]] for i, j in combinations(range(len(given)), 2))
        for order in permutations(given)
    }
