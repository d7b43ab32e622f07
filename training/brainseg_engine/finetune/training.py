"""The training of a fine-tuning, with less memory where it ran out."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from brainseg_engine import train
from brainseg_engine.core import outputs
from brainseg_engine.finetune import collecting, memory, plan
from brainseg_engine.finetune.options import PHANTOM_MIX, REAL_MIX, FinetuneOptions
from brainseg_engine.finetune.under_way import UnderWay
from brainseg_engine.recipe import Recipe
from brainseg_engine.runs import made_before

_log = logging.getLogger(__name__)
VALIDATIONS, ROWS = 4, 40


class FinetuneTraining:
    """Trains as the plan says, beginning with the weights of the model in ``path``."""

    def __init__(
        self, options: FinetuneOptions, made: plan.FinetunePlan, path: Path, recipe: Recipe, job: UnderWay
    ) -> None:
        self._options, self._plan, self._path, self._job = options, made, path, job
        self._levels = memory.levels(recipe, options.device)
        if made.on_cpu:
            self._levels = [memory.Level(recipe, "cpu", memory.CPU)]

    def run(self) -> None:
        """Train to the end, or go on where it was broken off."""
        first = min(self._plan.level, len(self._levels) - 1)
        memory.with_less(first, self._levels, self._attempt, self._lower)
        self._plan.trained = True
        self._plan.save(self._job.out)

    def _attempt(self, level: memory.Level) -> None:
        chosen, made = self._plan.settings, self._plan
        mix = (REAL_MIX if made.real else PHANTOM_MIX) if chosen["mix"] is None else chosen["mix"]
        times = collecting.visits(len(made.training), len(made.replayed), mix)
        visits = {c.name: times["corrections"] for c in made.training}
        visits |= dict.fromkeys(made.replayed, times["anchors"])
        options = train.TrainOptions(
            self._job.data, self._job.split, self._job.training, seed=chosen["seed"] or 0, device=level.device, name=made.name,
            init=str(self._path), workers=self._options.workers, cache=self._options.cache,
        )  # fmt: skip
        options.resume = any((self._job.training / f).exists() for f in ("last.safetensors", "model.safetensors"))
        options.fold = None if made.held_out else "all"
        options.minutes, options.visits = chosen["minutes"], visits
        if chosen.get("anchor_coding"):
            options.codings = dict.fromkeys(made.replayed, chosen["anchor_coding"])
        options.elsewhere = {name: Path(source) for name, source in made.replayed.items()}
        # watched, not chosen by: the weights are those of the last step
        options.validations, options.rows, options.keep = VALIDATIONS if made.held_out else 1, ROWS, "last"
        train.train(level.recipe, options, self._job.of_training, self._job.cancelled)

    def _lower(self, level: int, sentence: str) -> None:
        outputs.remove(self._job.out, self._job.training.name, made_before=made_before)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._plan.on_cpu = self._levels[level].words == memory.CPU
        self._plan.level = 0 if self._plan.on_cpu else level
        _log.warning("%s", sentence)
        self._plan.note(self._job.out, sentence)
