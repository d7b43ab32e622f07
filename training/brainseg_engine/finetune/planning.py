"""Before the first step: which model, which corrections and which anchors, decided once and written as the plan."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from brainseg_engine import models
from brainseg_engine.core import labels, outputs
from brainseg_engine.core.errors import CheckpointError, TrainingError
from brainseg_engine.core.names import as_model_name
from brainseg_engine.core.paths import atomic
from brainseg_engine.corrections import Store
from brainseg_engine.finetune import anchors, collecting, keeping, plan, recipes, report_files
from brainseg_engine.finetune.options import FinetuneOptions
from brainseg_engine.finetune.under_way import UnderWay
from brainseg_engine.models.checkpoint import Checkpoint
from brainseg_engine.recipe import NnUNetConfig, OnnxConfig
from brainseg_engine.runs import made_before


def base_file(options: FinetuneOptions, known: plan.FinetunePlan | None) -> Path:
    """The base model's file; to resume (``known``), the very one. Raises TrainingError, CheckpointError."""
    if known is None:
        if options.model is None:
            raise TrainingError(f"There is no run in {options.out} to resume: name --model and --corrections.")
        if (options.minutes is None) == (options.epochs is None):
            raise TrainingError("Say how long to train: either --minutes or --epochs.")
        return models.find(options.model)
    path = Path(known.base["path"])
    if not path.is_file() or models.sha256(path) != known.base["sha256"]:
        raise CheckpointError(
            f"The base model {path} is not what it was when the run in {options.out} was started. Put it back, or start "
            "anew into another --out folder."
        )
    return path


def make(options: FinetuneOptions, path: Path, base: Checkpoint, job: UnderWay) -> plan.FinetunePlan:
    """Collect corrections and anchors, and write the plan. ``path``: the base model's file."""
    if options.corrections is None:
        raise TrainingError("Name the folder of corrections to learn from: --corrections.")
    if options.anchor_coding is not None:
        labels.coding(options.anchor_coding)  # raises before any work
    recipes.require_changeable(options.set or ())
    _require_trainable(base)
    outputs.remove(job.out, job.training.name, made_before=made_before)
    store = Store.existing(options.corrections)
    collected = collecting.collect(store, base.recipe, job.data, job.progress("collecting"), job.stop)
    cases, notes = collecting.hold_out(collected.cases, store)
    fixed = _anchors(options, cases, base, job)
    gate = keeping.gate_of(options, cases, fixed, base.recipe, job)
    if gate is not None:
        fixed.replayed = {}
        notes.append(keeping.SENTENCE)
    seen = [c.name for c in cases if c.held_out and not set(c.images).isdisjoint(base.card.training_hashes)]
    if seen:
        notes.append(f"The base model was trained on {', '.join(seen)}, held out now: its scores there flatter it.")
    base_model = {"name": base.card.name, "version": base.card.version, "path": str(path.resolve()),
                  "sha256": models.sha256(path)}  # fmt: skip
    name = options.name or models.free_name(re.sub(r"-tuned(-\d+)?$", "", as_model_name(path.stem)) + "-tuned")
    made = plan.FinetunePlan(
        settings=options.settings(), base=base_model, name=name, corrections=[_learnt(c) for c in cases],
        replayed=_places(fixed.replayed), scored=_places(fixed.scored), choosing=_places(fixed.choosing),
        patients=fixed.patients, anchors=fixed.words, real=fixed.real, refused=collected.refused,
        notes=[*collected.notes, *notes, *fixed.notes], gate=gate.to_dict() if gate is not None else {},
    )  # fmt: skip
    _write_split(made, job.split)
    with atomic(job.out / "README.txt") as part:
        part.write_text(report_files.README, encoding="utf-8")
    made.save(job.out)
    return made


def _require_trainable(base: Checkpoint) -> None:
    """Raise TrainingError for a model whose weights cannot be fitted further."""
    network = base.recipe.network
    if isinstance(network, OnnxConfig):
        raise TrainingError(
            f"The model '{base.card.name}' came in as ONNX, which can be used but not trained. Fine-tune another model."
        )
    if isinstance(network, NnUNetConfig) and network.members > 1:
        raise TrainingError(
            f"The model '{base.card.name}' is {network.members} folds of nnU-Net in one. Import one of them and fine-tune that: "
            "models import FOLDER --folds 0."
        )


def _anchors(
    options: FinetuneOptions, cases: Sequence[collecting.CorrectedCase], base: Checkpoint, job: UnderWay
) -> anchors.Anchors:
    if options.anchors is None:
        fixed = anchors.phantoms(job.progress("anchors"), job.stop)
    else:
        fixed = anchors.of_folder(
            options.anchors, options.anchor_split, cases, base.recipe, options.seed or 0, base.card.training_hashes,
            job.progress("anchors"), job.stop, options.anchor_coding,
        )  # fmt: skip
    if options.mix == 0:
        fixed.replayed = {}
    return fixed


def _learnt(case: collecting.CorrectedCase) -> plan.Learnt:
    edited = None if case.edited is None else [str(r) for r in case.edited]
    return plan.Learnt(case.name, case.mask_sha256, case.patient, case.held_out, list(case.images), edited)


def _places(cases: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path.resolve()) for name, path in cases.items()}


def _write_split(made: plan.FinetunePlan, split: Path) -> None:
    sides = [(c.name, c.patient, "validation" if c.held_out else "train") for c in made.corrections]
    sides += [(name, f"anchor-{name}", "train") for name in made.replayed]
    with atomic(split) as part, part.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["case", "patient", "split"])
        writer.writerows(sides)
