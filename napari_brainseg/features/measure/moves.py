"""What was moved by hand, a step each, to be taken back and moved again."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Moves(Generic[T]):
    """States before each movement, and those that were taken back."""

    def __init__(self) -> None:
        self._before: list[T] = []
        self._after: list[T] = []

    def moved(self, before: T) -> None:
        """Something was moved; ``before`` is how it lay."""
        self._before.append(before)
        self._after.clear()

    def undone(self, now: T) -> T | None:
        """How it lay before the last movement; None: there is none."""
        return self._step(self._before, self._after, now)

    def redone(self, now: T) -> T | None:
        """How it lay before the last undo; None: there is none."""
        return self._step(self._after, self._before, now)

    def forget(self) -> None:
        """From here on only what comes can be taken back."""
        self._before.clear()
        self._after.clear()

    @staticmethod
    def _step(steps: list[T], back: list[T], now: T) -> T | None:
        if not steps:
            return None
        back.append(now)
        return steps.pop()
