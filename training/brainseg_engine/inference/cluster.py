"""A cohort over several jobs: SLURM through submitit, or processes of this machine through submitit's local executor.

Each job takes one shard with :func:`brainseg_engine.inference.batch.predict_many`, and is begun again where the scheduler took
its node away: what is done is skipped. Its log lies in ``OUT/.jobs``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.inference.finished import PredictSettings
from brainseg_engine.inference.rows import SUMMARY, PredictOutcome, write_summary
from brainseg_engine.inference.shards import Shard
from brainseg_engine.io.derived.pseudonyms import hidden

FOLDER = ".jobs"
_MINUTES = 24 * 60
_LONGEST_LOCAL_MIN = 30 * 24 * 60
_REQUEUED = 100
"""How often a job may be begun again after its time was over."""


class Ending:
    """What is done as soon as a study's mask is there: ``also`` writes what else is wanted of it, and the row goes into the
    summary, so that a kill loses none. ``files``: id → what ``also`` wrote."""

    def __init__(
        self, settings: PredictSettings, also: Callable[[Path, PredictOutcome], Sequence[Path]] | None = None
    ) -> None:
        self._settings, self._also = settings, also
        self.files: dict[str, list[str]] = {}

    def __call__(self, source: Path, row: PredictOutcome) -> PredictOutcome:
        """The row, failed where ``also`` did."""
        if self._also is not None and row.status != "failed":
            try:
                self.files[row.id] = [str(f) for f in self._also(source, row)]
            except BrainsegError as e:
                row = replace(row, status="failed", message=f"The mask is written, the rest is not: {e}")
        write_summary([hidden(row, self._settings.pseudonyms)], self._settings.out / SUMMARY)
        return row


@dataclass(frozen=True)
class ShardTask:
    """One job's part of the work: all that it needs, to be pickled. ``sources``: studies, or folders of studies."""

    sources: tuple[Path, ...]
    settings: PredictSettings
    models: tuple[Path, ...]
    shard: Shard
    device: str = "auto"
    tta: bool = False
    threads: int | None = None
    also: Callable[[Path, PredictOutcome], Sequence[Path]] | None = None
    """Writes what else is wanted of a study."""

    def __call__(self) -> int:
        """Do it; returns how many studies failed."""
        from brainseg_engine.core.events import silent
        from brainseg_engine.inference.batch import expand, predict_many
        from brainseg_engine.inference.ensemble import predictor_of

        predictor = predictor_of(self.models, self.device, tta=self.tta, threads=self.threads)
        ended = Ending(self.settings, self.also)
        sources = expand(self.sources)
        rows = predict_many(predictor, sources, self.settings, lambda _: silent, shard=self.shard, ended=ended)
        return sum(row.status == "failed" for row in rows)

    def checkpoint(self, *_: Any, **__: Any) -> Any:
        """What submitit asks for when the scheduler takes the node away: the same again, which skips what is done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def require(slurm: Mapping[str, str] | None) -> None:
    """Raise InputError where submitit, or the SLURM that was asked for, is not there."""
    from importlib import import_module

    try:
        import_module("submitit")
    except ImportError as e:
        raise InputError(
            "--jobs needs submitit, which is not installed. Install it with: pip install 'napari-brainseg[cluster]'"
        ) from e
    if slurm is not None and not (shutil.which("sbatch") and shutil.which("srun")):
        raise InputError(
            "SLURM was asked for, but there is no sbatch here. Call it on a node that submits jobs, or leave --slurm out to "
            "run the jobs on this machine."
        )


def slurm_options(given: Sequence[str]) -> dict[str, str]:
    """``partition=gpu`` and so on, as sbatch calls them; ``time`` in minutes. Raises InputError."""
    options: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[a-z][a-z-]*", key) or not value:
            raise InputError(f"--slurm {text}: give KEY=VALUE as sbatch calls it, like partition=gpu or time=60.")
        if key == "time" and not value.isdecimal():
            raise InputError(f"--slurm {text}: give the time of a job in minutes, like time=60.")
        options[key] = value
    return options


def submit(tasks: Sequence[ShardTask], slurm: Mapping[str, str] | None, at_once: int | None = None) -> list[Any]:
    """Hand the tasks to SLURM as one array (at most ``at_once`` of it at a time), or begin them here; returns submitit's jobs."""
    import submitit

    folder = tasks[0].settings.out / FOLDER
    if slurm is None:
        return _begin_here(tasks, folder)
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=_REQUEUED)
    further = {k: v for k, v in slurm.items() if k != "time"}
    executor.update_parameters(
        job_name="brainseg",
        time=int(slurm.get("time", _MINUTES)),
        array_parallelism=at_once or len(tasks),
        additional_parameters=further,
    )
    with executor.batch():
        return [executor.submit(task) for task in tasks]


def _begin_here(tasks: Sequence[ShardTask], folder: Path) -> list[Any]:
    """Processes of this machine, each with one of its GPUs where there are any."""
    import submitit
    import torch

    gpus = torch.cuda.device_count() if tasks[0].device != "cpu" else 0
    executor = submitit.LocalExecutor(folder=folder)
    jobs = []
    for n, task in enumerate(tasks):
        one = {"gpus_per_node": 1, "visible_gpus": (n % gpus,)} if gpus else {}
        executor.update_parameters(timeout_min=_LONGEST_LOCAL_MIN, **one)
        jobs.append(executor.submit(task))
    return jobs


def tasks_of(
    sources: Sequence[Path],
    settings: PredictSettings,
    models: Sequence[Path],
    jobs: int,
    device: str,
    tta: bool,
    *,
    local: bool,
    also: Callable[[Path, PredictOutcome], Sequence[Path]] | None = None,
) -> list[ShardTask]:
    """One task a shard. On this machine they share its cores."""
    from brainseg_engine.core import device as devices

    threads = max(1, devices.cores() // jobs) if local else None
    absolute = tuple(s.absolute() for s in sources)
    out = replace(settings, out=settings.out.absolute())
    files = tuple(m.absolute() for m in models)
    return [ShardTask(absolute, out, files, Shard(n + 1, jobs), device, tta, threads, also) for n in range(jobs)]


def log_of(job: Any) -> Path:
    """Where the job's own messages lie."""
    return Path(os.fspath(job.paths.stderr))
