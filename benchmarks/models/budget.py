"""A training that is given processor minutes: the clock, and what is kept so that it goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SAVE_EVERY_S = 60.0
"""Of processor time."""


class Budget:
    """Processor seconds of this process, over all its runs; what other programs do on the machine does not count."""

    def __init__(self, minutes: float, used: float = 0.0) -> None:
        self.seconds, self._before = 60 * minutes, used - time.process_time()

    @property
    def used(self) -> float:
        """Seconds."""
        return self._before + time.process_time()

    @property
    def part(self) -> float:
        """How much of it is used, 0 to 1."""
        return min(1.0, self.used / self.seconds)


def train(
    file: Path,
    minutes: float,
    step: Callable[[int, float], float],
    state: Callable[[], dict[str, Any]],
    restore: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Steps until the budget is used; returns {"steps", "cpu_minutes", "loss"}.

    ``step(number, part of the budget used)`` returns a loss; ``state`` and ``restore`` are all that is learned so far.
    """
    number, losses, budget = 0, [], Budget(minutes)
    if file.is_file():
        kept = torch.load(file, weights_only=True)
        restore(kept["state"])
        number, budget = kept["steps"], Budget(minutes, kept["used"])
    saved = budget.used
    while budget.part < 1:
        losses.append(step(number, budget.part))
        number += 1
        print(f"step {number}, {budget.used / 60:.1f} of {minutes:g} processor minutes, {losses[-1]:.3f}", flush=True)
        if budget.used - saved > SAVE_EVERY_S or budget.part >= 1:
            saved = budget.used
            part = file.with_suffix(".part")
            torch.save({"steps": number, "used": budget.used, "state": state()}, part)
            part.replace(file)
    last = losses[-10:]
    return {
        "steps": number, "cpu_minutes": round(budget.used / 60, 1), "loss": sum(last) / len(last) if last else None,
    }  # fmt: skip
