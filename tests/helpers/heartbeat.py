"""How long the GUI thread was away, and why: drawing, napari's own layer insertion, waiting for a core, or us."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication

PERIOD_S = 0.01
LIMIT_S = 0.1

Interval = tuple[float, float]


class Clock:
    """Time in which the thread it was made in had a core, or wanted none: on a busy machine a thread that is ready to run
    waits its turn, which is nobody's fault in here. Linux counts that wait; elsewhere this is plain time.
    """

    def __init__(self) -> None:
        self._counter = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def waited(self) -> float:
        """Seconds this thread has waited for a core so far."""
        try:
            return int(self._counter.read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def now(self) -> float:
        return time.monotonic() - self.waited()


class Heartbeat(QObject):
    """Counts from ``start`` to ``stop``. Drawing lasts from a window's update request to the next event that is no paint."""

    _PAINTING = (
        QEvent.Type.Paint,
        QEvent.Type.UpdateLater,
        QEvent.Type.LayoutRequest,
        QEvent.Type.Resize,
        QEvent.Type.Move,
    )

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.beats: list[float] = []
        self.draws: list[Interval] = []
        self.insertions: list[Interval] = []
        self._drawing: float | None = None
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(lambda: self.beats.append(self.clock.now()))

    def start(self) -> None:
        QApplication.instance().installEventFilter(self)
        self.began, self.waited = time.monotonic(), self.clock.waited()
        self.beats.append(self.clock.now())
        self._timer.start(round(PERIOD_S * 1000))

    def stop(self) -> None:
        self._timer.stop()
        self.beats.append(self.clock.now())
        self.seconds, self.waited = time.monotonic() - self.began, self.clock.waited() - self.waited
        QApplication.instance().removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind == QEvent.Type.UpdateRequest:
            if self._drawing is None:
                self._drawing = self.clock.now()
        elif self._drawing is not None and kind not in self._PAINTING:
            self.draws.append((self._drawing, self.clock.now()))
            self._drawing = None
        return False

    @contextmanager
    def inserting(self) -> Iterator[None]:
        """Around napari's own work on a new layer."""
        began = self.clock.now()
        try:
            yield
        finally:
            self.insertions.append((began, self.clock.now()))

    @property
    def gaps(self) -> list[Interval]:
        return [(a, b) for a, b in zip(self.beats, self.beats[1:], strict=False) if b - a > LIMIT_S]

    @property
    def ours(self) -> list[tuple[float, float]]:
        """(when, how long) the window was away for none of the reasons that are not ours."""
        left = [(a - self.beats[0], (b - a) - covered((a, b), [*self.draws, *self.insertions])) for a, b in self.gaps]
        return [(round(when, 2), round(long, 3)) for when, long in left if long > LIMIT_S]

    def report(self) -> str:
        def longest(intervals: Iterable[Interval]) -> str:
            lengths = sorted((b - a for a, b in intervals), reverse=True)
            return f"{len(lengths)}, longest {lengths[0] * 1000:.0f} ms" if lengths else "none"

        return (
            f"{len(self.beats)} beats in {self.seconds:.1f} s (of which {self.waited:.1f} s waiting for a core); gaps over "
            f"{LIMIT_S * 1000:.0f} ms: {longest(self.gaps)}; draws: {longest(self.draws)}; napari's layer insertions: "
            f"{longest(self.insertions)}; left for the plugin: {self.ours or 'none'}"
        )


def covered(gap: Interval, others: Iterable[Interval]) -> float:
    """How much of the gap the union of the other intervals covers."""
    total, reached = 0.0, gap[0]
    for a, b in sorted(others):
        a, b = max(a, reached), min(b, gap[1])
        if b > a:
            total += b - a
            reached = b
    return total
