"""Training: one loop on Lightning Fabric, exact resume, validation by whole-volume inference, the best model kept."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from brainseg_engine import checkpoint, cohort, dataset, device, losses, nets
from brainseg_engine.errors import Cancelled, RecipeError, TrainingError
from brainseg_engine.events import CancelCheck, EpochDone, Event, Progress, never
from brainseg_engine.io import load_study
from brainseg_engine.labels import Region
from brainseg_engine.models import find
from brainseg_engine.postprocess import to_labels
from brainseg_engine.predict import infer
from brainseg_engine.recipe import Recipe, Schedule
from brainseg_engine.runs import RunFolder, load_state, save_state, versions
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


def train(recipe: Recipe, options: Options, report: Report, cancelled: CancelCheck = never) -> Path:
    """Train, and return the best model's file. Raises TrainingError, RecipeError, InputError, Cancelled.

    Deterministic on a CPU for the same seed, versions and number of threads.
    """
    run = RunFolder(options.out)
    with run.lock():
        split = cohort.read_split(options.split)
        folders = cohort.cases(options.data, split, "train")
        held_out = cohort.cases(options.data, split, "validation")
        if not folders or not held_out:
            raise TrainingError(f"{options.split} needs at least one case for training and one for validation.")
        facts = {"seed": options.seed, "train": [f.name for f in folders], "validation": [f.name for f in held_out]}
        run.start(recipe, {**facts, "device": options.device, "threads": torch.get_num_threads()}, options.resume)
        return _Loop(recipe, options, run, report, cancelled).run(folders, held_out)


class _Loop:
    """One training run; ``run`` is the whole of it."""

    def __init__(
        self, recipe: Recipe, options: Options, run: RunFolder, report: Report, cancelled: CancelCheck
    ) -> None:
        self.recipe, self.options, self.folder, self.report, self.cancelled = recipe, options, run, report, cancelled
        where = device.choose(options.device)
        self.fabric = Fabric(accelerator=where.partition(":")[0], devices=1, precision=recipe.training.precision)
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
        self.averaged = (
            copy.deepcopy(net).to(self.device).eval()
        )  # what is validated; building it anew would draw random numbers
        self.loss = losses.build(recipe.loss)
        self.state = _State()
        self.hashes: tuple[str, ...] = ()

    def run(self, folders: Sequence[Path], held_out: Sequence[Path]) -> Path:
        if self.options.resume and self.folder.last.exists():
            self._resume()
        cases = self._prepare(folders)
        total = self.options.steps or math.ceil(
            self.recipe.training.epochs * len(cases) / self.recipe.training.batch_size
        )
        if self.state.step >= total:
            _log.info("step %d of %d: nothing left to train", self.state.step, total)
        samples = dataset.TrainingSamples(cases, self.recipe.augmentation, self.options.seed)
        batch = self.recipe.training.batch_size
        visits = dataset.Visits(len(cases), self.state.step * batch, total * batch, self.options.seed)
        self.hashes = tuple(dict.fromkeys((*self.earlier, *(h for c in cases for h in c.hashes))))
        batches = iter(dataset.loader(samples, visits, self.options.workers))
        recent: list[float] = []
        began = time.perf_counter()
        while self.state.step < total:
            if self.cancelled():
                self._save()
                raise Cancelled("Training was stopped; --resume continues it.")
            recent.append(self._step([next(batches) for _ in range(batch)], total))
            self.state.step += 1
            step = self.state.step
            self.report(Progress(f"step {step} of {total}, loss {recent[-1]:.3f}", step / total))
            validate = step % self.recipe.training.validate_every_steps == 0 or step == total
            if validate or step % LOG_EVERY == 0:
                dice = self._validate(held_out) if validate else {}
                self._record(len(cases), float(np.mean(recent)), dice, time.perf_counter() - began, total)
                recent = []
            if validate or step % SAVE_EVERY == 0:
                self._save()
        return self.folder.model

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
            self.report(Progress(f"reading {folder.name}", n / len(folders)))
            cases.append(dataset.prepare(folder, self.recipe, divisor))
        return cases

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
            raise TrainingError(
                f"The loss became {mean} at step {self.state.step}; the last good state is kept in {self.folder.path}. "
                'Lower optimiser.learning_rate, or use training.precision = "32-true".'
            )
        self.fabric.clip_gradients(self.net, self.optimiser, max_norm=self.recipe.optimiser.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._average()
        return mean

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
            study = load_study(folder)
            if study.segmentation is None:
                raise TrainingError(f"The validation case {folder} has no segmentation file.")
            with self.fabric.autocast():
                probabilities, _ = infer(self.averaged, study, self.recipe, self.device, cancelled=self.cancelled)
            grid = study.reference.grid
            labels = to_labels(probabilities, self.recipe.output.regions, self.recipe.postprocess, grid.voxel_ml)
            scores = score_case(labels, study.segmentation.labels, grid, self.recipe.output.regions, hd95=False)
            for region, score in scores.items():
                if score.dice is not None:
                    dice[region].append(score.dice)
        return {str(r): float(np.mean(d)) for r, d in dice.items() if d}

    def _record(self, n_cases: int, loss: float, dice: Mapping[str, float], seconds: float, total: int) -> None:
        step = self.state.step
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
            scores_on=f"validation subset of {self.options.split.name}",
            training_hashes=self.hashes,
            training_cases=n_cases,
            steps=self.state.step,
            made_with=versions(),
        )

    def _save(self) -> None:
        tensors = {f"model/{k}": v for k, v in self.raw.state_dict().items()}
        tensors |= {f"ema/{k}": v for k, v in self.ema.items()}
        names = [n for n, _ in self.raw.named_parameters()]
        for i, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optim/{slot}/{names[i]}": torch.as_tensor(v) for slot, v in slots.items()}
        tensors["rng/torch"] = torch.get_rng_state()
        s = self.state
        facts = {
            "step": s.step,
            "best": s.best,
            "best_step": s.best_step,
            "scores": dict(s.scores),
            "seed": self.options.seed,
        }
        save_state(self.folder.last, tensors, facts, self.recipe)

    def _resume(self) -> None:
        tensors, facts, recipe = load_state(self.folder.last)
        if recipe != self.recipe:
            raise TrainingError(
                f"The run in {self.folder.path} was started with another recipe than the one given now; resume with the same, "
                "or name another --out folder."
            )
        if facts["seed"] != self.options.seed:
            raise TrainingError(
                f"The run in {self.folder.path} was started with --seed {facts['seed']}, not {self.options.seed}."
            )
        part = _by_prefix(tensors)
        self.raw.load_state_dict(part["model"])
        self.ema = {k: v.to(self.device) for k, v in part["ema"].items()}
        saved = self.optimiser.state_dict()
        slots = _by_prefix(part["optim"])
        names = [n for n, _ in self.raw.named_parameters()]
        saved["state"] = {i: {slot: slots[slot][n] for slot in slots} for i, n in enumerate(names)}
        self.optimiser.load_state_dict(saved)
        torch.set_rng_state(part["rng"]["torch"])
        self.state = _State(facts["step"], facts["best"], facts["best_step"], facts["scores"])
        self.folder.cut_back(self.state.step)
        _log.info("resuming at step %d", self.state.step)


def schedule(config: Schedule, step: int, total: int) -> float:
    """Factor on the peak learning rate: linear warm-up, then a half cosine down to ``floor``."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _by_prefix(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    out: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        prefix, _, rest = key.partition("/")
        out.setdefault(prefix, {})[rest] = value
    return out
