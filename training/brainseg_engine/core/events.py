"""Progress records: one language for a training process, a worker, the window, a terminal and a log.

Each record has a JSON-lines form: ``to_json`` gives one line, ``from_json`` reads it back. Unknown records and unknown
fields of a newer writer are refused with ValueError, so that a reader never guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from brainseg_engine.core.records import count_of, dumps, number_of, parse_json, text_of


@dataclass(frozen=True)
class Event:
    """Base of all records."""

    kind: ClassVar[str] = "event"

    def to_json(self) -> str:
        """One line of JSON, without the line's end."""
        return dumps({"event": self.kind, **asdict(self)})


@dataclass(frozen=True)
class Progress(Event):
    """``fraction`` of the whole job in 0…1; ``stage`` in words ("reading", "segmenting", …).

    Where the stage goes by steps, ``step`` of ``steps`` is done; ``seconds_left`` of the stage, where that is known.
    """

    kind: ClassVar[str] = "progress"
    stage: str
    fraction: float
    step: int | None = None
    steps: int | None = None
    seconds_left: float | None = None

    def to_json(self) -> str:
        """One line of JSON; what is not known is left out, as versions before these numbers wrote it."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return dumps({"event": self.kind, **known})


@dataclass(frozen=True)
class EpochDone(Event):
    """One epoch (or validation interval) of training: step, mean loss, learning rate, and Dice per region if validated."""

    kind: ClassVar[str] = "epoch"
    epoch: int
    step: int
    loss: float
    learning_rate: float
    dice: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Finished(Event):
    """The job is done; ``result`` is a JSON object whose keys the job's kind defines."""

    kind: ClassVar[str] = "finished"
    job: str
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed(Event):
    """The job failed. ``message`` is a sentence for the user, ``detail`` a traceback for the log."""

    kind: ClassVar[str] = "failed"
    job: str
    message: str
    detail: str = ""
    cancelled: bool = False


_KINDS: Mapping[str, type[Event]] = {k.kind: k for k in (Progress, EpochDone, Finished, Failed)}

ProgressCallback = Callable[[Progress], None]
CancelCheck = Callable[[], bool]


def from_json(line: str) -> Event:
    """The record in that line. Raises ValueError when it is none of ours."""
    try:
        fields = parse_json(line)
        return _checked(_KINDS[fields.pop("event")](**fields))
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"not an event: {line[:120]!r}") from e


def _checked(event: Event) -> Event:
    """The record, whose fields somebody else may have written. Raises ValueError, AttributeError."""
    if isinstance(event, Progress):
        text_of(event.stage)
        number_of(event.fraction)
        for count in (event.step, event.steps):
            if count is not None:
                count_of(count)
        if event.seconds_left is not None:
            number_of(event.seconds_left)
    elif isinstance(event, EpochDone):
        count_of(event.epoch)
        count_of(event.step)
        for value in (event.loss, event.learning_rate, event.seconds, *event.dice.values()):
            number_of(value)
    elif isinstance(event, Finished):
        text_of(event.job)
        event.result.keys()
    elif isinstance(event, Failed):
        for text in (event.job, event.message, event.detail):
            text_of(text, 10**6)
    return event


def silent(_: Progress) -> None:
    """A progress callback that does nothing."""


def never() -> bool:
    """A cancel check that never cancels."""
    return False
