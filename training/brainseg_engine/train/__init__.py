"""Training: one loop on Lightning Fabric, exact resume, validation by whole-volume inference, the best model kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from brainseg_engine import cohort, device, nets
from brainseg_engine.errors import DeviceError, TrainingError
from brainseg_engine.events import CancelCheck, never
from brainseg_engine.paths import check_writable
from brainseg_engine.recipe import Recipe
from brainseg_engine.runs import RunFolder
from brainseg_engine.train.loop import Loop, Options, Report, schedule

__all__ = ["Options", "schedule", "train"]

BYTES_A_WEIGHT = 40
"""On disk: weights, their average and the optimiser's two moments, and the model; all twice, old and new."""


def train(recipe: Recipe, options: Options, report: Report, cancelled: CancelCheck = never) -> Path:
    """Train, and return the best model's file. Raises TrainingError, RecipeError, InputError, OutputError, DeviceError; and
    Cancelled once ``cancelled()`` says so, with the state saved.

    Deterministic on a CPU for the same seed, versions and number of threads.
    """
    run = RunFolder(options.out)
    with run.lock(), _in_words(run):
        split = cohort.read_split(options.split)
        folders = cohort.cases(options.data, split, "train")
        held_out = cohort.cases(options.data, split, "validation")
        if not folders or not held_out:
            raise TrainingError(f"{options.split} needs at least one case for training and one for validation.")
        cases = {"train": [f.name for f in folders], "validation": [f.name for f in held_out]}
        known = run.earlier(cases, options.resume)
        loop = Loop(recipe, options, run, report, cancelled)
        check_writable(options.out, BYTES_A_WEIGHT * nets.count_parameters(loop.raw))
        loop.begin(known)
        facts = {"seed": options.seed, **cases, "device": options.device, "threads": torch.get_num_threads()}
        run.describe(recipe, {**facts, "earlier_training_hashes": loop.earlier})
        return loop.run(folders, held_out)


@contextmanager
def _in_words(run: RunFolder) -> Iterator[None]:
    """What a machine runs out of, as a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        if device.out_of_memory(e):
            raise DeviceError(
                "The memory does not suffice for this training. Close other programs, train at a coarser preprocess.spacing_mm "
                'or with fewer network.init_filters, or on a GPU with training.precision = "bf16-mixed". ' + run.advice
            ) from e
        if "DataLoader worker" in str(e):
            raise TrainingError(
                f"A process that prepares samples has ended ({str(e).partition(chr(10))[0]}), most likely for want of memory. "
                f"Use --workers 0 or fewer (in a container: give it more shared memory). {run.advice}"
            ) from e
        raise
