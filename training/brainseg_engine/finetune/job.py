"""A fine-tuning from beginning to end; each part can be resumed after a kill."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from brainseg_engine import models, nets, train
from brainseg_engine.core import device as devices
from brainseg_engine.core import labels, outputs
from brainseg_engine.core.errors import (
    BrainsegError,
    Cancelled,
    CheckpointError,
    OutputError,
    RecipeError,
    TrainingError,
)
from brainseg_engine.core.events import CancelCheck, Event, Failed, Finished, Progress, never
from brainseg_engine.core.labels import Region
from brainseg_engine.core.names import as_model_name, is_model_name
from brainseg_engine.core.paths import atomic
from brainseg_engine.corrections import CorrectionState, Store
from brainseg_engine.finetune import anchors, collecting, guard, memory, plan, proof, report_files, status
from brainseg_engine.finetune.options import CHANGEABLE, PARTS, PHANTOM_MIX, REAL_MIX, FinetuneOptions
from brainseg_engine.finetune.outcome import Outcome
from brainseg_engine.finetune.scoring import Scorer, mean_dice
from brainseg_engine.models import checkpoint
from brainseg_engine.recipe import Recipe, overridden, parse_recipe
from brainseg_engine.runs import RunFolder, made_before

_log = logging.getLogger(__name__)
REPORT = Callable[[Event], None]
PULL, RATE = 1e-3, 0.3
VALIDATIONS, ROWS = 4, 40
_STAGES = {"collecting": (0.0, 0.05), "anchors": (0.05, 0.1), "reading": (0.1, 0.15), "training": (0.15, 0.75),
           "choosing": (0.75, 0.9), "proving": (0.9, 1.0)}  # fmt: skip


def run(options: FinetuneOptions, report: REPORT = lambda _: None, cancelled: CancelCheck = never) -> dict[str, Any]:
    """Fine-tune, and return the report (as in ``report.json``): the new model is installed under ``report["model"]["name"]``.

    Raises InputError, CheckpointError, TrainingError, DeviceError, OutputError; and Cancelled once ``cancelled()`` says so
    or the file ``stop`` is there, after which ``options.resume`` goes on.
    """
    if options.name is not None and not is_model_name(options.name):
        raise OutputError(
            f"'{options.name}' cannot be a model's name: use letters, digits, '-', '_' and '.' alone (--name)."
        )
    folder = RunFolder(options.out, outputs.Use.FINETUNING)
    with folder.lock(), folder.log(), _reporting(options.out, report) as teller:
        job = _Job(options, teller, lambda: cancelled() or teller.asked_to_stop())
        result = job.run()
        summary = {k: result[k] for k in ("verdict", "words", "model")}
        teller.end("done", Finished("finetune", summary))
    return result


@contextmanager
def _reporting(out: Path, report: REPORT) -> Iterator[status.Teller]:
    """How it ends is recorded in the files too."""
    teller = status.Teller(out, report)
    try:
        yield teller
    except BrainsegError as e:
        stopped = isinstance(e, Cancelled)
        teller.end("stopped" if stopped else "failed", Failed("finetune", str(e), cancelled=stopped))
        raise
    except KeyboardInterrupt:
        teller.end("stopped", Failed("finetune", "Fine-tuning was interrupted.", cancelled=True))
        raise
    except Exception as e:
        _log.exception("fine-tuning failed")
        message = f"Something unexpected ended the run ({type(e).__name__}); train.log in its folder tells more."
        teller.end("failed", Failed("finetune", message, repr(e)))
        raise


def _changes(given: Sequence[str]) -> Sequence[str]:
    """They, checked. Raises RecipeError for what would make it another model."""
    for item in given:
        if item.partition(".")[0].strip() not in CHANGEABLE:
            raise RecipeError(
                f"--set {item}: fine-tuning keeps the model what it is, so only {', '.join(CHANGEABLE)} can be changed."
            )
    return given


class _Job:
    def __init__(self, options: FinetuneOptions, tell: Callable[[Event], None], cancelled: CancelCheck) -> None:
        self.options, self.tell, self.cancelled = options, tell, cancelled
        self.out = options.out
        self.data, self.split, self.folder = self.out / "data", self.out / "split.csv", self.out / "training"
        self.left_out: frozenset[str] = frozenset()
        """Of the held-out corrections, those that were excluded meanwhile."""

    def run(self) -> dict[str, Any]:
        known = plan.load(self.out)
        if known is not None and not self.options.resume:
            raise TrainingError(
                f"{self.out} already holds a fine-tuning. Add --resume to continue it, or name another --out."
            )
        if known is not None:
            plan.require_same(known, self.options.settings(), self.out)
        self.base = checkpoint.load(self._base(known))
        self.plan = known or self._planned()
        if not self.plan.trained:
            self._require_none_excluded()
            self._train()
        return self._prove(self._choose())

    # --- what to do

    def _base(self, known: plan.FinetunePlan | None) -> Path:
        """The base model's file; to resume, the very one."""
        if known is None:
            if self.options.model is None:
                raise TrainingError(f"There is no run in {self.out} to resume: name --model and --corrections.")
            if (self.options.minutes is None) == (self.options.epochs is None):
                raise TrainingError("Say how long to train: either --minutes or --epochs.")
            self.path = models.find(self.options.model)
            return self.path
        self.path = Path(known.base["path"])
        if not self.path.is_file() or models.sha256(self.path) != known.base["sha256"]:
            raise CheckpointError(
                f"The base model {self.path} is not what it was when the run in {self.out} was started. Put it back, or start "
                "anew into another --out folder."
            )
        return self.path

    def _planned(self) -> plan.FinetunePlan:
        """Collect corrections and anchors, and write the plan."""
        given, recipe = self.options, self.base.recipe
        if given.corrections is None:
            raise TrainingError("Name the folder of corrections to learn from: --corrections.")
        if given.anchor_coding is not None:
            labels.coding(given.anchor_coding)  # raises before any work
        _changes(given.set or ())
        outputs.remove(self.out, self.folder.name, made_before=made_before)
        store = Store.existing(given.corrections)
        found = collecting.collect(store, recipe, self.data, self._progress("collecting"), self._stop)
        cases, notes = collecting.hold_out(found.cases, store)
        seed = given.seed or 0
        if given.anchors is not None:
            fixed = anchors.of_folder(
                given.anchors, given.anchor_split, cases, recipe, seed, self.base.card.training_hashes,
                self._progress("anchors"), self._stop, given.anchor_coding,
            )  # fmt: skip
        else:
            fixed = anchors.phantoms(self._progress("anchors"), self._stop)
        if given.mix == 0:
            fixed.replayed = {}
        seen = [c.name for c in cases if c.held_out and not set(c.images).isdisjoint(self.base.card.training_hashes)]
        if seen:
            notes.append(f"The base model was trained on {', '.join(seen)}, held out now: its scores there flatter it.")
        base = {"name": self.base.card.name, "version": self.base.card.version, "path": str(self.path.resolve()),
                "sha256": models.sha256(self.path)}  # fmt: skip
        name = given.name or models.free_name(re.sub(r"-tuned(-\d+)?$", "", as_model_name(self.path.stem)) + "-tuned")
        made = plan.FinetunePlan(
            settings=given.settings(), base=base, name=name,
            corrections=[plan.Learnt(
                c.name, c.mask_sha256, c.patient, c.held_out, list(c.images),
                None if c.edited is None else [str(r) for r in c.edited],
            ) for c in cases],
            replayed={n: str(p.resolve()) for n, p in fixed.replayed.items()},
            scored={n: str(p.resolve()) for n, p in fixed.scored.items()},
            choosing={n: str(p.resolve()) for n, p in fixed.choosing.items()}, patients=fixed.patients,
            anchors=fixed.words, real=fixed.real, refused=found.refused, notes=[*found.notes, *notes, *fixed.notes],
        )  # fmt: skip
        self._write_split(made)
        with atomic(self.out / "README.txt") as part:
            part.write_text(report_files.README, encoding="utf-8")
        made.save(self.out)
        return made

    def _write_split(self, made: plan.FinetunePlan) -> None:
        sides = [(c.name, c.patient, "validation" if c.held_out else "train") for c in made.corrections]
        sides += [(name, f"anchor-{name}", "train") for name in made.replayed]
        with atomic(self.split) as part, part.open("w", newline="", encoding="utf-8") as f:
            writer = csv.writer(f, lineterminator="\n")
            writer.writerow(["case", "patient", "split"])
            writer.writerows(sides)

    # --- training

    def _train(self) -> None:
        recipe = self._recipe()
        tried = memory.levels(recipe, self.options.device)
        if self.plan.on_cpu:
            tried = [memory.Level(recipe, "cpu", memory.CPU)]
        self.tried = tried
        memory.with_less(min(self.plan.level, len(tried) - 1), tried, self._attempt, self._lower)
        self.plan.trained = True
        self.plan.save(self.out)

    def _recipe(self) -> Recipe:
        """The base model's, with what fine-tuning does otherwise."""
        chosen = self.plan.settings
        tree = self.base.recipe.model_dump(mode="json")
        pull = PULL if chosen["pull"] is None else chosen["pull"]
        tree["training"] |= {"parts": PARTS[chosen["parts"] or "everything"], "pull": pull}
        if chosen["epochs"] is not None:
            tree["training"]["epochs"] = chosen["epochs"]
        tree["optimiser"]["learning_rate"] *= RATE if chosen["rate"] is None else chosen["rate"]
        if pull:
            tree["optimiser"]["weight_decay"] = 0.0  # the pull is what holds the weights
        tree["augmentation"]["transplant"] = 0.0  # no phantom's lesion in a brain, none of another scanner
        tree["schedule"] = {"name": "cosine", "warmup_steps": 5, "floor": 0.05}
        if chosen.get("precision"):
            tree["training"]["precision"] = chosen["precision"]
        return overridden(parse_recipe(tree), _changes(chosen.get("set") or ()))

    def _attempt(self, level: memory.Level) -> None:
        chosen, made = self.plan.settings, self.plan
        mix = (REAL_MIX if made.real else PHANTOM_MIX) if chosen["mix"] is None else chosen["mix"]
        times = collecting.visits(len(made.training), len(made.replayed), mix)
        visits = {c.name: times["corrections"] for c in made.training}
        visits |= dict.fromkeys(made.replayed, times["anchors"])
        options = train.TrainOptions(
            self.data, self.split, self.folder, seed=chosen["seed"] or 0, device=level.device, name=made.name,
            init=str(self.path), workers=self.options.workers, cache=self.options.cache,
        )  # fmt: skip
        options.resume = any((self.folder / f).exists() for f in ("last.safetensors", "model.safetensors"))
        options.fold = None if made.held_out else "all"
        options.minutes, options.visits = chosen["minutes"], visits
        if chosen.get("anchor_coding"):
            options.codings = dict.fromkeys(made.replayed, chosen["anchor_coding"])
        options.elsewhere = {name: Path(source) for name, source in made.replayed.items()}
        # watched, not chosen by: the weights are those of the last step
        options.validations, options.rows, options.keep = VALIDATIONS if made.held_out else 1, ROWS, "last"
        train.train(level.recipe, options, self._training, self.cancelled)

    def _training(self, event: Event) -> None:
        """The training's own progress, as part of the whole."""
        if isinstance(event, Progress):
            low, high = _STAGES["training" if event.steps is not None else "reading"]
            event = replace(event, fraction=low + (high - low) * event.fraction)
        self.tell(event)

    def _lower(self, level: int, sentence: str) -> None:
        outputs.remove(self.out, self.folder.name, made_before=made_before)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.plan.on_cpu = self.tried[level].words == memory.CPU
        self.plan.level = 0 if self.plan.on_cpu else level
        _log.warning("%s", sentence)
        self.plan.note(self.out, sentence)

    # --- what came of it

    def _choose(self) -> guard.Choice:
        trained = checkpoint.load(RunFolder(self.folder).model)
        self.trained = trained
        self.scorer = Scorer(nets.build(self.base.recipe), self.base.recipe, devices.choose(self.options.device))
        if self.plan.settings.get("anchor_coding"):
            self.scorer.codings = dict.fromkeys(
                (*self.plan.choosing, *self.plan.scored), self.plan.settings["anchor_coding"]
            )
        progress, done = self._progress("choosing"), 0

        def score(alpha: float) -> guard.AlphaScore:
            nonlocal done
            self.scorer.load(guard.mixed(self.base.state, trained.state, alpha))

            def before(name: str) -> None:
                self._stop()
                progress(Progress(f"trying α = {alpha:g} on {name}", done / len(guard.ALPHAS)))

            cases = {n: Path(p) for n, p in self.plan.choosing.items()}
            mean = mean_dice(self.scorer.score(cases, hd95=False, seen=frozenset(), before=before))
            done += 1
            return guard.AlphaScore(alpha, mean)

        return guard.choose(score, 1.0 if self.plan.real and self.plan.held_out else guard.BLIND)

    def _sets(self) -> dict[str, dict[str, Path]]:
        held_out = {c.name: self.data / c.name for c in self.plan.held_out if c.name not in self.left_out}
        return {"held_out": held_out, "anchors": {n: Path(p) for n, p in self.plan.scored.items()}}

    def _prove(self, choice: guard.Choice) -> dict[str, Any]:
        state = guard.mixed(self.base.state, self.trained.state, choice.alpha)
        progress, seen = self._progress("proving"), frozenset(self.base.card.training_hashes)
        self._say_what_was_excluded()
        results = []
        for n, weights in enumerate((self.base.state, state)):

            def before(name: str, n: int = n) -> None:
                self._stop()
                progress(Progress(f"scoring {name} {('before', 'after')[n]}", n / 2))

            self.scorer.load(weights)
            results.append(
                {k: self.scorer.score(cases, hd95=True, seen=seen, before=before) for k, cases in self._sets().items()}
            )
        patients = {c.name: c.patient for c in self.plan.held_out} | self.plan.patients
        edited = {c.name: [Region(r) for r in c.edited] for c in self.plan.held_out if c.edited is not None}
        sets = {
            k: proof.BeforeAfter(results[0][k], results[1][k], patients, edited if k == "held_out" else {})
            for k in results[0]
        }
        self._settle_name()
        outcome = Outcome(self.plan, choice, sets)
        model = self.out / "model.safetensors"
        if not self._written(model, state):
            checkpoint.save(model, state, outcome.card(self.base.card, self.trained.card), self.base.recipe)
        models.add(model, self.plan.name)
        report = outcome.report(
            model, self.trained.card.steps, self._recipe().optimiser.learning_rate, self.scorer.device
        )
        report_files.write(self.out, report, sets)
        return report

    def _written(self, path: Path, state: guard.StateDict) -> bool:
        """Whether an earlier attempt wrote these very weights under this name, which then stay as they are."""
        if not path.exists():
            return False
        try:
            old = checkpoint.load(path)
        except CheckpointError as e:
            _log.warning("%s", e)
            return False
        return old.card.name == self.plan.name and all(torch.equal(v, old.state[k]) for k, v in state.items())

    def _excluded(self) -> set[str]:
        """The corrections that nobody wants to be used any more; somebody may have excluded one while this ran."""
        folder = self.plan.settings.get("corrections")
        if not isinstance(folder, str):
            return set()
        try:
            return {c.id for c in Store.existing(folder).corrections((CorrectionState.EXCLUDED,))}
        except BrainsegError as e:  # it is not there any more
            _log.warning("%s", e)
            return set()

    def _require_none_excluded(self) -> None:
        """Raise TrainingError where training would begin, or go on, with a correction that was excluded meanwhile."""
        excluded = self._excluded()
        gone = [c.name for c in self.plan.training if c.name in excluded]
        if gone:
            raise TrainingError(
                f"{', '.join(gone)} {'was' if len(gone) == 1 else 'were'} excluded since this fine-tuning collected its "
                f"corrections into {self.out}, and would be learnt from all the same. Start anew into another --out folder."
            )

    def _say_what_was_excluded(self) -> None:
        """While this ran: what was learnt from is said, and what was held out is no evidence any more."""
        excluded = self._excluded()
        for held_out, cases in ((False, self.plan.training), (True, self.plan.held_out)):
            gone = [c.name for c in cases if c.name in excluded]
            if not gone:
                continue
            were = "was" if len(gone) == 1 else "were"
            sentence = f"{', '.join(gone)} {were} excluded while this run was under way and "
            if held_out:
                self.left_out = frozenset(gone)
                sentence += f"{'is' if len(gone) == 1 else 'are'} not scored."
            else:
                sentence += f"{were} learnt from all the same. Start anew to leave it out."
            _log.warning("%s", sentence)
            self.plan.note(self.out, sentence)

    def _settle_name(self) -> None:
        """The new model's name, which no other model has; it may have been taken while this one was trained."""
        taken = {m.name: m.path for m in models.installed()}
        own = self.out / "model.safetensors"
        if self.plan.name not in taken or (own.exists() and models.sha256(own) == models.sha256(taken[self.plan.name])):
            return
        name = models.free_name(self.plan.name)
        sentence = f"The name {self.plan.name} was taken meanwhile; the model is called {name}."
        self.plan.name = name
        self.plan.note(self.out, sentence)

    # --- within

    def _stop(self) -> None:
        if self.cancelled():
            known = plan.load(self.out) is not None
            advice = f"The same command with --resume goes on in {self.out}." if known else "Nothing was trained yet."
            raise Cancelled(f"Fine-tuning was stopped. {advice}")

    def _progress(self, part: str) -> Callable[[Progress], None]:
        low, high = _STAGES[part]
        return lambda p: self.tell(replace(p, fraction=low + (high - low) * p.fraction))
