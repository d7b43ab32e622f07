"""Before and after, on the corrections held out and on the anchors: the comparison, and what may be concluded from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from brainseg_engine.core.labels import Region
from brainseg_engine.core.stats import Estimate, estimate
from brainseg_engine.evaluation import Comparison, Evaluation, compare
from brainseg_engine.finetune import verdict as verdicts
from brainseg_engine.finetune import wording
from brainseg_engine.finetune.scoring import case_means

SETS: Mapping[str, str] = {"held_out": "held-out corrections", "anchors": "anchors"}


@dataclass(frozen=True)
class BeforeAfter:
    """One set of cases, scored with the base model and with the new one.

    ``patients``: case → patient, the case itself where it is not named. ``edited``: case → the regions that a person
    changed, all where it is not named; a case without any is no evidence.
    """

    before: Evaluation
    after: Evaluation
    patients: Mapping[str, str] = field(default_factory=dict)
    edited: Mapping[str, Collection[Region]] = field(default_factory=dict)

    @cached_property
    def comparison(self) -> Comparison:
        """After − before, by region and metric."""
        return compare(self.after, self.before)

    @cached_property
    def differences(self) -> list[float]:
        """Patient by patient: of the mean Dice over cases and regions that count."""
        before, after = case_means(self.before, self.edited), case_means(self.after, self.edited)
        by_patient: dict[str, list[float]] = {}
        for case in before:
            if case in after:
                by_patient.setdefault(self.patients.get(case, case), []).append(after[case] - before[case])
        return [sum(d) / len(d) for d in by_patient.values()]

    @property
    def difference(self) -> Estimate:
        """Of the mean Dice, over patients."""
        return estimate(self.differences, (-1.0, 1.0))

    @property
    def verdict(self) -> str:
        """By the rule; "no claim" for no case."""
        return verdicts.of_set(self.differences)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        d = self.difference
        return {
            "verdict": self.verdict,
            "difference": {"n": d.n, "dice": d.mean, "low": d.low, "high": d.high},
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "comparison": self.comparison.to_dict(),
            "edited": {case: [str(r) for r in regions] for case, regions in self.edited.items()},
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
    own = sets["held_out"].verdict if "held_out" in sets else verdicts.NO_CLAIM
    anchors = sets.get("anchors")
    return own if anchors is None else verdicts.overall(own, anchors.verdict, anchors.difference.mean)


def in_words(sets: Mapping[str, BeforeAfter], real_anchors: bool) -> str:
    """The verdict with its reasons, two or three sentences."""
    sentences = []
    for key, one in sets.items():
        d = one.difference
        if d.mean is None:
            continue
        sentences.append(wording.change(SETS[key], d.n, d.mean, d.low, d.high))
    verdict = overall(sets)
    judged = sets["held_out"].difference.n if "held_out" in sets else 0
    if not judged:
        sentences.append("Nothing was held out, so no claim is made for studies like the corrected ones.")
    elif judged < verdicts.FEWEST:
        patients = f"{judged} patient{'s' if judged > 1 else ''}"
        sentences.append(
            f"{patients} held out: too few for a claim about studies like the corrected ones, which takes {verdicts.FEWEST}."
        )
    if not real_anchors:
        sentences.append(
            "The anchors are phantoms: nothing is claimed about patients' cases of the kind it was first trained on."
        )
    return f"{verdict[0].upper()}{verdict[1:]}. {' '.join(sentences)}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
