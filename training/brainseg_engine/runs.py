"""The run folder of a training: recipe, metrics, events, state to resume from, the best model. One process at a time."""

from __future__ import annotations

import csv
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from brainseg_engine.checkpoint import raw_metadata, write_tensors
from brainseg_engine.errors import BrainsegError, OutputError, TrainingError
from brainseg_engine.events import Event
from brainseg_engine.paths import atomic, check_writable
from brainseg_engine.recipe import Recipe, parse_recipe

_log = logging.getLogger(__name__)
COLUMNS = ("epoch", "step", "loss", "learning_rate", "dice_WT", "dice_TC", "dice_ET", "seconds")
FORMAT = "napari-brainseg-training-state/1"
ORPHANS_S = 15.0
"""How long the helpers of a killed training may hold its lock; they look for their parent every 5 s."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run folder."""

    path: Path

    @property
    def model(self) -> Path:
        """The best model so far."""
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        """All that a resume needs."""
        return self.path / "last.safetensors"

    @property
    def metrics(self) -> Path:
        """Loss and validation Dice, one row an interval."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The picture of ``metrics``."""
        return self.path / "curves.png"

    @property
    def advice(self) -> str:
        """How to go on after a stop, in words."""
        if self.last.exists():
            return f"The last state is kept in {self.path}: the same command with --resume continues from it."
        return "No state had been saved yet: start it again."

    def earlier(self, cases: Mapping[str, Sequence[str]], resume: bool) -> Mapping[str, Any]:
        """What ``run.json`` tells of the run to resume, {} for a new one; nothing is written.

        Raises TrainingError when the folder holds results and ``resume`` is off, and when the run had other ``cases``
        (subset → names): its model would not know all that it has seen.
        """
        if not resume and (self.last.exists() or self.model.exists()):
            raise TrainingError(
                f"{self.path} already holds a training run. Add --resume to continue it, or name another --out folder."
            )
        if not self.last.exists():
            if resume:
                _log.warning("%s holds no saved state; the training begins at step 0", self.path)
            return {}
        file = self.path / "run.json"
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            same = {subset: told[subset] == list(names) for subset, names in cases.items()}
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise TrainingError(
                f"{file} cannot be read, so the run's cases are not known. Start anew into another --out folder."
            ) from e
        if not all(same.values()):
            changed = " and ".join(subset for subset, equal in same.items() if not equal)
            raise TrainingError(
                f"The run in {self.path} was started with other {changed} cases than --data and --split give now. Resume "
                "with the same, or name another --out folder."
            )
        return told if isinstance(told, dict) else {}

    def describe(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        """Write ``recipe.json`` and ``run.json``; rows of a run that left no state to resume from are dropped."""
        if not self.last.exists():
            self.metrics.unlink(missing_ok=True)
        _write_json(self.path / "recipe.json", json.loads(recipe.model_dump_json()))
        _write_json(self.path / "run.json", {**facts, "versions": versions(), "platform": platform.platform()})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder. Raises TrainingError when another process holds it, OutputError when it cannot be made.

        The lock is the operating system's and ends with the process however that ends; the file tells its PID.
        """
        check_writable(self.path)
        file = self.path / "lock"
        try:
            handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as e:
            raise OutputError(f"Cannot write {file}: {e.strerror or e}. Choose another --out folder.") from e
        try:
            self._take(handle, file)
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, str(os.getpid()).encode())
            try:
                yield
            finally:
                os.ftruncate(handle, 0)
                _unlock(handle)
        finally:
            os.close(handle)

    def _take(self, handle: int, file: Path) -> None:
        patience = time.monotonic() + ORPHANS_S
        while not _try_lock(handle):
            holder = file.read_text(encoding="utf-8").strip()
            orphaned = holder.isdigit() and not _alive(int(holder))
            if not orphaned or time.monotonic() > patience:
                who = f"The process {holder}" if holder else "Another process"
                raise TrainingError(
                    f"{who} is already training into {self.path}. Wait for it, or name another --out folder."
                )
            time.sleep(0.5)

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one row to ``metrics.csv``. Raises OutputError."""
        new = not self.metrics.exists()
        with _told(self.metrics), self.metrics.open("a", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)

    def cut_back(self, step: int) -> None:
        """Drop the rows of ``metrics.csv`` after ``step``: a resumed run writes them again."""
        if not self.metrics.exists():
            return
        rows = [r for r in self._rows() if (r["step"] or "").isdigit() and int(r["step"]) <= step]
        with atomic(self.metrics) as part, part.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def emit(self, event: Event) -> None:
        """Append one event to ``events.jsonl``. Raises OutputError."""
        file = self.path / "events.jsonl"
        with _told(file), file.open("a", encoding="utf-8") as f:
            f.write(event.to_json() + "\n")

    def _rows(self) -> list[dict[str, str]]:
        if not self.metrics.exists():
            return []
        try:
            with self.metrics.open(newline="", encoding="utf-8") as f:
                rows = list(csv.DictReader(f))
        except (OSError, UnicodeDecodeError, csv.Error) as e:
            raise TrainingError(f"{self.metrics} cannot be read ({e}). Move it away; the training goes on.") from e
        return [r for r in rows if r.get("step")]


def pack(
    net: torch.nn.Module, ema: Mapping[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Weights, their average, the optimiser's state and the random state as tensors with the prefixes model/ ema/ optim/ rng/."""
    tensors = {f"model/{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in ema.items()}
    names = [n for n, _ in net.named_parameters()]
    for i, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optim/{slot}/{names[i]}": torch.as_tensor(v) for slot, v in slots.items()}
    return {**tensors, "rng/torch": torch.get_rng_state()}


def unpack(
    tensors: Mapping[str, torch.Tensor], net: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Put back what :func:`pack` gave; returns the averaged weights. A state of step 0 has no ``optim/``."""
    part = _by_prefix(tensors)
    net.load_state_dict(part["model"])
    slots = _by_prefix(part.get("optim", {}))
    saved = optimiser.state_dict()
    of_each = ((i, n) for i, (n, _) in enumerate(net.named_parameters()))
    state = {i: {slot: values[n] for slot, values in slots.items() if n in values} for i, n in of_each}
    optimiser.load_state_dict({**saved, "state": {i: s for i, s in state.items() if s}})
    torch.set_rng_state(part["rng"]["torch"])
    return part["ema"]


def save_state(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], recipe: Recipe) -> None:
    """Write what a resume needs, atomically: a kill at any moment leaves the old state or the new one. Raises OutputError."""
    write_tensors(path, tensors, {"format": FORMAT, "facts": json.dumps(facts), "recipe": recipe.model_dump_json()})


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], Recipe]:
    """The tensors, the facts and the recipe of a saved state. Raises CheckpointError, TrainingError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    described = raw_metadata(path)
    if described.get("format") != FORMAT:
        raise TrainingError(f"{path} is not the state of a training run.")
    try:
        facts, recipe = json.loads(described["facts"]), parse_recipe(json.loads(described["recipe"]), str(path))
        return load_file(path), facts, recipe
    except (KeyError, ValueError, OSError, SafetensorError, BrainsegError) as e:
        raise TrainingError(
            f"The saved state {path} is damaged or from another version ({e}). Start anew into another --out folder."
        ) from e


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("napari-brainseg", "torch", "monai", "numpy", "lightning-fabric")
    return {n: metadata.version(n) for n in names if _has(n)}


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _alive(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))


if sys.platform == "win32":
    import msvcrt

    _BYTE = 1 << 30  # far behind the PID, which others may go on reading

    def _try_lock(handle: int) -> bool:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as e:  # some network file systems have no locks: better to train than not to
            _log.warning("the run folder cannot be locked (%s); start no second training into it", e.strerror or e)
        return True

    def _unlock(handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_UN)
        except OSError as e:
            _log.debug("unlocking: %s", e)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise OutputError(f"Cannot write {path}: {e.strerror or e}. Free some space; --resume then continues.") from e


def _by_prefix(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    out: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        prefix, _, rest = key.partition("/")
        out.setdefault(prefix, {})[rest] = value
    return out


def _write_json(path: Path, content: object) -> None:
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
