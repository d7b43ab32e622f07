"""What all parts of one fine-tuning share: its folders, whom it reports to, and whether it is to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.events import CancelCheck, Event, Progress
from brainseg_engine.finetune import plan

_STAGES = {"collecting": (0.0, 0.05), "anchors": (0.05, 0.09), "looks": (0.09, 0.1), "reading": (0.1, 0.15),
           "training": (0.15, 0.75), "choosing": (0.75, 0.9), "proving": (0.9, 1.0)}  # fmt: skip


@dataclass(frozen=True)
class UnderWay:
    """A fine-tuning into the folder ``out``. Its events go to ``report``, their fractions of the whole."""

    out: Path
    report: Callable[[Event], None]
    cancelled: CancelCheck

    @property
    def data(self) -> Path:
        """The corrections that are learnt from and held out, a folder each."""
        return self.out / "data"

    @property
    def split(self) -> Path:
        """The file that says which side each case is on."""
        return self.out / "split.csv"

    @property
    def training(self) -> Path:
        """The run folder of the training itself."""
        return self.out / "training"

    def stop(self) -> None:
        """Raise Cancelled where it is to stop, with what to do then."""
        if self.cancelled():
            known = plan.load(self.out) is not None
            advice = f"The same command with --resume goes on in {self.out}." if known else "Nothing was trained yet."
            raise Cancelled(f"Fine-tuning was stopped. {advice}")

    def progress(self, part: str) -> Callable[[Progress], None]:
        """A ``ProgressCallback`` for one part."""
        return lambda p: self.report(_of_the_whole(p, part))

    def of_training(self, event: Event) -> None:
        """Pass on an event of the training, whose own progress is part of the whole."""
        if isinstance(event, Progress):
            event = _of_the_whole(event, "training" if event.steps is not None else "reading")
        self.report(event)


def _of_the_whole(event: Progress, part: str) -> Progress:
    low, high = _STAGES[part]
    return replace(event, fraction=low + (high - low) * event.fraction)
