"""What came of the training: how far to follow it, how good it is, the new model and its report."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from brainseg_engine import models
from brainseg_engine.core import device as devices
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.events import Progress
from brainseg_engine.core.labels import Region
from brainseg_engine.evaluation import Evaluation
from brainseg_engine.finetune import excluded, guard, keeping, plan, proof, recipes, report_files
from brainseg_engine.finetune.outcome import Outcome
from brainseg_engine.finetune.scoring import Scorer, mean_dice
from brainseg_engine.finetune.under_way import UnderWay
from brainseg_engine.inference import gated
from brainseg_engine.models import checkpoint
from brainseg_engine.models.checkpoint import Checkpoint
from brainseg_engine.runs import RunFolder

_log = logging.getLogger(__name__)


class Proving:
    """Chooses between the base model's weights and the trained ones, and proves the choice."""

    def __init__(self, made: plan.FinetunePlan, base: Checkpoint, device: str, job: UnderWay) -> None:
        self._plan, self._base, self._job = made, base, job
        self._trained = checkpoint.load(RunFolder(job.training).model)
        self._kept = keeping.kept(made, base)
        self._scorer = Scorer(gated.of_model(base), base.recipe, devices.choose(device))
        coding = made.settings.get("anchor_coding")
        if coding:
            self._scorer.codings = dict.fromkeys((*made.choosing, *made.scored), coding)

    def run(self) -> dict[str, Any]:
        """Choose, prove, install the new model, and return the report."""
        choice = self._choose()
        state = guard.mixed(self._base.state, self._trained.state, choice.alpha)
        sets = self._before_and_after(state)
        self._settle_name()
        outcome = Outcome(self._plan, choice, sets, frozenset(self._scorer.by_base))
        model = self._job.out / "model.safetensors"
        if not _is_written(model, self._plan.name, state):
            card = outcome.card(self._base.card, self._trained.card)
            checkpoint.save(model, state, card, self._base.recipe, kept=self._kept)
        models.add(model, self._plan.name)
        rate = recipes.recipe_of(self._base.recipe, self._plan).optimiser.learning_rate
        report = outcome.report(model, self._trained.card.steps, rate, self._scorer.device)
        report_files.write(self._job.out, report, sets)
        return report

    def _choose(self) -> guard.Choice:
        progress, done = self._job.progress("choosing"), 0

        def score(alpha: float) -> guard.AlphaScore:
            nonlocal done
            self._scorer.use(self._network(guard.mixed(self._base.state, self._trained.state, alpha)))

            def before(name: str) -> None:
                self._job.stop()
                progress(Progress(f"trying α = {alpha:g} on {name}", done / len(guard.ALPHAS)))

            cases = {n: Path(p) for n, p in self._plan.choosing.items()}
            mean = mean_dice(self._scorer.score(cases, hd95=False, seen=frozenset(), before=before))
            done += 1
            return guard.AlphaScore(alpha, mean)

        return guard.choose(score, 1.0 if self._plan.real and self._plan.held_out else guard.BLIND)

    def _before_and_after(self, state: guard.StateDict) -> dict[str, proof.BeforeAfter]:
        """The held-out corrections and the anchors, scored with the base model's weights and with ``state``."""
        made, progress = self._plan, self._job.progress("proving")
        left_out = excluded.note(made, self._job.out)
        held_out = {c.name: self._job.data / c.name for c in made.held_out if c.name not in left_out}
        sets = {"held_out": held_out, "anchors": {n: Path(p) for n, p in made.scored.items()}}
        seen = frozenset(self._base.card.training_hashes)

        def scored(net: torch.nn.Module, when: str, n: int) -> dict[str, Evaluation]:
            def before(name: str) -> None:
                self._job.stop()
                progress(Progress(f"scoring {name} {when}", n / 2))

            self._scorer.use(net)
            self._scorer.by_base.clear()
            return {k: self._scorer.score(cases, hd95=True, seen=seen, before=before) for k, cases in sets.items()}

        old, new = scored(gated.of_model(self._base), "before", 0), scored(self._network(state), "after", 1)
        patients = {c.name: c.patient for c in made.held_out} | made.patients
        edited = {c.name: [Region(r) for r in c.edited] for c in made.held_out if c.edited is not None}
        return {k: proof.BeforeAfter(old[k], new[k], patients, edited if k == "held_out" else {}) for k in sets}

    def _network(self, state: guard.StateDict) -> torch.nn.Module:
        """The new model's, with these weights of its own."""
        return gated.of_model(Checkpoint(self._base.card, self._base.recipe, state, self._kept))

    def _settle_name(self) -> None:
        """The new model's name, which no other model has; it may have been taken while this one was trained."""
        taken = {m.name: m.path for m in models.installed()}
        own = self._job.out / "model.safetensors"
        if self._plan.name not in taken or (
            own.exists() and models.sha256(own) == models.sha256(taken[self._plan.name])
        ):
            return
        name = models.free_name(self._plan.name)
        sentence = f"The name {self._plan.name} was taken meanwhile; the model is called {name}."
        self._plan.name = name
        self._plan.note(self._job.out, sentence)


def _is_written(path: Path, name: str, state: guard.StateDict) -> bool:
    """Whether an earlier attempt wrote these very weights under this name, which then stay as they are."""
    if not path.exists():
        return False
    try:
        old = checkpoint.load(path)
    except CheckpointError as e:
        _log.warning("%s", e)
        return False
    return old.card.name == name and all(torch.equal(v, old.state[k]) for k, v in state.items())
