"""The way back to the GUI thread, and a few threads for work that would hold the window up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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


class QtTimer(QTimer):
    """A :class:`~napari_brainseg.features.context.Timer` of the GUI thread.

    Where an error takes the window down Qt may have deleted it before: stopping such a one is no error.
    """

    def __init__(self, parent: QObject, seconds: float, call: Callable[[], object], again: bool = False) -> None:
        super().__init__(parent)
        self._milliseconds = round(1000 * seconds)
        self.setSingleShot(not again)
        self.timeout.connect(lambda: call())

    @property
    def active(self) -> bool:
        """True while a call is to come."""
        return bool(self.isActive())

    def start(self, seconds: float | None = None) -> None:
        """Wait anew: that long, else as long as it was made for."""
        super().start(self._milliseconds if seconds is None else round(1000 * seconds))

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
        self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None], /
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
        failed: Callable[[Exception], None],
    ) -> None:
        def run() -> None:
            try:
                result = work()
            except Exception as e:  # whatever it was: the caller says it in words
                error = e
                self._gui.deliver(lambda: failed(error))
            else:
                self._gui.deliver(lambda: done(result))

        if not self._closed:
            pool.submit(run)

    def close(self) -> None:
        """Begin nothing more; what runs comes to its end, and its answer is dropped."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._saver.shutdown(wait=False)
