"""In which order samples are visited, and by whom they are made."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from brainseg_engine import augment
from brainseg_engine.dataset.samples import Key, Sample, Samples

__all__ = ["Key", "Visits", "loader"]


class Visits(Sampler[Key]):
    """Every sample once an epoch, in an order drawn from (seed, epoch); from visit ``first`` up to ``last``, of which the
    process ``rank`` of ``world`` takes those whose number leaves ``rank`` when divided by ``world``."""

    def __init__(self, n: int, first: int, last: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.n, self.seed = n, seed
        self.visits = range(first + (rank - first) % world, last, world)

    def __len__(self) -> int:
        return len(self.visits)

    def __iter__(self) -> Iterator[Key]:
        order, drawn = torch.empty(0), -1
        for visit in self.visits:
            epoch, position = divmod(visit, self.n)
            if epoch != drawn:
                order, drawn = torch.randperm(self.n, generator=augment.generator(self.seed, epoch, self.n)), epoch
            yield epoch, int(order[position])


def loader(
    samples: Samples, visits: Visits, batch_size: int = 1, workers: int = 0, start_method: str | None = None
) -> DataLoader[Sample]:
    """Batches in the order of the visits, whatever the number of workers: (N, C, *spatial), (N, *spatial), keys (N, 2).

    Whole brains differ in size, so that their batches are of one. ``start_method`` (fork, spawn, forkserver) is the
    platform's own where None.
    """
    # a generator of its own: the loader's start must not move torch's global one, which dropout draws from
    return DataLoader(
        samples, batch_size, sampler=visits, num_workers=workers, generator=torch.Generator(),
        worker_init_fn=_leave_signals, pin_memory=torch.cuda.is_available(),
        multiprocessing_context=start_method if workers else None,
    )  # fmt: skip


def _leave_signals(_: int) -> None:
    """Ctrl-C reaches a terminal's whole process group, and a forked worker has its parent's handlers: to stop is the
    parent's business, which still needs its workers to end a step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
