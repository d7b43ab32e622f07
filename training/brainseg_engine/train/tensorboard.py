"""TensorBoard's log of a training, for those who ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from brainseg_engine.core import outputs
from brainseg_engine.core.errors import TrainingError
from brainseg_engine.core.events import EpochDone, Event
from brainseg_engine.train.options import Report, TrainOptions


@contextmanager
def with_tensorboard(report: Report, options: TrainOptions) -> Iterator[Report]:
    """``report``, which also writes into the run folder's ``tensorboard`` where the options ask for it. Raises TrainingError
    when TensorBoard is not installed."""
    if not options.tensorboard:
        yield report
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as e:
        raise TrainingError(
            "TensorBoard is not installed. Install it (pip install tensorboard), or leave --tensorboard out: metrics.csv and "
            "curves.png hold the same numbers."
        ) from e
    writer = SummaryWriter(str(outputs.subfolder(options.out, "tensorboard")))

    def both(event: Event) -> None:
        if isinstance(event, EpochDone):
            writer.add_scalar("loss", event.loss, event.step)
            writer.add_scalar("learning rate", event.learning_rate, event.step)
            for region, dice in event.dice.items():
                writer.add_scalar(f"validation Dice/{region}", dice, event.step)
            writer.flush()
        report(event)

    try:
        yield both
    finally:
        writer.close()
