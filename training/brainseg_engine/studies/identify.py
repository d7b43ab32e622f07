"""Which of a study's series are T1, T1ce, T2 and FLAIR: tags first, then words, then what the voxels look like, all at once.

Every series gets points for every use; the four uses are then given out together, one series each, so that the sum is
largest (a use may stay empty). The points: tags or words say the weighting; contrast by tag, words, the voxels (T1 and
T1ce of one description are told apart by nothing else) or the time within the exam; thin slices, coverage of the head and
original images count between candidates for the same use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np

from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.core.study import Modality
from brainseg_engine.studies import series_order
from brainseg_engine.studies.appearance import Look
from brainseg_engine.studies.contrast_given import believable, by_time
from brainseg_engine.studies.tag_rules import TagVerdict, contrast_by_words, fat_suppressed, judge

TOLD = 8.0
"""Points for the weighting that tags or words say; what the voxels say is log-odds within ±VOXELS."""
VOXELS = 5.0
T1_VOXELS = 1.5
"""The most that voxels say between T1 and T1ce: less than would take a T1 out of the choice."""
SLOPE = 5.0
"""Points that a T1 loses as T1ce for each unit of log-odds below -1, and the other way round."""
UNSAID = 1.5
"""What a contrast known by the time alone counts less."""
FIT = 0.1
"""Points that a series is not brought below by that alone: it is better than none, of a thin slab too."""
CANDIDATES = 6
"""At most so many series are weighed for one use."""
_T1S = (Modality.T1, Modality.T1CE)


@dataclass(frozen=True)
class SeriesProposal:
    """What one series is proposed for. ``use`` is None for one that is not used; ``reason`` is a sentence.

    ``could_be``: the uses it is the second choice for; ``confidence`` from 0 to 1; ``doubt``: what speaks against it.
    ``weighting_known``: tags or words say its weighting; ``excluded``: they say that it is none of the four.
    """

    series: SeriesFacts
    use: Modality | None
    reason: str
    confidence: float = 1.0
    could_be: tuple[Modality, ...] = ()
    doubt: str = ""
    weighting_known: bool = False
    excluded: bool = False


@dataclass(frozen=True)
class Choices:
    """The answer for a study: a proposal for every series, in the order they were given.

    ``chosen``: use → id of the series; ``alternatives``: use → ids of the others that could serve, the best first.
    """

    proposals: tuple[SeriesProposal, ...]
    chosen: Mapping[Modality, str] = field(default_factory=dict)
    alternatives: Mapping[Modality, tuple[str, ...]] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[Modality, ...]:
        """The uses that no series is chosen for."""
        return tuple(m for m in Modality if m not in self.chosen)

    def of(self, series_id: str) -> SeriesProposal:
        """The proposal for that series; KeyError where there is none of that id."""
        return next(p for p in self.proposals if p.series.id == series_id)


def identify(
    series: Sequence[SeriesFacts],
    looks: Mapping[str, Look] | None = None,
    known: Mapping[str, Modality | None] | None = None,
) -> Choices:
    """The choices for one study (one patient, one date).

    ``looks``: id → what the series looks like, for those whose voxels were read (:func:`worth_a_look` tells which);
    ``known``: id → use, remembered for such names (:mod:`brainseg_engine.studies.remembered`): it counts like a tag.
    """
    looks, known = looks or {}, known or {}
    verdicts = {f.id: judge(g) for f, g in zip(series, believable(series), strict=True)}
    points = {f.id: _points(f, verdicts[f.id], looks.get(f.id)) for f in series}
    for f in series:
        if f.id in known:
            points[f.id] = {m: TOLD + 4 if known[f.id] is m else -TOLD for m in Modality}
    timed = by_time(believable(series), verdicts)
    for id_, m in timed.items():
        _time_counts(points[id_], m)
    chosen = _best(series, points, looks)
    ranked = {m: [f.id for f in _ranked(series, points, m) if f.id not in chosen.values()] for m in Modality}
    alternatives = {m: tuple(ids) for m, ids in ranked.items() if ids}
    uses = {id_: m for m, id_ in chosen.items()}
    fitting = _fit_together(chosen, looks)
    proposals = tuple(
        _proposal(f, verdicts[f.id], uses.get(f.id), points, alternatives, looks, timed, f.id in known, fitting)
        for f in series
    )
    return Choices(proposals, {m: chosen[m] for m in Modality if m in chosen}, alternatives)


def worth_a_look(series: Sequence[SeriesFacts]) -> list[str]:
    """Ids of the series whose voxels can help: those that tags and words do not exclude."""
    return [f.id for f, g in zip(series, believable(series), strict=True) if not judge(g).other]


def quality(facts: SeriesFacts) -> float:
    """Points between candidates for one use, at most 0: thick slices, little coverage and copies count against it."""
    loss = 0.0
    if facts.slice_mm is not None:
        loss += 0.25 * max(0.0, min(facts.slice_mm, 10.0) - 1.0)
    if facts.spacing is not None and facts.calibrated:
        loss += 0.5 * max(0.0, sorted(facts.spacing)[1] - 2.0)  # so coarse are scans that prepare others
    if facts.coverage_mm is not None and facts.calibrated:
        loss += sum(0.03 * max(0.0, 130.0 - c) for c in facts.coverage_mm)
    if facts.plane in ("coronal", "sagittal") and (facts.slice_mm or 0) > 2:
        loss += 0.5
    types = {t.upper() for t in facts.image_type}
    return -loss - 0.5 * ("DERIVED" in types) - 0.5 * ("SECONDARY" in types)


def _points(facts: SeriesFacts, verdict: TagVerdict, look: Look | None) -> dict[Modality, float]:
    """Use → points; below 0 it is better left empty."""
    if verdict.other:
        return dict.fromkeys(Modality, -np.inf)
    seen = dict.fromkeys(Modality, 0.0) if look is None else series_order.role_scores(look)
    worth = quality(facts) - (1.5 if verdict.reformatted else 0.0) - (0.4 if fat_suppressed(facts) else 0.0)
    if verdict.family is None:
        # only the voxels speak: none of it counts unless one was looked at
        return {m: (4.0 + max(seen[m], -VOXELS) if look is not None else -TOLD) + worth for m in Modality}
    base = TOLD if verdict.by_times else TOLD - 2
    points = dict.fromkeys(Modality, -TOLD)
    if verdict.family is not Modality.T1:
        worth -= 0.4 if contrast_by_words(facts) else 0.0  # T2 and FLAIR without are the rule
        points[verdict.family] = base + 0.4 * max(seen[verdict.family], -VOXELS) + worth
        return points
    odds = T1_VOXELS * float(np.tanh((seen[Modality.T1CE] - seen[Modality.T1]) / VOXELS))
    odds += {True: 6.0, False: -6.0, None: -3.0 if look is None else 0.0}[verdict.contrast]
    points[Modality.T1] = base + SLOPE * min(0.0, 1 - odds) + worth
    points[Modality.T1CE] = base + SLOPE * min(0.0, 1 + odds) + worth
    return points


def _time_counts(points: dict[Modality, float], use: Modality) -> None:
    """A T1 was measured before or after contrast was given: it counts nearly as much as a tag or a word that says so."""
    most = max(points[m] for m in _T1S)
    for m in _T1S:
        points[m] = min(most, max(most - UNSAID, FIT)) if m is use else points[m] - (TOLD - 2)


def _ranked(
    series: Sequence[SeriesFacts], points: Mapping[str, Mapping[Modality, float]], m: Modality
) -> list[SeriesFacts]:
    return sorted((f for f in series if points[f.id][m] > 0), key=lambda f: -points[f.id][m])


def _best(
    series: Sequence[SeriesFacts], points: Mapping[str, Mapping[Modality, float]], looks: Mapping[str, Look]
) -> dict[Modality, str]:
    """Use → series, one each, with the largest sum of points and of what pairs look like together."""
    candidates = {m: [f.id for f in _ranked(series, points, m)][:CANDIDATES] for m in Modality}
    pairs = _pairs(candidates, looks)
    best: tuple[float, dict[Modality, str]] = (0.0, {})
    for given in product(*[(None, *candidates[m]) for m in Modality]):
        taken = [i for i in given if i is not None]
        if len(set(taken)) < len(taken):
            continue
        chosen = {m: i for m, i in zip(Modality, given, strict=True) if i is not None}
        total = sum(points[i][m] for m, i in chosen.items())
        total += sum(pairs.get((a, chosen[a], b, chosen[b]), 0.0) for a, b in combinations(chosen, 2))
        if total > best[0]:
            best = (total, chosen)
    return best[1]


def _pairs(
    candidates: Mapping[Modality, Sequence[str]], looks: Mapping[str, Look]
) -> dict[tuple[Modality, str, Modality, str], float]:
    """What the voxels of two candidates say together, for every two uses."""
    ids = sorted({i for some in candidates.values() for i in some if i in looks})
    seen = {}
    for a, b in combinations(ids, 2):
        scores = series_order.pair_scores(looks[a], looks[b])
        middle = sum(scores.values()) / len(scores)  # only differences have a meaning
        seen[a, b] = {uses: s - middle for uses, s in scores.items()}
    return {
        (m, i, n, j): seen[(i, j)][(m, n)] if (i, j) in seen else seen[(j, i)][(n, m)]
        for m, n in combinations(Modality, 2)
        for i in candidates[m]
        for j in candidates[n]
        if i != j and i in looks and j in looks
    }


def _proposal(
    facts: SeriesFacts,
    verdict: TagVerdict,
    use: Modality | None,
    points: Mapping[str, Mapping[Modality, float]],
    alternatives: Mapping[Modality, tuple[str, ...]],
    looks: Mapping[str, Look],
    timed: Mapping[str, Modality],
    remembered: bool,
    fitting: bool,
) -> SeriesProposal:
    look = looks.get(facts.id)
    seen = series_order.likely(look) if look is not None else None
    could_be = tuple(m for m, ids in alternatives.items() if facts.id in ids)
    if use is None:
        if could_be:
            reason = f"Second choice for {' and '.join(m.title for m in could_be)}: {verdict.reason}."
        else:
            reason = f"Not used: {verdict.reason}."
        return SeriesProposal(
            facts,
            None,
            reason,
            could_be=could_be,
            weighting_known=verdict.family is not None,
            excluded=bool(verdict.other),
        )
    own = points[facts.id]
    why = [verdict.reason] if verdict.family is not None else []
    if remembered:
        why = ["assigned so before for series of this name"]
    if verdict.family is None and not remembered:
        why.append("by what its voxels look like alone")
    elif use in _T1S and verdict.contrast is None and not remembered:
        why.append(_contrast_reason(use, seen, timed.get(facts.id)))
    if alternatives.get(use):
        why.append(f"chosen for its {_advantage(facts)} among {1 + len(alternatives[use])} candidates")
    others = [v for m, v in own.items() if m is not use]
    odds = own[use] - max(0.0, *others)
    return SeriesProposal(
        facts, use, f"{use.title}: {', '.join(w for w in why if w)}.", round(1 / (1 + float(np.exp(-odds))), 3), could_be,
        ". ".join(filter(None, (verdict.doubt, _contradiction(use, look, fitting)))),
        weighting_known=verdict.family is not None,
    )  # fmt: skip


def _contrast_reason(use: Modality, seen: tuple[Modality, float] | None, timed: Modality | None) -> str:
    if timed is use:
        return "measured after contrast was given" if use is Modality.T1CE else "measured before contrast was given"
    if seen is not None and seen[0] is use:
        return f"{'with' if use is Modality.T1CE else 'without'} contrast by what its voxels look like"
    return "nothing tells whether contrast was given"


def _contradiction(use: Modality, look: Look | None, fitting: bool) -> str:
    """What a series looks like, where that is not its use; ``fitting``: beside the others that are chosen it is."""
    if look is None:
        return ""
    what, sure = series_order.likely(look)
    return f"its voxels look like {what.title}" if what is not use and sure > (0.99 if fitting else 0.95) else ""


def _fit_together(chosen: Mapping[Modality, str], looks: Mapping[str, Look]) -> bool:
    """Whether what was chosen looks, taken together, clearly more like it than in any other order."""
    seen = {m: looks[i] for m, i in chosen.items() if i in looks}
    if len(seen) < 2:
        return False
    scores = series_order.order_scores(seen)
    own = scores.pop(tuple(seen))
    return own - max(scores.values()) > series_order.alarm(seen)


def _advantage(facts: SeriesFacts) -> str:
    if facts.slice_mm is not None and facts.slice_mm <= 2:
        return f"thin slices ({facts.slice_mm:.2g} mm)"
    return "slices, coverage and plane"
