"""How long the GUI thread was away, and why: drawing, napari's own layer insertion, the machine, or us."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import contextmanager

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication

PERIOD_S = 0.01
LIMIT_S = 0.1

Interval = tuple[float, float]

# A process that does nothing but keep time: where it was late as well, the machine was, and not the window.
_METRONOME = f"""
import sys, time
last = time.monotonic()
while True:
    time.sleep({PERIOD_S})
    now = time.monotonic()
    if now - last > 3 * {PERIOD_S}:
        print(last + {PERIOD_S}, now, flush=True)
    last = now
"""


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
        self.beats: list[float] = []
        self.draws: list[Interval] = []
        self.insertions: list[Interval] = []
        self._drawing: float | None = None
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(lambda: self.beats.append(time.monotonic()))
        self._machine: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._machine = subprocess.Popen([sys.executable, "-c", _METRONOME], stdout=subprocess.PIPE, text=True)
        QApplication.instance().installEventFilter(self)
        self.beats.append(time.monotonic())
        self._timer.start(round(PERIOD_S * 1000))

    def stop(self) -> None:
        self._timer.stop()
        self.beats.append(time.monotonic())
        QApplication.instance().removeEventFilter(self)
        self._machine.kill()
        out, _ = self._machine.communicate()
        self.machine = [tuple(float(x) for x in line.split()) for line in out.splitlines() if len(line.split()) == 2]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind == QEvent.Type.UpdateRequest:
            if self._drawing is None:
                self._drawing = time.monotonic()
        elif self._drawing is not None and kind not in self._PAINTING:
            self.draws.append((self._drawing, time.monotonic()))
            self._drawing = None
        return False

    @contextmanager
    def inserting(self):
        """Around napari's own work on a new layer."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.insertions.append((began, time.monotonic()))

    @property
    def gaps(self) -> list[Interval]:
        return [(a, b) for a, b in zip(self.beats, self.beats[1:], strict=False) if b - a > LIMIT_S]

    @property
    def ours(self) -> list[tuple[float, float]]:
        """(when, how long) the window was away for none of the reasons that are not ours."""
        others = [*self.draws, *self.insertions, *self.machine]
        left = [(a - self.beats[0], (b - a) - covered((a, b), others)) for a, b in self.gaps]
        return [(round(when, 2), round(long, 3)) for when, long in left if long > LIMIT_S]

    def report(self) -> str:
        def longest(intervals: Iterable[Interval]) -> str:
            lengths = sorted((b - a for a, b in intervals), reverse=True)
            return f"{len(lengths)}, longest {lengths[0] * 1000:.0f} ms" if lengths else "none"

        seconds = self.beats[-1] - self.beats[0]
        return (
            f"{len(self.beats)} beats in {seconds:.1f} s; gaps over {LIMIT_S * 1000:.0f} ms: {longest(self.gaps)}; draws: "
            f"{longest(self.draws)}; napari's layer insertions: {longest(self.insertions)}; the machine itself late: "
            f"{longest(self.machine)}; left for the plugin: {self.ours or 'none'}"
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
