"""How long somebody has been working: the time between signs of life, pauses left out."""

from __future__ import annotations

import time
from collections.abc import Callable

IDLE_S = 30.0
"""A longer silence than this is a pause: of it nothing counts."""


class Activity:
    """Adds up active time. ``clock`` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = 0.0
        self._last: float | None = None

    @property
    def minutes(self) -> float:
        """Minutes of active editing so far."""
        return self._seconds / 60

    def sign(self) -> None:
        """Somebody did something."""
        now = self._clock()
        if self._last is not None and now - self._last <= IDLE_S:
            self._seconds += now - self._last
        self._last = now

    def add(self, minutes: float) -> None:
        """Time that was spent before."""
        self._seconds += 60 * minutes
