"""What a fine-tuning gained and lost, for people: the table before/after, the mix that was chosen, where a model comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brainseg_engine.finetune.table import MEAN, differences, rows
from brainseg_engine.finetune.verdict import WORSE
from brainseg_engine.finetune.wording import change, number, weights

if TYPE_CHECKING:
    from brainseg_engine.finetune.plan import FinetunePlan
    from brainseg_engine.models import Ancestor

ANSWER_S, READING_S, SCORING_S = 4.0, 3.0, 2.0
"""Seconds a case on two idle cores: the answer, where none was timed; reading and preparing it; its scores, HD95 included."""
PASSES = 6
"""Answers a scored case: before, after, and on the way to how far the model is moved. In `benchmarks/finetune` 12 minutes
of training became 16.3 in all."""
ANCHORS = 5
"""Phantoms that are scored where no cases are named."""
SETS: Mapping[str, str] = {"held_out": "Held-out corrections", "anchor_scores": "Anchors"}


@dataclass(frozen=True)
class Line:
    """One region: Dice before, after and difference, then HD95 in mm likewise, as text. ``sign``: of the Dice's difference
    as it is shown (−1, 0, 1)."""

    region: str
    cells: tuple[str, str, str, str, str, str]
    sign: int = 0


@dataclass(frozen=True)
class TableBlock:
    """A case, or the mean over them; ``intervals``: of the mean differences, a sentence a region."""

    title: str
    lines: tuple[Line, ...]
    intervals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Held-out corrections, or anchors, with the verdict on them."""

    title: str
    verdict: str
    blocks: tuple[TableBlock, ...] = field(default_factory=tuple)

    @property
    def worse(self) -> bool:
        """True when the verdict is that the new model is worse there."""
        return self.verdict == WORSE


def table(report: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Group, ...]:
    """The scores of a report; ``names``: correction → what its study is called here. A set without cases is left out."""
    return tuple(
        _group(report[key], title if key == "held_out" or report["anchors"]["real"] else f"{title}, phantoms", names)
        for key, title in SETS.items()
        if report[key]["before"]["cases"]
    )


def guard_in_words(report: Mapping[str, Any]) -> str:
    """How far the model was moved, and why."""
    return weights(report["guard"]["alpha"], report["guard"]["why"])


def cost_in_words(report: Mapping[str, Any]) -> str:
    """What is lost, a sentence for each set of cases that is worse off; "" for none."""
    parts = []
    for key, title in SETS.items():
        if report[key]["verdict"] == WORSE:
            d, cases = report[key]["difference"], len(report[key]["before"]["cases"])
            parts.append(change(title.lower(), cases, d["dice"], d["low"], d["high"]))
    return " ".join(parts)


def notes_in_words(report: Mapping[str, Any]) -> str:
    """What else should be known, a line each."""
    parts = [*report["notes"], *(f"Left out: {why}" for why in report["refused"].values())]
    for key, title in SETS.items():
        seen = report[key]["before"].get("seen_in_training")
        if seen:
            parts.append(f"{title}: the base model was trained on {', '.join(seen)}, so its scores there flatter it.")
    return _listed(parts)


def plan_in_words(plan: FinetunePlan) -> str:
    """What a run has decided, while it works."""
    held = f"{len(plan.held_out)} held out" if plan.held_out else "none held out"
    parts = [f"{plan.base['name']} learns from {len(plan.training)}, {held}; anchors: {plan.anchors}.", *plan.notes]
    return _listed([*parts, *(f"Left out: {why}" for why in plan.refused.values())])


def named(text: str, names: Mapping[str, str]) -> str:
    """The text with what the studies are called here in place of the ids of their corrections, the longest first."""
    for id_ in sorted(names, key=len, reverse=True):
        text = text.replace(id_, names[id_])
    return text


def expected_in_words(learnt: int, scored: int, minutes: float | None, network_s: float | None) -> str:
    """How long a run takes on an idle machine: reading, training and proof. ``learnt`` and ``scored``: cases of either kind;
    ``minutes`` of training, None where it is counted in epochs; ``network_s``: what the answer to one study took.
    """
    one = network_s or ANSWER_S
    reading = (learnt + scored) * READING_S / 60
    proof = scored * PASSES * (one + SCORING_S) / 60
    parts = f"reading {_minutes(reading)}, proof {_minutes(proof)}"
    if minutes is None:
        return f"On an idle machine: {parts}, and the training on top, whose time is told once it runs."
    total = reading + minutes + proof
    return f"About {max(1, round(total))} min on an idle machine: training {minutes:g} min, {parts}."


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes >= 1.5 else f"{60 * minutes:.0f} s"


def lineage_in_words(line: Sequence[Ancestor]) -> str:
    """A model, its parent, that one's parent, …: a paragraph each."""
    parts = []
    for a in line:
        name = f"{a.name} {a.version}".strip()
        head = f"{name} ({a.sha256[:12]}…)" + ("" if a.card is not None else ", not on this machine")
        tuned = a.card.tuned if a.card is not None else None
        if tuned is None:
            parts.append(head if a is not line[-1] or a.card is None else f"{head}: trained from scratch.")
            continue
        hashes = ", ".join(h[:12] for h in tuned.corrections)
        held = f", scored on {', '.join(h[:12] for h in tuned.held_out)}" if tuned.held_out else ", none held out"
        parts.append(
            f"{head}: {tuned.verdict}; α {tuned.alpha:g}; from corrections {hashes}{held}. {_scores(tuned.scores)}"
        )
    return "\n".join(parts)


def _scores(scores: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float | None]]]]) -> str:
    """Like "Mean Dice, held-out corrections: WT 0.812 → 0.842, …"."""
    parts = []
    for key, title in (("held_out", "held-out corrections"), ("anchors", "anchors")):
        one = scores.get(key)
        if one:
            pairs = (f"{r} {number(one['before'].get(r, {}).get('dice'))} → "
                     f"{number(one['after'].get(r, {}).get('dice'))}" for r in one["before"])  # fmt: skip
            parts.append(f"Mean Dice, {title}: {', '.join(pairs)}.")
    return " ".join(parts)


def _group(scores: Mapping[str, Any], title: str, names: Mapping[str, str]) -> Group:
    lines: dict[str, list[Line]] = {case: [] for case in scores["before"]["cases"]}
    for row in rows(scores):
        lines.setdefault(row.case, []).append(Line(row.region, (*row.dice, *row.hd95), row.sign))
    means = tuple(lines.pop(MEAN, ()))
    blocks = [TableBlock(names.get(case, case), tuple(found)) for case, found in lines.items()]
    if len(blocks) > 1:
        sentences = tuple(f"{region}  Dice {dice}, HD95 {hd95} mm" for region, dice, hd95 in differences(scores))
        blocks.insert(0, TableBlock("Mean", means, sentences))
    elif blocks:
        blocks = [TableBlock(blocks[0].title, blocks[0].lines, ("One case only: there is no interval.",))]
    count = len(scores["before"]["cases"])
    return Group(f"{title} ({count} case{'s' if count > 1 else ''})", str(scores["verdict"]), tuple(blocks))


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"• {sentence}" for sentence in sentences)
