"""Ctrl-C and SIGTERM (what a batch system or a container sends): once to stop cleanly, twice to stop at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


class Stop:
    """A cancel check: True from the first signal on; the second one raises KeyboardInterrupt where the program stands.

    ``notice`` is said at the first one. Used as a context; outside a main thread it hears nothing.
    """

    def __init__(self, notice: str) -> None:
        self._notice = notice
        self._asked = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals, and give them back at the end."""
        with _handled(self._hear):
            yield

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        os.write(2, f"\n{self._notice}\n".encode())  # a signal may come in the midst of a print


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM as Ctrl-C: what is half-written is removed."""
    with _handled(_interrupt):
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handled(handler: signal._HANDLER) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, handler) for s in _SIGNALS}
    try:
        yield
    finally:
        for s, old in before.items():
            signal.signal(s, old)
