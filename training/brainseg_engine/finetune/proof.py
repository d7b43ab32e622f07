"""Before and after, on the corrections held out and on the anchors: the comparison, and what may be concluded from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from brainseg_engine.core.labels import Region
from brainseg_engine.core.stats import Estimate, estimate
from brainseg_engine.evaluation import Comparison, Evaluation, compare
from brainseg_engine.finetune import wording
from brainseg_engine.finetune.guard import LIMIT
from brainseg_engine.finetune.scoring import case_means
from brainseg_engine.finetune.verdict import AT_A_COST, BETTER, NO_CLAIM, NO_WORSE, WORSE

RULE = (
    "Of each set the difference of a case is that of its mean Dice over the regions, after minus before. A set is "
    f'"{WORSE}" when the mean difference is below −{LIMIT:g}, or its 95 % interval lies below 0; "{BETTER}" when the interval '
    f'lies above 0, or, with fewer than 3 cases (no interval), when the mean is at least {LIMIT:g}; else "{NO_WORSE}". The '
    f'model is "{WORSE}" when either set is, with one exception: it is "{AT_A_COST}" when the held-out corrections are '
    f'"{BETTER}" and the mean on the anchors falls beyond chance, but by at most {LIMIT:g}. Else it is what the held-out '
    f'corrections are; "{NO_CLAIM}" when there are none. HD95 is shown beside it and decides nothing: one stray voxel moves '
    "it by centimetres."
)
"""What is concluded, and when."""
SETS: Mapping[str, str] = {"held_out": "held-out corrections", "anchors": "anchors"}


@dataclass(frozen=True)
class BeforeAfter:
    """One set of cases, scored with the base model and with the new one."""

    before: Evaluation
    after: Evaluation

    @cached_property
    def comparison(self) -> Comparison:
        """After − before, by region and metric."""
        return compare(self.after, self.before)

    @cached_property
    def difference(self) -> Estimate:
        """Of the mean Dice over regions."""
        before, after = case_means(self.before), case_means(self.after)
        return estimate([after[c] - before[c] for c in before if c in after])

    @property
    def verdict(self) -> str:
        """By the rule; "no claim" for no case."""
        d = self.difference
        if d.mean is None:
            return NO_CLAIM
        if d.mean < -LIMIT or (d.high is not None and d.high < 0):
            return WORSE
        sure = d.low > 0 if d.low is not None else d.mean >= LIMIT
        return BETTER if sure else NO_WORSE

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        d = self.difference
        return {
            "verdict": self.verdict,
            "difference": {"n": d.n, "dice": d.mean, "low": d.low, "high": d.high},
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "comparison": self.comparison.to_dict(),
        }

    def means(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """ "before" | "after" → region → {"dice", "hd95_mm"}, for a card."""
        out = {}
        for when, result in (("before", self.before), ("after", self.after)):
            out[when] = {
                str(r): {"dice": _rounded(s.dice, 4), "hd95_mm": _rounded(s.hd95_mm, 2)}
                for r, s in result.mean.items()
                if s.dice is not None or s.hd95_mm is not None
            }
        return out


def overall(sets: Mapping[str, BeforeAfter]) -> str:
    """The verdict on the model."""
    own = sets["held_out"].verdict if "held_out" in sets else NO_CLAIM
    anchors = sets.get("anchors")
    if anchors is None or anchors.verdict != WORSE or own == WORSE:
        return own
    lost = anchors.difference.mean
    return AT_A_COST if own == BETTER and lost is not None and lost >= -LIMIT else WORSE


def in_words(sets: Mapping[str, BeforeAfter], real_anchors: bool) -> str:
    """The verdict with its reasons, two or three sentences."""
    sentences = []
    for key, one in sets.items():
        d = one.difference
        if d.mean is None:
            continue
        sentences.append(wording.change(SETS[key], d.n, d.mean, d.low, d.high))
    verdict = overall(sets)
    if verdict == NO_CLAIM:
        sentences.append("Nothing was held out, so no claim is made for studies like the corrected ones.")
    if not real_anchors:
        sentences.append(
            "The anchors are phantoms: nothing is claimed about patients' cases of the kind it was first trained on."
        )
    return f"{verdict[0].upper()}{verdict[1:]}. {' '.join(sentences)}"


def rows(one: BeforeAfter) -> list[tuple[str, str, float | None, float | None, float | None, float | None]]:
    """(case or "mean", region, Dice before, Dice after, HD95 before, HD95 after), the regions measured alone."""
    out = []
    pairs = [(case, one.before.cases[case], one.after.cases[case]) for case in one.before.cases]
    for name, before, after in (*pairs, ("mean", one.before.mean, one.after.mean)):
        for r in Region:
            b, a = before[r], after[r]
            if b.dice is not None or a.dice is not None:
                out.append((name, str(r), b.dice, a.dice, b.hd95_mm, a.hd95_mm))
    return out


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
