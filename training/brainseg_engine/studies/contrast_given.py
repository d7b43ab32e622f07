"""When contrast was given in an exam: what the tags of one series alone cannot tell, all series together often do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.core.study import Modality
from brainseg_engine.studies.tag_rules import TagVerdict, agent_named, by_bolus, words_of


def believable(series: Sequence[SeriesFacts]) -> list[SeriesFacts]:
    """The same series without what tells nothing because all bear it.

    An agent's name on the first series of an exam stands for the exam (nobody is given contrast before the first image), and
    a protocol's name that series of several names share is the exam's.
    """
    first = min((f for f in series if f.acquired is not None), key=lambda f: f.acquired or datetime.max, default=None)
    idle = first is not None and agent_named(first) and len(series) > 1
    names: dict[str, set[str]] = {}
    for f in series:
        names.setdefault(f.protocol, set()).add(f.description)
    return [
        replace(
            f, contrast=None if idle else f.contrast,
            protocol="" if f.description and len(names[f.protocol]) > 1 else f.protocol,
        )
        for f in series
    ]  # fmt: skip


def by_time(series: Sequence[SeriesFacts], verdicts: Mapping[str, TagVerdict]) -> dict[str, Modality]:
    """T1s whose tags and words do not tell, by the clock: measured after contrast was given it is T1ce.

    Contrast was given before any series that names it, and by the end of a perfusion series. Where neither tells, of twins
    (one name, one plane) the first is T1 and the later ones T1ce.
    """
    t1s = [f for f in series if verdicts[f.id].family is Modality.T1 and f.acquired is not None]
    named = [f.acquired for f in series if f.acquired is not None and (verdicts[f.id].contrast or agent_named(f))]
    bolus = [f.acquired for f in series if f.acquired is not None and by_bolus(f)]
    told_by_time = {}
    for f in t1s:
        if verdicts[f.id].contrast is not None or f.acquired is None:
            continue
        twins = [
            g.acquired for g in t1s if g is not f and _same_protocol(f, g) and g.acquired not in (None, f.acquired)
        ]
        after = any(f.acquired >= t for t in named + bolus) or any(f.acquired > t for t in twins if t is not None)
        if after or twins or named:
            told_by_time[f.id] = Modality.T1CE if after else Modality.T1
    return told_by_time


def _same_protocol(a: SeriesFacts, b: SeriesFacts) -> bool:
    return a.plane == b.plane and words_of(a).lower() == words_of(b).lower()
