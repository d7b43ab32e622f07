"""The loop of a training: steps, validation, the best model, and the state that a resume takes up."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from brainseg_engine import checkpoint, dataset, device, losses, nets
from brainseg_engine.errors import Cancelled, RecipeError, TrainingError
from brainseg_engine.events import CancelCheck, EpochDone, Event, Progress
from brainseg_engine.labels import Region
from brainseg_engine.models import find
from brainseg_engine.postprocess import to_labels
from brainseg_engine.predict import infer
from brainseg_engine.recipe import Recipe, Schedule
from brainseg_engine.runs import RunFolder, load_state, pack, save_state, unpack, versions
from brainseg_engine.score import score_case

_log = logging.getLogger(__name__)
Report = Callable[[Event], None]
LOG_EVERY = 25
SAVE_EVERY = 100


@dataclass
class Options:
    """What is not in the recipe: where the data is, how long, and on what."""

    data: Path
    split: Path
    out: Path
    steps: int | None = None
    seed: int = 0
    resume: bool = False
    device: str = "auto"
    workers: int = 0
    name: str = ""
    init: str | None = None


@dataclass
class _State:
    step: int = 0
    best: float = -1.0
    best_step: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    """Of the steps since the last row of the metrics."""


class Loop:
    """One training run; ``run`` is the whole of it."""

    def __init__(
        self, recipe: Recipe, options: Options, run: RunFolder, report: Report, cancelled: CancelCheck
    ) -> None:
        self.recipe, self.options, self.folder, self.report, self.cancelled = recipe, options, run, report, cancelled
        where = device.choose(options.device)
        kind, _, index = where.partition(":")
        devices: Any = [int(index)] if index else 1
        self.fabric = Fabric(accelerator=kind, devices=devices, precision=recipe.training.precision)
        self.device = str(self.fabric.device)
        self.earlier: tuple[str, ...] = ()  # images that the weights were fitted to before this run
        torch.manual_seed(options.seed)
        net = nets.build(recipe)
        if options.init:
            self._start_from(net, options.init)
        o = recipe.optimiser
        optimiser = torch.optim.AdamW(net.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay)
        self.raw = net
        self.net, self.optimiser = self.fabric.setup(net, optimiser)
        self.ema = {k: v.detach().clone() for k, v in self.raw.state_dict().items()}
        # what is validated; building it anew would draw random numbers
        self.averaged = copy.deepcopy(net).to(self.device).eval()
        self.loss = losses.build(recipe.loss)
        self.state = _State()
        self.hashes: tuple[str, ...] = ()

    def begin(self, known: Mapping[str, Any]) -> None:
        """Take up the saved state, if a resume is wanted and there is one; ``known``: what ``run.json`` told of the run."""
        if self.options.resume and self.folder.last.exists():
            self._resume()
            self.earlier = tuple(known.get("earlier_training_hashes", self.earlier))

    def run(self, folders: Sequence[Path], held_out: Sequence[Path]) -> Path:
        """Read the cases, train to the end, and return the best model's file. Raises as :func:`train`."""
        cases = self._prepare(folders)
        self.hashes = tuple(dict.fromkeys((*self.earlier, *(h for c in cases for h in c.hashes))))
        self._check_held_out(held_out, cases)
        batch = self.recipe.training.batch_size
        total = self.options.steps or math.ceil(self.recipe.training.epochs * len(cases) / batch)
        if self.state.step >= total:
            _log.warning("step %d of %d: nothing is left to train", self.state.step, total)
        samples = dataset.TrainingSamples(cases, self.recipe.augmentation, self.options.seed)
        visits = dataset.Visits(len(cases), self.state.step * batch, total * batch, self.options.seed)
        batches = iter(dataset.loader(samples, visits, self.options.workers))
        began = time.perf_counter()
        # losses without their row: it was stopped while it validated that step, which comes first then
        due = bool(self.state.losses) and self._is_validated(self.state.step, total)
        while due or self.state.step < total:
            if not due:
                self._stop_if_asked()
                loss = self._step([next(batches) for _ in range(batch)], total)
                self.state.losses.append(loss)
                self.state.step += 1
                self.report(Progress(f"step {self.state.step} of {total}, loss {loss:.3f}", self.state.step / total))
            step = self.state.step
            validate = self._is_validated(step, total)
            if validate or step % LOG_EVERY == 0:
                dice = self._validate(held_out) if validate else {}
                self._record(len(cases), dice, time.perf_counter() - began, total)
                self.state.losses.clear()
            if validate or step % SAVE_EVERY == 0:
                self._save()
            due = False
        return self.folder.model

    def _is_validated(self, step: int, total: int) -> bool:
        return step % self.recipe.training.validate_every_steps == 0 or step == total

    def _stop_if_asked(self) -> None:
        if self.cancelled():
            self._save()
            raise Cancelled(f"Training was stopped at step {self.state.step}. {self.folder.advice}")

    def _start_from(self, net: torch.nn.Module, model: str) -> None:
        """Take the weights of an installed model. Raises RecipeError when its network is another."""
        given = checkpoint.load(find(model))
        if given.recipe.network != self.recipe.network or given.recipe.output != self.recipe.output:
            raise RecipeError(
                f"The model '{model}' has the network {given.recipe.network} and the recipe asks for {self.recipe.network}; "
                "weights can only start a network of the same form."
            )
        net.load_state_dict(given.state)
        self.earlier = given.card.training_hashes

    def _prepare(self, folders: Sequence[Path]) -> list[dataset.Case]:
        divisor = nets.divisor(self.recipe)
        cases = []
        for n, folder in enumerate(folders):
            self._stop_before_start()
            self.report(Progress(f"reading {folder.name}", n / len(folders)))
            cases.append(dataset.prepare(folder, self.recipe, divisor))
        return cases

    def _check_held_out(self, folders: Sequence[Path], cases: Sequence[dataset.Case]) -> None:
        """Read the validation cases once before hours of work: they must be usable, and unseen."""
        owner = {h: case.id for case in cases for h in case.hashes}
        for folder in folders:
            self._stop_before_start()
            self.report(Progress(f"checking {folder.name}", 1.0))
            study, _ = dataset.usable(folder, self.recipe)
            hashes = dataset.hashes_of(study, self.recipe)
            twin = next((owner[h] for h in hashes if h in owner), None)
            if twin:
                raise TrainingError(
                    f"The validation case {folder.name} holds an image of the training case {twin}, so its Dice would mean "
                    "nothing. Take one of them out of the split."
                )
            if not set(hashes).isdisjoint(self.earlier):
                _log.warning("the model given by --init was trained on %s: its validation flatters", folder.name)

    def _stop_before_start(self) -> None:
        if self.cancelled():
            raise Cancelled(f"Training was stopped while it read its cases. {self.folder.advice}")

    def _step(self, batch: Sequence[tuple[torch.Tensor, torch.Tensor]], total: int) -> float:
        self.net.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.optimiser.learning_rate * schedule(self.recipe.schedule, self.state.step, total)
        mean = 0.0
        for image, labels in batch:
            targets = losses.region_targets(labels.to(self.device), self.recipe.output.regions)
            loss = self.loss(self.net(image.to(self.device)), targets) / len(batch)
            self.fabric.backward(loss)
            mean += float(loss.detach())
        if not math.isfinite(mean):
            raise self._diverged(f"loss became {mean}")
        norm = self.fabric.clip_gradients(
            self.net, self.optimiser, max_norm=self.recipe.optimiser.clip_norm, error_if_nonfinite=False
        )
        # in float16 a gradient may overflow: its scaler then leaves the step out and scales less
        if self.recipe.training.precision != "16-mixed" and not math.isfinite(float(norm)):
            raise self._diverged(f"norm of the gradients became {float(norm)}")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._average()
        return mean

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"The {what} at step {self.state.step}. Start anew with a lower optimiser.learning_rate, or with "
            f'training.precision = "32-true". {self.folder.advice}'
        )

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights, quicker at first."""
        decay = min(self.recipe.training.ema_decay, (1 + self.state.step) / (10 + self.state.step))
        for k, v in self.raw.state_dict().items():
            if v.is_floating_point():
                self.ema[k].lerp_(v, 1 - decay)
            else:
                self.ema[k].copy_(v)

    def _validate(self, folders: Sequence[Path]) -> dict[str, float]:
        """Mean Dice per region over the validation cases with the averaged weights, by whole-volume inference."""
        self.averaged.load_state_dict(self.ema)
        dice: dict[Region, list[float]] = {r: [] for r in self.recipe.output.regions}
        for folder in folders:
            self._stop_if_asked()
            study, truth = dataset.with_truth(folder, self.recipe)
            with self.fabric.autocast():
                probabilities, _ = infer(self.averaged, study, self.recipe, self.device)
            grid = study.reference.grid
            labels = to_labels(probabilities, self.recipe.output.regions, self.recipe.postprocess, grid.voxel_ml)
            scores = score_case(labels, truth, grid, self.recipe.output.regions, hd95=False)
            for region, score in scores.items():
                if score.dice is not None:
                    dice[region].append(score.dice)
        return {str(r): float(np.mean(d)) for r, d in dice.items() if d}

    def _record(self, n_cases: int, dice: Mapping[str, float], seconds: float, total: int) -> None:
        """One row and one event; the model is kept when its mean Dice is the best so far."""
        step, loss = self.state.step, float(np.mean(self.state.losses))
        epoch = step * self.recipe.training.batch_size // n_cases
        rate = self.recipe.optimiser.learning_rate * schedule(self.recipe.schedule, step - 1, total)
        event = EpochDone(epoch, step, loss, rate, dict(dice), round(seconds, 1))
        row = {f"dice_{r}": f"{d:.4f}" for r, d in dice.items()}
        self.folder.record(
            {
                "epoch": epoch,
                "step": step,
                "loss": f"{loss:.5f}",
                "learning_rate": f"{rate:.3e}",
                **row,
                "seconds": event.seconds,
            }
        )
        self.folder.emit(event)
        self.report(event)
        if dice and float(np.mean(list(dice.values()))) > self.state.best:
            self.state.best, self.state.best_step = float(np.mean(list(dice.values()))), step
            self.state.scores = dict(dice)
            checkpoint.save(self.folder.model, self.ema, self._card(n_cases), self.recipe)

    def _card(self, n_cases: int) -> checkpoint.Card:
        return checkpoint.Card(
            name=self.options.name or self.recipe.name,
            recipe=self.recipe.name,
            summary=self.recipe.summary,
            modalities=self.recipe.modalities,
            regions=self.recipe.output.regions,
            parameters=nets.count_parameters(self.raw),
            created=datetime.now(UTC).date().isoformat(),
            scores={r: {"dice": round(d, 4), "hd95_mm": None} for r, d in self.state.scores.items()},
            scores_on="the validation cases of its training",
            training_hashes=self.hashes,
            training_cases=n_cases,
            steps=self.state.step,
            made_with=versions(),
        )

    def _save(self) -> None:
        s = self.state
        facts = {
            "step": s.step,
            "best": s.best,
            "best_step": s.best_step,
            "scores": dict(s.scores),
            "losses": s.losses,
            "seed": self.options.seed,
        }
        save_state(self.folder.last, pack(self.raw, self.ema, self.optimiser), facts, self.recipe)

    def _resume(self) -> None:
        tensors, facts, recipe = load_state(self.folder.last)
        changed = _changes(recipe.model_dump(mode="json"), self.recipe.model_dump(mode="json"))
        if changed:
            raise TrainingError(
                f"The run in {self.folder.path} was started with another recipe ({'; '.join(changed[:3])}). Resume with the "
                "same, or name another --out folder."
            )
        if facts["seed"] != self.options.seed:
            raise TrainingError(
                f"The run in {self.folder.path} was started with --seed {facts['seed']}, not {self.options.seed}."
            )
        self.ema = {k: v.to(self.device) for k, v in unpack(tensors, self.raw, self.optimiser).items()}
        self.state = _State(facts["step"], facts["best"], facts["best_step"], facts["scores"], facts.get("losses", []))
        self.folder.cut_back(self.state.step)
        _log.info("resuming at step %d", self.state.step)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two recipes, in words. The epochs may: as --steps, they say how long to go on."""
    found = []
    for key in new:
        if isinstance(new[key], Mapping) and isinstance(old.get(key), Mapping):
            found += _changes(old[key], new[key], f"{prefix}{key}.")
        elif old.get(key) != new[key] and prefix + key != "training.epochs":
            found.append(f"{prefix}{key} was {old.get(key)!r}, not {new[key]!r}")
    return found


def schedule(config: Schedule, step: int, total: int) -> float:
    """Factor on the peak learning rate: linear warm-up, then a half cosine down to ``floor``."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
