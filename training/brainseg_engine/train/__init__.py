"""Training: one loop on Lightning Fabric for every recipe, exact resume, validation by whole-volume inference, the best
model kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from brainseg_engine import nets
from brainseg_engine.core import device
from brainseg_engine.core.errors import DeviceError, TrainingError
from brainseg_engine.core.events import CancelCheck, Event, never
from brainseg_engine.core.paths import check_writable
from brainseg_engine.recipe import Recipe
from brainseg_engine.runs import RunFolder, pseudonyms
from brainseg_engine.studies import cohort
from brainseg_engine.train import memory, ranks
from brainseg_engine.train.loop import Loop
from brainseg_engine.train.options import Report, TrainOptions
from brainseg_engine.train.rates import Rate
from brainseg_engine.train.sinks import with_sinks
from brainseg_engine.train.validation import draw_examples

__all__ = ["Loop", "Rate", "Report", "TrainOptions", "train"]

BYTES_A_WEIGHT = 40
"""On disk: weights, their average and the optimiser's two moments, and the model; all twice, old and new."""


def train(recipe: Recipe, options: TrainOptions, report: Report, cancelled: CancelCheck = never) -> Path:
    """Train, and return the best model's file. Raises TrainingError, RecipeError, InputError, OutputError, DeviceError; and
    Cancelled once ``cancelled()`` says so, with the state saved.

    Deterministic on a CPU for the same seed, versions and number of threads. With several devices this function runs in
    each of their processes; the first one writes and reports.
    """
    fabric = ranks.make_fabric(recipe, options)
    first = fabric.is_global_zero
    run = RunFolder(options.out)
    with (
        run.lock() if first else nullcontext(),
        run.log() if first else nullcontext(),
        _in_words(run, recipe, str(fabric.device)),
    ):
        split = cohort.read_split(options.split, options.fold)
        folders = cohort.cases(options.data, split, "train", options.elsewhere)
        held_out = cohort.cases(options.data, split, "validation", options.elsewhere)
        if not folders or not (held_out or options.fold == "all"):
            raise TrainingError(f"{options.split} needs at least one case for training and one for validation.")
        cases = {"train": [cohort.name(f) for f in folders], "validation": [cohort.name(f) for f in held_out]}
        known = run.earlier(cases, options.resume) if first else {}
        with with_sinks(report, options, recipe) if first else nullcontext(_silent) as tell:
            loop = Loop(recipe, options, fabric, run, tell, cancelled)
            loop.begin(known)
            if first:
                check_writable(options.out, BYTES_A_WEIGHT * nets.count_parameters(loop.learner.raw))
                listed = cases if options.case_names else {subset: pseudonyms(names) for subset, names in cases.items()}
                facts = {"seed": options.seed, **listed, "device": str(fabric.device), "processes": fabric.world_size}
                facts |= {
                    "threads": torch.get_num_threads(),
                    "precision": fabric.strategy.precision.precision,
                    "earlier_training_hashes": loop.earlier,
                    "planned": loop.planned,
                }
                run.describe(recipe, facts)
            model = loop.run(folders, held_out)
        if first and model.exists():
            draw_examples(model, held_out, recipe, str(fabric.device), run, options.case_names, options.coding)
        return model


def _silent(_: Event) -> None:
    """Only the first of several processes tells how it goes."""


@contextmanager
def _in_words(run: RunFolder, recipe: Recipe, where: str) -> Iterator[None]:
    """What a machine runs out of, as a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        if device.out_of_memory(e):
            raise DeviceError(
                f"This training ran out of memory. {memory.advice(recipe, where)} Or close other programs. {run.advice}"
            ) from e
        if "DataLoader worker" in str(e):
            raise TrainingError(
                f"A process that prepares samples has ended ({str(e).partition(chr(10))[0]}), most likely for want of memory. "
                f"Use --workers 0 or fewer (in a container: give it more shared memory). {run.advice}"
            ) from e
        raise
