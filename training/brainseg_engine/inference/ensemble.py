"""Several models that answer as one: the mean of their probabilities."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from brainseg_engine import models as installed
from brainseg_engine.core import device as devices
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.inference import plan
from brainseg_engine.inference.postprocess import of_regions
from brainseg_engine.inference.predictor import PlanReport, Predictor
from brainseg_engine.models.checkpoint import Card
from brainseg_engine.recipe import Output, Postprocess, Recipe

_SHARE = 0.25
"""Of the free memory, that the weights of all models may take together and stay loaded."""


class Ensemble(Predictor):
    """A Predictor over several models, each with its own series, preparation and window; their answers meet on the study's grid.

    A region's probability is the mean over the models that give it. Where all give the same answers, the first one's rules turn
    the mean into labels (thresholds, specks); else every region begins at one half. Large models are loaded one at a time: each
    is freed before the next one comes. Raises as :class:`Predictor`.
    """

    def __init__(
        self, models: Sequence[Path | str], device: str = "auto", *, tta: bool = False, threads: int | None = None
    ) -> None:
        self.device, self.tta, self.plan, self._threads = devices.choose(device), tta, PlanReport(), threads
        self._unlike = ""
        self._files = [installed.find(m) for m in models]
        weights = sum(file.stat().st_size for file in self._files if file.is_file())
        self.stays_loaded = weights <= _SHARE * plan.free_bytes(self.device)
        """Whether all models are kept in memory at once."""
        self._heap = devices.Heap()
        self._loaded: dict[int, Predictor] = {}
        members = [self._facts(n) for n in range(len(self._files))]
        first = members[0]
        recipes = [p.recipe for p in members]
        self._alike = all((r.output.kind, r.output.regions) == _kind(first.recipe) for r in recipes)
        self.recipe = _shared(recipes, self._alike)
        self.card = first.card.model_copy(
            update={
                "name": "+".join(p.card.name for p in members),
                "version": "+".join(p.card.version for p in members),
                "modalities": self.recipe.modalities,
                "may_lack": self.recipe.may_lack,
                "lacks_at_most": self.recipe.lacks_at_most,
                "regions": self.recipe.output.regions,
                "terms": "; ".join(dict.fromkeys(p.card.terms for p in members if p.card.terms)),
                "calibration": None,  # of each alone, not of their mean
                "training_hashes": tuple(dict.fromkeys(h for p in members for h in p.card.training_hashes)),
            }
        )
        self.sha256 = hashlib.sha256("".join(p.sha256 for p in members).encode()).hexdigest()

    @property
    def network(self) -> torch.nn.Module:
        """That of the first model."""
        return self._member(0).network

    def _member(self, n: int) -> Predictor:
        """The model of that number, loaded; where memory is scarce, alone."""
        if n not in self._loaded:
            if not self.stays_loaded and self._loaded:
                self._loaded.clear()
                gc.collect()
                plan.give_back(self.device)
            self._loaded[n] = Predictor(self._files[n], self.device, tta=self.tta, threads=self._threads)
        return self._loaded[n]

    def _facts(self, n: int) -> _Facts:
        member = self._member(n)
        return _Facts(member.card, member.recipe, member.sha256)

    @torch.inference_mode()
    def probabilities(
        self, study: Study, progress: ProgressCallback, cancelled: CancelCheck
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The mean over the models, in this machine's own memory, and the sum of their seconds."""
        total: torch.Tensor | None = None
        given = torch.zeros(self.recipe.output.channels)
        summed: dict[str, float] = {}
        plans: list[PlanReport] = []
        for n in range(len(self._files)):
            answer, rows, more, planned = self._answer(n, study, progress, cancelled)
            total = answer.new_zeros((len(given), *answer.shape[1:])) if total is None else total
            total[rows] += answer
            given[rows] += 1
            summed = {k: summed.get(k, 0.0) + v for k, v in more.items()}
            plans.append(planned)
        self.plan = PlanReport(
            "; ".join(p.line for p in plans),
            " ".join(p.fallen for p in plans if p.fallen),
            next((p.uncovered for p in plans if p.uncovered), ""),
        )
        if total is None:
            raise ValueError("an ensemble has members")
        return total / given[:, None, None, None], summed

    def _answer(
        self, n: int, study: Study, progress: ProgressCallback, cancelled: CancelCheck
    ) -> tuple[torch.Tensor, list[int], Mapping[str, float], PlanReport]:
        """(probabilities of one model, which channels of ours they are, its seconds, how it was run)."""
        member, of = self._member(n), len(self._files)

        def part(event: Progress) -> None:
            progress(Progress(event.stage, (n + event.fraction) / of))

        answer, more = member.probabilities(study, part, cancelled)
        answer, regions = answer.cpu(), self.recipe.output.regions
        rows = list(range(self.recipe.output.channels))
        if not self._alike:
            answer = of_regions(answer, member.recipe.output)
            rows = [regions.index(r) for r in member.recipe.output.regions]
        name, plan_of_it = member.card.name, member.plan
        fallen = f"{name}: {plan_of_it.fallen}" if plan_of_it.fallen else ""
        return answer, rows, more, PlanReport(f"{name}: {plan_of_it.line}", fallen, plan_of_it.uncovered)


@dataclass(frozen=True)
class _Facts:
    """What is known of a model without its weights."""

    card: Card
    recipe: Recipe
    sha256: str


def _kind(recipe: Recipe) -> tuple[str, tuple[Region, ...]]:
    return recipe.output.kind, recipe.output.regions


def _shared(recipes: Sequence[Recipe], alike: bool) -> Recipe:
    """What the models take and give together: every series that one of them needs, every region that one of them gives."""
    first = recipes[0]
    modalities = tuple(m for m in Modality if any(m in r.modalities for r in recipes))
    may_lack = tuple(m for m in modalities if all(m in r.may_lack for r in recipes if m in r.modalities))
    changes = {
        "modalities": first.modalities if set(modalities) == set(first.modalities) else modalities,
        "may_lack": may_lack,
        "lacks_at_most": min(r.lacks_at_most for r in recipes),
    }
    if not alike:
        regions = tuple(r for r in Region if any(r in recipe.output.regions for recipe in recipes))
        changes |= {"output": Output(kind="regions", regions=regions), "postprocess": Postprocess()}
    return first.model_copy(update=changes)


def predictor_of(
    models: Sequence[Path | str], device: str = "auto", *, tta: bool = False, threads: int | None = None
) -> Predictor:
    """One model, or the ensemble of several."""
    if len(models) == 1:
        return Predictor(models[0], device, tta=tta, threads=threads)
    return Ensemble(models, device, tta=tta, threads=threads)
