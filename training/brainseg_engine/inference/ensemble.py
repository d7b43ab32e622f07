"""Several models that answer as one: the mean of their probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.inference.postprocess import of_regions
from brainseg_engine.inference.predictor import PlanReport, Predictor
from brainseg_engine.recipe import Output, Postprocess, Recipe


class Ensemble(Predictor):
    """A Predictor over several models, each with its own series, preparation and window; their answers meet on the study's grid.

    A region's probability is the mean over the models that give it. Where all give the same answers, the first one's rules turn
    the mean into labels (thresholds, specks); else every region begins at one half. Raises as :class:`Predictor`.
    """

    def __init__(
        self, models: Sequence[Path | str], device: str = "auto", *, tta: bool = False, threads: int | None = None
    ) -> None:
        self.members = [Predictor(m, device, tta=tta, threads=threads) for m in models]
        first = self.members[0]
        self.device, self.tta, self.plan = first.device, tta, PlanReport()
        self._net, self._planner = first._net, first._planner
        recipes = [p.recipe for p in self.members]
        self._alike = all((r.output.kind, r.output.regions) == _kind(first.recipe) for r in recipes)
        self.recipe = _shared(recipes, self._alike)
        self.card = first.card.model_copy(
            update={
                "name": "+".join(p.card.name for p in self.members),
                "version": "+".join(p.card.version for p in self.members),
                "modalities": self.recipe.modalities,
                "may_lack": self.recipe.may_lack,
                "lacks_at_most": self.recipe.lacks_at_most,
                "regions": self.recipe.output.regions,
                "terms": "; ".join(dict.fromkeys(p.card.terms for p in self.members if p.card.terms)),
                "training_hashes": tuple(dict.fromkeys(h for p in self.members for h in p.card.training_hashes)),
            }
        )
        self.sha256 = hashlib.sha256("".join(p.sha256 for p in self.members).encode()).hexdigest()

    @torch.inference_mode()
    def probabilities(
        self, study: Study, progress: ProgressCallback, cancelled: CancelCheck
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The mean over the models, and the sum of their seconds."""
        n = len(self.members)

        def part(first: int) -> ProgressCallback:
            return lambda e: progress(Progress(e.stage, (first + e.fraction) / n))

        regions = self.recipe.output.regions
        total: torch.Tensor | None = None
        given = torch.zeros(self.recipe.output.channels)
        summed: dict[str, float] = {}
        for i, member in enumerate(self.members):
            answer, more = member.probabilities(study, part(i), cancelled)
            answer = answer.to(self.device)
            total = answer.new_zeros((len(given), *answer.shape[1:])) if total is None else total
            if self._alike:
                rows = list(range(len(given)))
            else:
                answer = of_regions(answer, member.recipe.output)
                rows = [regions.index(r) for r in member.recipe.output.regions]
            total[rows] += answer
            given[rows] += 1
            summed = {k: summed.get(k, 0.0) + v for k, v in more.items()}
        self.plan = self.members[0].plan
        if total is None:
            raise ValueError("an ensemble has members")
        return total / given.to(total.device)[:, None, None, None], summed


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
