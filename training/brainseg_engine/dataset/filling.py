"""The cache of training cases, filled by several processes before a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from brainseg_engine import nets
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.dataset.cases import prepare
from brainseg_engine.recipe import Recipe
from brainseg_engine.studies import cohort


@dataclass(frozen=True)
class Filled:
    """One case: how many bytes it takes in the cache, or why it cannot be used."""

    case: str
    bytes: int = 0
    problem: str = ""


def fill(
    folders: Sequence[Path], recipe: Recipe, cache: Path | None = None, coding: str | None = None, jobs: int = 1
) -> Iterator[Filled]:
    """Prepare the cases and keep them; one answer a case, as they come. What is there already is found again at once, so that a
    call that was stopped goes on where it was."""
    divisor = nets.divisor(recipe)
    if jobs == 1:
        for folder in folders:
            yield _one(folder, recipe, divisor, cache, coding)
        return
    # forked processes would inherit locks that torch's threads hold
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_alone) as pool:
        waiting = [pool.submit(_one, folder, recipe, divisor, cache, coding) for folder in folders]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _one(folder: Path, recipe: Recipe, divisor: tuple[int, int, int], cache: Path | None, coding: str | None) -> Filled:
    name = cohort.name(folder)
    try:
        case = prepare(folder, recipe, divisor, cache, coding)
    except BrainsegError as e:
        return Filled(name, problem=str(e))
    return Filled(name, case.path.stat().st_size if case.path is not None else 0)


def _alone() -> None:
    """One thread a process: they share the cores already."""
    import torch

    torch.set_num_threads(1)
