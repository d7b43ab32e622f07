"""What can be asked of whoever runs the jobs, and what is told in return."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from brainseg_engine.events import Failed, Progress
from brainseg_engine.study import Prediction, Study

Deliver = Callable[[Callable[[], None]], None]
"""Runs a function where the caller lives (the GUI thread)."""


@dataclass(frozen=True, eq=False)
class SegmentJob:
    """One study to segment. ``token`` names the open study it was made from; the result carries it back."""

    study: Study
    token: str
    model: Path
    device: str = "auto"
    tta: bool = False
    probabilities: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class Listener(Protocol):
    """Who asked. Called through ``deliver``; exactly one of ``finished`` and ``failed`` ends a job."""

    def progress(self, job: SegmentJob, event: Progress) -> None:
        """The job moved on."""

    def finished(self, job: SegmentJob, prediction: Prediction) -> None:
        """The job is done."""

    def failed(self, job: SegmentJob, event: Failed) -> None:
        """The job failed, or was cancelled (``event.cancelled``)."""


class Runner(Protocol):
    """What can be asked of whoever runs the jobs. No call blocks."""

    def warm(self, model: Path, device: str, tta: bool) -> None:
        """Load that model in advance; errors are kept for the job that meets them."""

    def segment(self, job: SegmentJob, listener: Listener) -> None:
        """Queue a job."""

    def cancel(self, job_id: str) -> None:
        """End that job now: the listener hears ``failed`` with ``cancelled`` at once."""

    def close(self) -> None:
        """Stop everything and give all memory back."""
