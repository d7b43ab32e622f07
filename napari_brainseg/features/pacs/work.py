"""What the PACS is asked for, one thing at a time: in the background, with its words and how far it is, until it is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from psygnal import Signal

from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.events import Progress
from napari_brainseg.features.context import Context
from napari_brainseg.session import Kind

T = TypeVar("T")
_TICK_S = 0.15
"""How often the window shows what has arrived."""


@dataclass
class PacsTask:
    """What a thread of the background is at: it writes the stage and the fraction, and reads whether it is to stop."""

    stage: str
    fraction: float | None = None
    stop: bool = False

    def follow(self, event: Progress) -> None:
        """A ``ProgressCallback``."""
        counted = f" ({event.step} of {event.steps})" if event.steps else ""
        self.stage, self.fraction = event.stage + counted, event.fraction

    def cancelled(self) -> bool:
        """A ``CancelCheck``."""
        return self.stop


class OneAtATime:
    """Does one thing after the other with the PACS. ``words`` say how the last one went; ``wrong``: it went wrong."""

    changed = Signal()
    """There is something else to show: of the work, or of what came of it."""
    ended = Signal()
    """The work has ended, well or not; ``changed`` follows."""

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self.words, self.wrong = "", False
        self._task: PacsTask | None = None
        self._arrived: Callable[[], object] | None = None
        self._tick = context.later(_TICK_S, self._look, True)

    @property
    def busy(self) -> tuple[str, float | None] | None:
        """What is done just now, and how much of it; None for nothing."""
        return (self._task.stage, self._task.fraction) if self._task is not None else None

    def do(
        self,
        stage: str,
        work: Callable[[PacsTask], T],
        done: Callable[[T], object],
        *,
        arrived: Callable[[], object] | None = None,
        in_panel: bool = False,
    ) -> None:
        """Do ``work`` in the background, then ``done``. ``arrived`` takes over, now and then, what has come so far.
        ``in_panel``: what goes wrong is said in the panel, too."""
        if self._task is not None:
            self.say("Wait until what is being done has ended, or cancel it.", wrong=True)
            return
        task = self._task = PacsTask(stage)
        self._arrived = arrived
        self.words, self.wrong = "", False
        self._tick.start()
        self.changed.emit()

        def finish(result: T) -> None:
            self._end()
            done(result)

        def fail(error: Exception) -> None:
            self._end()
            stopped = isinstance(error, Cancelled)
            sentence = self._context.sentence(error)
            if in_panel:
                self.say_in_panel(sentence, Kind.INFO if stopped else Kind.ERROR)
            else:
                self.say(sentence, wrong=not stopped)

        self._context.run(lambda: work(task), finish, fail)

    def cancel(self) -> None:
        """Stop what is done just now, soon."""
        if self._task is not None:
            self._task.stop = True

    def say(self, words: str, *, wrong: bool = False) -> None:
        """Show those words in the dialogs; ``wrong``: as an error."""
        self.words, self.wrong = words, wrong
        self.changed.emit()

    def say_in_panel(self, words: str, kind: Kind) -> None:
        """Words for the dialogs and for the message area of the panel."""
        self._session.say(words, kind)
        self.say(words, wrong=kind is Kind.ERROR)

    def _look(self) -> None:
        if self._arrived is not None:
            self._arrived()
        self.changed.emit()

    def _end(self) -> None:
        self._tick.stop()
        if self._arrived is not None:
            self._arrived()
        self._task = self._arrived = None
        self.ended.emit()
        self.changed.emit()
