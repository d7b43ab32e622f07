"""The run folder of a training: recipe, metrics, events, state to resume from, the best model. One process at a time."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from brainseg_engine.checkpoint import raw_metadata
from brainseg_engine.errors import TrainingError
from brainseg_engine.events import Event
from brainseg_engine.paths import atomic, check_writable
from brainseg_engine.recipe import Recipe, parse_recipe

COLUMNS = ("epoch", "step", "loss", "learning_rate", "dice_WT", "dice_TC", "dice_ET", "seconds")
FORMAT = "napari-brainseg-training-state/1"


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

    def start(self, recipe: Recipe, facts: Mapping[str, Any], resume: bool) -> None:
        """Make the folder ready. Raises TrainingError when it holds another run's results and ``resume`` is off."""
        check_writable(self.path, need_bytes=200 * 2**20)
        if self.last.exists() and not resume:
            raise TrainingError(
                f"{self.path} already holds a training run. Add --resume to continue it, or name another --out folder."
            )
        if resume and not self.last.exists() and self.metrics.exists():
            self.metrics.unlink()  # it stopped before its first checkpoint: begin again
        _write_json(self.path / "recipe.json", json.loads(recipe.model_dump_json()))
        _write_json(self.path / "run.json", {**facts, "versions": versions(), "platform": platform.platform()})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder. Raises TrainingError when a living process holds it already."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "lock"
        try:
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            holder = file.read_text(encoding="utf-8").strip()
            if holder.isdigit() and _alive(int(holder)):
                raise TrainingError(
                    f"The process {holder} is already training into {self.path}. Wait for it, or name another --out folder."
                ) from None
            file.unlink(missing_ok=True)
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(handle, str(os.getpid()).encode())
        os.close(handle)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one row to ``metrics.csv``."""
        new = not self.metrics.exists()
        with self.metrics.open("a", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)

    def cut_back(self, step: int) -> None:
        """Drop the rows of ``metrics.csv`` after ``step``: a resumed run writes them again."""
        if not self.metrics.exists():
            return
        with self.metrics.open(newline="", encoding="utf-8") as f:
            rows = [r for r in csv.DictReader(f) if r["step"].isdigit() and int(r["step"]) <= step]
        with atomic(self.metrics) as part, part.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    def emit(self, event: Event) -> None:
        """Append one event to ``events.jsonl``."""
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as f:
            f.write(event.to_json() + "\n")


def save_state(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], recipe: Recipe) -> None:
    """Write what a resume needs, atomically: a kill at any moment leaves the old state or the new one."""
    from safetensors.torch import save_file

    contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    described = {"format": FORMAT, "facts": json.dumps(facts), "recipe": recipe.model_dump_json()}
    with atomic(path) as part:
        save_file(contiguous, part, metadata=described)


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], Recipe]:
    """The tensors, the facts and the recipe of a saved state. Raises CheckpointError, TrainingError."""
    from safetensors.torch import load_file

    described = raw_metadata(path)
    if described.get("format") != FORMAT:
        raise TrainingError(f"{path} is not the state of a training run.")
    return load_file(path), json.loads(described["facts"]), parse_recipe(json.loads(described["recipe"]), str(path))


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


def _write_json(path: Path, content: object) -> None:
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
