"""Whether the new model keeps its base beside it: where the corrected studies look unlike the anchors, nothing need be forgotten.

Then the corrected studies are learnt from alone, and each study is answered by the weights whose studies it resembles (see
``inference.gated``). Where they cannot be told apart, one set of weights serves both, and anchors are replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainseg_engine import dataset, nets
from brainseg_engine.core.events import Progress
from brainseg_engine.finetune import plan
from brainseg_engine.finetune.anchors import Anchors
from brainseg_engine.finetune.collecting import CorrectedCase
from brainseg_engine.finetune.options import FinetuneOptions
from brainseg_engine.finetune.under_way import UnderWay
from brainseg_engine.inference.appearance import Features, Gate, features, gate
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.models.checkpoint import Checkpoint, Kept
from brainseg_engine.recipe import Recipe

MOST = 24
"""Corrections that are looked at."""
SENTENCE = (
    "The corrected studies look unlike the anchors, so the new model keeps the base model's weights beside its own: each "
    "study is answered by those whose studies it resembles, and no anchor is replayed."
)


def gate_of(
    options: FinetuneOptions, cases: Sequence[CorrectedCase], fixed: Anchors, recipe: Recipe, job: UnderWay
) -> Gate | None:
    """The gate between the corrections that are learnt from and the anchors that could be replayed. None where they cannot be
    told apart, where the anchors are phantoms, or where the share of replayed anchors was chosen (``mix``)."""
    learnt = [c.name for c in cases if not c.held_out][:MOST]
    if options.mix is not None or not fixed.real:
        return None
    report, total = job.progress("looks"), len(learnt) + len(fixed.replayed)
    seen: list[Features] = []

    def looks(name: str, source: Path, coding: str | None) -> Features:
        job.stop()
        report(Progress(f"looking at {name}", len(seen) / total))
        study, _ = dataset.with_truth(source, recipe, coding)
        seen.append(features(preprocess(study, recipe, nets.divisor(recipe))[0]))
        return seen[-1]

    own = [looks(name, job.data / name, None) for name in learnt]
    return gate(own, [looks(name, source, options.anchor_coding) for name, source in fixed.replayed.items()])


def kept(made: plan.FinetunePlan, base: Checkpoint) -> Kept | None:
    """What the new model keeps: of a base that keeps one itself, the first."""
    if not made.gate:
        return None
    return Kept(base.state if base.kept is None else base.kept.state, made.gate)
