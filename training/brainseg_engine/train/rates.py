"""Learning rates over a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from brainseg_engine.recipe import Cosine, Halving, Plateau, Poly, Schedule, StepSchedule, TimeDecay


class Rate:
    """The factor on the recipe's learning rate at each step.

    ``steps_per_epoch`` may be a fraction; ``total`` steps are planned. ``by_steps``: the run was given in steps, so that
    what is defined by epochs falls smoothly instead. ``observe`` each step's loss: the plateau schedule depends on them,
    and :meth:`state` holds what it remembers.
    """

    def __init__(self, schedule: Schedule, total: int, steps_per_epoch: float, by_steps: bool = False) -> None:
        self.schedule, self.total, self.per_epoch, self.by_steps = schedule, total, max(steps_per_epoch, 1e-9), by_steps
        self._plateau: dict[str, Any] = {"best": math.inf, "bad": 0, "factor": 1.0, "epoch": 0, "losses": []}

    def epoch(self, step: int) -> int:
        """The epoch that ``step`` (from 0) belongs to."""
        return int(step / self.per_epoch + 1e-9)

    def factor(self, step: int) -> float:
        """For ``step``, counted from 0."""
        s = self.schedule
        if isinstance(s, Cosine):
            if step < s.warmup_steps:
                return (step + 1) / s.warmup_steps
            progress = (step - s.warmup_steps) / max(1, self.total - s.warmup_steps)
            return s.floor + (1 - s.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        if isinstance(s, Poly):
            if step < s.warmup_steps:
                return (step + 1) / s.warmup_steps
            epochs = math.ceil(self.total / self.per_epoch - 1e-9)
            progress = step / self.total if self.by_steps else self.epoch(step) / max(1, epochs)
            return float((1 - min(1.0, progress)) ** s.power)
        if isinstance(s, StepSchedule):
            epoch = self.epoch(step)
            passed = epoch // s.every_epochs if s.every_epochs else sum(epoch >= m for m in s.milestones)
            return s.gamma**passed
        if isinstance(s, Halving):
            return float(s.factor ** sum(e // s.every_epochs for e in range(self.epoch(step) + 1)))
        if isinstance(s, TimeDecay):
            starts = self.epoch(step) + 1
            return s.epoch_factor**starts / (1 + s.decay * s.decay_factor ** min(starts, 300) * step)
        return float(self._plateau["factor"]) if isinstance(s, Plateau) else 1.0

    def observe(self, step: int, loss: float) -> None:
        """Report the loss of ``step``; in order."""
        if not isinstance(self.schedule, Plateau):
            return
        p = self._plateau
        p["losses"].append(loss)
        if self.epoch(step + 1) == p["epoch"]:
            return
        mean = sum(p["losses"]) / len(p["losses"])
        p["epoch"], p["losses"] = self.epoch(step + 1), []
        if mean < p["best"]:
            p["best"], p["bad"] = mean, 0
            return
        p["bad"] += 1
        if p["bad"] >= self.schedule.patience_epochs:
            p["factor"], p["bad"] = p["factor"] * self.schedule.factor, 0

    def state(self) -> Mapping[str, Any]:
        """What :meth:`load` takes; plain numbers."""
        p = self._plateau
        return {**p, "best": p["best"] if math.isfinite(p["best"]) else None, "losses": list(p["losses"])}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state` gave."""
        best = state.get("best")
        self._plateau |= {**state, "best": math.inf if best is None else best}
