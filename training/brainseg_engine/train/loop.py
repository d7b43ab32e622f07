"""The loop of a training: steps, validation, the best model, and the state to resume from."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from brainseg_engine import dataset, nets
from brainseg_engine.core import device
from brainseg_engine.core.errors import Cancelled, RecipeError, TrainingError
from brainseg_engine.core.events import CancelCheck, EpochDone, Progress
from brainseg_engine.core.provenance import versions
from brainseg_engine.models import checkpoint
from brainseg_engine.recipe import Recipe
from brainseg_engine.runs import RunFolder
from brainseg_engine.studies import cohort
from brainseg_engine.train import pace, ranks, state, validation
from brainseg_engine.train.options import Report, TrainOptions
from brainseg_engine.train.rates import Rate
from brainseg_engine.train.step import Batch, Learner, NotFinite

_log = logging.getLogger(__name__)
LOG_EVERY = 25
SAVE_EVERY = 100
SAVE_SECONDS = 60.0
"""The state is saved after this long at the latest: steps of whole brains take seconds each on a CPU."""


class Loop:
    """One training run in this process (of one or several); ``run`` is the whole of it."""

    def __init__(
        self,
        recipe: Recipe,
        options: TrainOptions,
        fabric: Fabric,
        run: RunFolder,
        report: Report,
        cancelled: CancelCheck,
    ) -> None:
        self.recipe, self.options, self.fabric = recipe, options, fabric
        self.folder, self.report, self.cancelled = run, report, cancelled
        self.learner = Learner(recipe, fabric, options.seed, options.init)
        self.earlier = self.learner.earlier
        self.state = state.TrainState()
        self.hashes: tuple[str, ...] = ()
        self.planned: int | None = None  # steps, where the pace has decided on them
        self.others: Mapping[str, Any] = {}

    def begin(self, known: Mapping[str, Any]) -> None:
        """Resume from the saved state, if a resume is wanted and there is one; ``known``: what ``run.json`` says of the run.

        Raises TrainingError when the state is of another recipe or seed.
        """
        if not (self.options.resume and self.folder.last.exists()):
            return
        learner = self.learner
        if self.recipe.training.pull and not self.options.init:
            raise RecipeError(
                "training.pull pulls towards the model it started from: give the same --init with --resume."
            )
        self.state, ema, self.others = state.restore(
            self.folder, self.recipe, self.options.seed, learner.raw, learner.optimiser
        )
        learner.ema = {k: v.to(learner.device) for k, v in ema.items()}
        self.fabric.strategy.precision.load_state_dict(dict(self.others["scaler"]))
        self.earlier = tuple(known.get("earlier_training_hashes", self.earlier))
        self.planned = known.get("planned")
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            self.folder.cut_back(self.state.step)
        _log.info("resuming at step %d", self.state.step)

    def run(self, folders: Sequence[Path], held_out: Sequence[Path]) -> Path:
        """Read the cases, train to the end, and return the best model's file. Raises as :func:`train`."""
        cases = self._prepare(folders)
        self.samples = dataset.Samples(cases, self.recipe, self.options.seed, augmented=not self.learner.augments)
        batch = self.recipe.training.batch_size
        if self.options.minutes and self.planned is None:
            self.rate = Rate(self.recipe.schedule, 1, len(self.samples) / batch)
            self.planned = self._fitting(held_out, self.options.minutes)
        total = self.options.steps or self.planned or math.ceil(self.recipe.training.epochs * len(self.samples) / batch)
        by_steps = bool(self.options.steps or self.planned)
        self.rate = Rate(self.recipe.schedule, total, len(self.samples) / batch, by_steps)
        if "rate" in self.others:
            self.rate.load(self.others["rate"])
        self.hashes = tuple(dict.fromkeys((*self.earlier, *(h for c in cases for h in c.hashes))))
        if self.fabric.is_global_zero:
            fingerprint = hashlib.sha256("".join(self.hashes).encode()).hexdigest()
            self.folder.note({"data_fingerprint": fingerprint, "planned": self.planned})
            with dataset.reported_once() as doubts:
                validation.check_held_out(
                    held_out, cases, self.recipe, self.earlier, self._telling, doubts, self.options.coding
                )
        if self.state.step >= total:
            _log.warning("step %d of %d: nothing is left to train", self.state.step, total)
        self._train(held_out, total)
        return self.folder.model

    def _train(self, held_out: Sequence[Path], total: int) -> None:
        batches, began, first = self._batches(total), time.perf_counter(), self.state.step
        saved = time.monotonic()
        # losses without their row: it was stopped while it validated that step, which comes first then
        due = bool(self.state.losses) and self._is_validated(self.state.step, total)
        while due or self.state.step < total:
            if not due:
                self._stop_if_asked()
                loss = self._step(batches)
                self.rate.observe(self.state.step, loss)
                self.state.losses.append(loss)
                self.state.step += 1
                speed = (self.state.step - first) / (time.perf_counter() - began)
                words = f"step {self.state.step} of {total}, loss {loss:.3f}, {speed * self._batch:.2g} samples/s"
                self.report(Progress(words, self.state.step / total, self.state.step, total))
            step = self.state.step
            validated = self._is_validated(step, total)
            if validated or step % self._log_every(total) == 0:
                dice = self._validate(held_out) if validated else {}
                self._record(dice, validated, time.perf_counter() - began)
                self.state.losses.clear()
            if validated or step % SAVE_EVERY == 0 or time.monotonic() - saved > SAVE_SECONDS:
                self.save()
                saved = time.monotonic()
            due = False

    @property
    def _batch(self) -> int:
        return self.recipe.training.batch_size

    def _is_validated(self, step: int, total: int) -> bool:
        every = self.recipe.training.validate_every_steps
        if self.options.validations:
            every = math.ceil(total / self.options.validations)
        return step % every == 0 or step == total

    def _log_every(self, total: int) -> int:
        return max(1, total // self.options.rows) if self.options.rows else LOG_EVERY

    def _fitting(self, held_out: Sequence[Path], minutes: float) -> int:
        """How many steps fit into that time; the steps and the validation that tell leave no trace."""
        batches, precision = self._batches(self.state.step + pace.PILOT), self.fabric.strategy.precision
        scaler = dict(precision.state_dict())

        def step() -> None:
            self._telling(Progress("measuring the pace", 0.0))
            self._step(batches)

        seconds = pace.undone(step, self.learner.raw, self.learner.ema, self.learner.optimiser)
        precision.load_state_dict(scaler)
        began = time.perf_counter()
        if held_out:
            self._telling(Progress("measuring the pace", 0.0))
            self._validate(held_out)
        validating = (time.perf_counter() - began) * (self.options.validations or 1)
        return pace.steps_within(minutes, seconds, validating)

    def _stop_if_asked(self) -> None:
        asked = torch.tensor(float(self.cancelled()), device=self.fabric.device)
        if ranks.total(asked) > 0:  # one process asked is all asked: they stop at the same step
            self.save()
            raise Cancelled(f"Training was stopped at step {self.state.step}. {self.folder.advice}")

    def _prepare(self, folders: Sequence[Path]) -> list[dataset.TrainingCase]:
        """The training cases. Where there are several processes the first fills the cache, and the others read it."""
        divisor = nets.divisor(self.recipe)
        if not self.fabric.is_global_zero:
            self.fabric.barrier()
        cases, room = [], ""
        with dataset.reported_once() as doubts:
            for n, folder in enumerate(folders):
                name = cohort.name(folder)
                self._telling(Progress(f"reading {name}{room}", n / len(folders)))
                coding = self.options.codings.get(name, self.options.coding)
                case = dataset.prepare(folder, self.recipe, divisor, self.options.cache, coding, doubts)
                cases += [case] * self.options.visits.get(name, 1)
                if n == 0 and case.path is not None:
                    room = f" (all take about {case.path.stat().st_size * len(folders) / 2**30:.1f} GiB in the cache)"
        if self.fabric.is_global_zero:
            self.fabric.barrier()
        return cases

    def _telling(self, progress: Progress) -> None:
        """Report what comes before the first step, and stop there if asked."""
        if self.cancelled():
            raise Cancelled(f"Training was stopped while it read its cases. {self.folder.advice}")
        self.report(progress)

    def _batches(self, total: int) -> Iterator[Batch]:
        """What this process has to learn from, from the present step on, in parts of a step."""
        world, rank = self.fabric.world_size, self.fabric.global_rank
        first, last = self.state.step * self._batch, total * self._batch
        visits = dataset.Visits(len(self.samples), first, last, self.options.seed, rank, world)
        size = self._batch // world // self.learner.parts
        return iter(dataset.loader(self.samples, visits, size, self.options.workers))

    def _step(self, batches: Iterator[Batch]) -> float:
        """One step; returns its loss. Raises TrainingError when it is no number."""
        rate = self.recipe.optimiser.learning_rate * self.rate.factor(self.state.step)
        try:
            return self.learner.step(batches, self.state.step, rate)
        except NotFinite as e:
            raise self._diverged(e.what, e.keys) from e

    def _diverged(self, what: str, keys: Sequence[torch.Tensor]) -> TrainingError:
        named = {self.samples.case_id(int(index)) for part in keys for _, index in part}
        cases = sorted(set().union(*ranks.gathered(named)))
        return TrainingError(
            f"The {what} at step {self.state.step}, with the case{'s' if len(cases) > 1 else ''} {', '.join(cases[:8])}. "
            "Look at them, or start anew with a lower optimiser.learning_rate, or with "
            f'training.precision = "32-true". {self.folder.advice}'
        )

    def _validate(self, held_out: Sequence[Path]) -> dict[str, float]:
        return validation.validate(
            self.learner.averaged(), held_out, self.recipe, self.fabric, self._stop_alone, self.options.coding
        )

    def _stop_alone(self) -> None:
        """Between two validation cases: processes have different ones, so that only a lone process can stop there."""
        if self.fabric.world_size == 1:
            self._stop_if_asked()

    def _record(self, dice: Mapping[str, float], validated: bool, seconds: float) -> None:
        """One row and one event; the model is kept when its mean Dice is the best so far, or nothing is held out, or
        the last one is wanted."""
        step, loss = self.state.step, float(np.mean(self.state.losses))
        epoch = self.rate.epoch(step)
        factor = self.rate.factor(step - 1)
        event = EpochDone(
            epoch, step, loss, self.recipe.optimiser.learning_rate * factor, dict(dice), round(seconds, 1)
        )
        mean = float(np.mean(list(dice.values()))) if dice else self.state.best
        if validated and (mean > self.state.best or not dice or self.options.keep == "last"):
            self.state.best, self.state.best_step, self.state.scores = mean, step, dict(dice)
        if not self.fabric.is_global_zero:
            return
        self.folder.record(event)
        self.folder.emit(event)
        self.report(event)
        if validated and self.state.best_step == step:
            weights = nets.for_use(self.recipe, self.learner.ema)
            checkpoint.save(self.folder.model, weights, self._card(), self.recipe.for_use())

    def _card(self) -> checkpoint.Card:
        return checkpoint.Card(
            name=self.options.name or self.recipe.name,
            recipe=self.recipe.name,
            summary=self.recipe.summary,
            modalities=self.recipe.modalities,
            may_lack=self.recipe.may_lack,
            lacks_at_most=self.recipe.lacks_at_most,
            needs_one_of=self.recipe.needs_one_of,
            regions=self.recipe.output.regions,
            parameters=nets.count_parameters(self.learner.averaged()),
            created=datetime.now(UTC).date().isoformat(),
            scores={r: {"dice": round(d, 4), "hd95_mm": None} for r, d in self.state.scores.items()},
            scores_on="the validation cases of its training" if self.state.scores else "",
            training_hashes=self.hashes,
            training_cases=len({case.hashes for case in self.samples.cases}),
            steps=self.state.step,
            made_with=versions(),
        )

    def save(self) -> None:
        """Write the state to resume from."""
        if self.fabric.is_global_zero:
            scaler = self.fabric.strategy.precision.state_dict()
            state.save(
                self.folder,
                self.state,
                self.options.seed,
                self.rate,
                scaler,
                self.learner.raw,
                self.learner.ema,
                self.learner.optimiser,
                self.recipe,
            )
            peak = device.peak_memory_gb(str(self.fabric.device))
            self.folder.note({"steps": self.state.step, "peak_memory_gb": round(peak, 2)})
