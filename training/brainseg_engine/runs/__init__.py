"""The run folder of a training: recipe, metrics, events, state to resume from, the best model. One process at a time."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainseg_engine.core import outputs, plain, records
from brainseg_engine.core.errors import OutputError, TrainingError
from brainseg_engine.core.events import EpochDone, Event
from brainseg_engine.core.locks import try_lock, unlock
from brainseg_engine.core.paths import atomic
from brainseg_engine.core.provenance import git_revision, versions
from brainseg_engine.recipe import Recipe
from brainseg_engine.runs.saved import STATE_FORMAT, load_state, pack, save_state, unpack

__all__ = ["STATE_FORMAT", "RunFolder", "load_state", "made_before", "pack", "pseudonyms", "save_state", "unpack"]

_log = logging.getLogger(__name__)
COLUMNS = ("epoch", "step", "loss", "learning_rate", "dice_WT", "dice_TC", "dice_ET", "seconds")
_README = """One training of napari-brainseg.

model.safetensors  the best model so far, by its mean validation Dice: weights, recipe and card; use it with
                   napari-brainseg predict STUDY --out masks --model model.safetensors
last.safetensors   the last state; napari-brainseg train ... --resume goes on from it
recipe.json        every setting, as it was used
run.json           cases (by a hash of their names, unless these were wanted), seed, device, versions, and fingerprints of
                   the data
metrics.csv        loss, learning rate and validation Dice over the steps; curves.png is its picture
events.jsonl       the same, as it came, one JSON object a line (steps may stand twice after a crash)
train.log          warnings and notes
examples/          the model's answers to the first validation cases, with the outline of the truth (patients' images)
"""
_FIRST_LINES = (b"One training of napari-brainseg.", b"One fine-tuning of napari-brainseg.")
_BEFORE_ITS_FIRST_STEP = {"lock", "train.log", "process.log", "status.json", "stop"}
"""What lies in the folder of a run that has hardly begun."""
ORPHANS_S = 15.0
"""How long the helpers of a killed training may hold its lock; they look for their parent every 5 s."""
_UNREADABLE = b" " if sys.platform == "win32" else b""
"""What the content of a locked file begins with: on Windows nobody but its holder can read the byte that is locked."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run folder, of a training or of another ``use``."""

    path: Path
    use: outputs.Use = outputs.Use.TRAINING

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
    def examples(self) -> Path:
        """The folder of the pictures, made where it is absent. Raises OutputError for a link."""
        return outputs.subfolder(self.path, "examples")

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
            earlier_facts = records.read_object(file)
            same = {  # version 0.1 wrote the names themselves
                subset: earlier_facts[subset] in (list(names), pseudonyms(names)) for subset, names in cases.items()
            }
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
        return earlier_facts

    def describe(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        """Write ``recipe.json``, ``run.json`` and ``README.txt``; rows of a run that left no state to resume from are dropped."""
        if not self.last.exists():
            self.metrics.unlink(missing_ok=True)
        _write_json(self.path / "recipe.json", recipe.model_dump(mode="json"))
        made_with = {"versions": versions(), "git_revision": git_revision(), "platform": platform.platform()}
        _write_json(self.path / "run.json", {**facts, **made_with})
        with atomic(self.path / "README.txt") as part:
            part.write_text(_README, encoding="utf-8")

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add to ``run.json``. Raises OutputError."""
        file = self.path / "run.json"
        try:
            earlier = records.read_object(file)
        except (OSError, ValueError) as e:
            raise TrainingError(f"{file} cannot be read ({e}). Start anew into another --out folder.") from e
        _write_json(file, {**earlier, **facts})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder. Raises TrainingError when another process holds it, OutputError when it cannot be made or holds
        what is not ours.

        The lock is the operating system's and ends with the process however that ends; the file tells its PID.
        """
        outputs.claim(self.path, self.use, private=True, made_before=made_before)
        file = self.path / "lock"
        try:
            handle = plain.updating(file)
        except OSError as e:
            raise OutputError(f"Cannot write {file}: {e.strerror or e}. Choose another --out folder.") from e
        try:
            self._take(handle)
            _note(handle, str(os.getpid()))
            try:
                yield
            finally:
                _note(handle, "")
                unlock(handle)
        finally:
            os.close(handle)

    def _take(self, handle: int) -> None:
        patience = time.monotonic() + ORPHANS_S
        while not try_lock(handle):
            holder = _noted(handle)
            orphaned = holder.isdigit() and not _alive(int(holder))
            looked_at = not holder and time.monotonic() < patience - ORPHANS_S + 1  # by one who asks whether it is held
            if not (orphaned or looked_at) or time.monotonic() > patience:
                who = f"The process {holder}" if holder else "Another process"
                raise TrainingError(
                    f"{who} is already training into {self.path}. Wait for it, or name another --out folder."
                )
            time.sleep(0.05 if looked_at else 0.5)

    @contextmanager
    def log(self) -> Iterator[None]:
        """Write what the engine logs meanwhile into ``train.log`` too. Raises OutputError."""
        file = self.path / "train.log"
        with _writing(file):
            stream = os.fdopen(plain.appending(file), "a", encoding="utf-8", errors="backslashreplace")
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        engine = logging.getLogger("brainseg_engine")
        engine.addHandler(handler)
        try:
            yield
        finally:
            engine.removeHandler(handler)
            stream.close()

    def record(self, event: EpochDone) -> None:
        """Append one row to ``metrics.csv``. Raises OutputError."""
        row = {
            "epoch": event.epoch,
            "step": event.step,
            "loss": f"{event.loss:.5f}",
            "learning_rate": f"{event.learning_rate:.3e}",
            **{f"dice_{r}": f"{d:.4f}" for r, d in event.dice.items()},
            "seconds": event.seconds,
        }
        with _writing(self.metrics), os.fdopen(plain.appending(self.metrics), "a", newline="", encoding="utf-8") as f:
            new = f.tell() == 0
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
        with _writing(file), os.fdopen(plain.appending(file), "a", encoding="utf-8") as f:
            f.write(event.to_json() + "\n")

    def _rows(self) -> list[dict[str, str]]:
        if not self.metrics.exists():
            return []
        try:
            rows = list(csv.DictReader(plain.read(self.metrics).decode("utf-8").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as e:
            raise TrainingError(f"{self.metrics} cannot be read ({e}). Move it away; the training goes on.") from e
        return [r for r in rows if r.get("step")]


def pseudonyms(names: Sequence[str]) -> list[str]:
    """What ``run.json`` calls cases whose names are not to be recorded: the same name is called the same."""
    return [hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16] for name in names]


def made_before(folder: Path) -> bool:
    """Whether version 0.1 made the run folder, which it did not mark: its README, its record or its table says so."""
    with contextlib.suppress(OSError):
        if plain.read(folder / "README.txt", 2**16).startswith(_FIRST_LINES):
            return True
    with contextlib.suppress(OSError, ValueError):
        return {"seed", "train", "versions"} <= records.read_object(folder / "run.json").keys()
    with contextlib.suppress(OSError):
        return plain.read(folder / "metrics.csv").startswith(",".join(COLUMNS).encode())
    if plain.is_file(folder / "plan.json") and plain.is_file(folder / "status.json"):
        return True
    return {p.name for p in folder.iterdir()} <= _BEFORE_ITS_FIRST_STEP


def _note(handle: int, holder: str) -> None:
    """Who holds the lock, as the file's content; one that tells something else is not ours to cut."""
    os.lseek(handle, 0, os.SEEK_SET)
    if os.read(handle, 32).strip(b" 0123456789") == b"":
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, _UNREADABLE + holder.encode())


def _noted(handle: int) -> str:
    """Who holds the lock, "" where the file does not tell."""
    os.lseek(handle, len(_UNREADABLE), os.SEEK_SET)
    return os.read(handle, 32).decode("utf-8", "replace").strip()


def _alive(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise OutputError(f"Cannot write {path}: {e.strerror or e}. Free some space; --resume then continues.") from e


def _write_json(path: Path, content: object) -> None:
    records.write_json(path, content, indent=2)
