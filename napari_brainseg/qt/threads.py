"""The way back to the GUI thread, and a few threads for work that would hold the window up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from qtpy.QtCore import QObject, Qt, QTimer, Signal, Slot

T = TypeVar("T")


class GuiThread(QObject):
    """Runs functions in the thread it was made in. After ``close`` they are dropped: what they would touch has gone."""

    _asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._closed = False
        self._asked.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def deliver(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the GUI thread, some time soon. To be called from any thread."""
        if not self._closed:
            with contextlib.suppress(RuntimeError):  # the window was torn down in this very moment
                self._asked.emit(call)

    @Slot(object)
    def _run(self, call: Callable[[], None]) -> None:
        if not self._closed:
            call()

    def close(self) -> None:
        """Deliver nothing more."""
        self._closed = True


class Timer(QTimer):
    """Calls once, ``interval_ms`` after its start; or every so often with ``again``.

    A section that closes stops its timers first. Where an error takes the window down Qt may have deleted them before:
    stopping such a one is no error, so that the section goes on to let go of the viewer.
    """

    def __init__(self, parent: QObject, interval_ms: int, call: Callable[[], Any], again: bool = False) -> None:
        super().__init__(parent)
        self.setInterval(interval_ms)
        self.setSingleShot(not again)
        self.timeout.connect(call)

    def stop(self) -> None:
        """Call no more."""
        with contextlib.suppress(RuntimeError):  # Qt deleted it
            super().stop()


class Threads:
    """The ``Background`` of the window."""

    def __init__(self, gui: GuiThread) -> None:
        self._gui = gui
        self._pool = ThreadPoolExecutor(max_workers=3, thread_name_prefix="brainseg")
        self._saver = ThreadPoolExecutor(max_workers=1, thread_name_prefix="brainseg-saving")
        self._closed = False

    def __call__(
        self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None] | None = None, /
    ) -> None:
        """Run ``work`` in a thread, then ``done(result)`` or ``failed(error)`` in the GUI thread."""
        self._submit(self._pool, work, done, failed)

    def for_saving(
        self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None], /
    ) -> None:
        """Likewise, in a thread for nothing else: what is painted is not to wait until studies were read."""
        self._submit(self._saver, work, done, failed)

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None,
    ) -> None:
        def run() -> None:
            try:
                result = work()
            except Exception as e:  # whatever it was: the caller tells it in words
                if failed is None:
                    raise
                error = e
                self._gui.deliver(lambda: failed(error))
            else:
                self._gui.deliver(lambda: done(result))

        if not self._closed:
            pool.submit(run)

    def for_surfaces(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """The form that the surfaces want: without an answer for failures."""
        self(work, done, _raise)

    def close(self) -> None:
        """Begin nothing more; what runs is let run to its end, and its answer dropped."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._saver.shutdown(wait=False)


def _raise(error: Exception) -> None:
    raise error
