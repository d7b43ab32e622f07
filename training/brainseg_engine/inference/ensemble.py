"""Several models that answer as one: the mean of their probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback
from brainseg_engine.core.study import Study
from brainseg_engine.inference.predictor import Predictor


class Ensemble(Predictor):
    """A Predictor over several model files that take the same series and give the same regions.

    The first one's rules turn the mean into labels (thresholds, specks). Raises CheckpointError where the models differ in what
    they take or give, and as :class:`Predictor`.
    """

    def __init__(
        self, models: Sequence[Path | str], device: str = "auto", *, tta: bool = False, threads: int | None = None
    ) -> None:
        super().__init__(models[0], device, tta=tta, threads=threads)
        self._others = [Predictor(m, device, tta=tta, threads=threads) for m in models[1:]]
        for other in self._others:
            if (other.recipe.modalities, other.recipe.output.kind, other.recipe.output.regions) != (
                self.recipe.modalities,
                self.recipe.output.kind,
                self.recipe.output.regions,
            ):
                raise CheckpointError(
                    f"The models '{self.card.name}' and '{other.card.name}' take other series or give other regions, so their "
                    "answers cannot be averaged. Name models of one kind."
                )
        members = [self, *self._others]
        may_lack = tuple(m for m in self.recipe.may_lack if all(m in p.recipe.may_lack for p in self._others))
        at_most = min(p.recipe.lacks_at_most for p in members)
        self.recipe = self.recipe.model_copy(update={"may_lack": may_lack, "lacks_at_most": at_most})
        self.card = self.card.model_copy(
            update={
                "name": "+".join(p.card.name for p in members),
                "version": "+".join(p.card.version for p in members),
                "training_hashes": tuple(dict.fromkeys(h for p in members for h in p.card.training_hashes)),
            }
        )
        self.sha256 = hashlib.sha256("".join(p.sha256 for p in members).encode()).hexdigest()

    @torch.inference_mode()
    def probabilities(
        self, study: Study, progress: ProgressCallback, cancelled: CancelCheck
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The mean of all, and the sum of their seconds."""
        n = 1 + len(self._others)

        def part(first: int) -> ProgressCallback:
            return lambda e: progress(Progress(e.stage, (first + e.fraction) / n))

        total, seconds = super().probabilities(study, part(0), cancelled)
        summed = dict(seconds)
        for i, other in enumerate(self._others, start=1):
            answer, more = other.probabilities(study, part(i), cancelled)
            total += answer
            summed = {k: summed.get(k, 0.0) + v for k, v in more.items()}
        return total / n, summed


def predictor_of(
    models: Sequence[Path | str], device: str = "auto", *, tta: bool = False, threads: int | None = None
) -> Predictor:
    """One model, or the ensemble of several."""
    if len(models) == 1:
        return Predictor(models[0], device, tta=tta, threads=threads)
    return Ensemble(models, device, tta=tta, threads=threads)
