"""The client of the worker process: one thread that owns the process, the shared memory and the queue of jobs."""

from __future__ import annotations

import logging
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.events import Event, Failed, Finished, Progress, from_json
from brainseg_engine.core.shared_arrays import sweep
from napari_brainseg.jobs.process import Task, WorkerProcess
from napari_brainseg.jobs.requests import Request, warming
from napari_brainseg.jobs.runner import Deliver, Listener

_log = logging.getLogger(__name__)

GRACE_S = 0.5
"""How long a cancelled job may take to stop by itself before its process is killed."""


def here(call: Callable[[], None]) -> None:
    """Deliver in the client's own thread (for tests and scripts)."""
    call()


class WorkerClient:
    """A :class:`Runner` that keeps one worker process, started at first use and again whenever it has died."""

    def __init__(self, deliver: Deliver = here, command: Sequence[str] = (), grace_s: float = GRACE_S) -> None:
        self._deliver = deliver
        self._command = list(command) or [sys.executable, "-P", "-X", "utf8", "-m", "brainseg_engine.worker"]
        self._grace_s = grace_s
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._closing = False
        # From here on: touched by the client's thread only.
        self._process: WorkerProcess | None = None
        self._waiting: deque[Task] = deque()
        self._active: Task | None = None

    @property
    def pid(self) -> int | None:
        """The worker's process id while it runs."""
        process = self._process
        return process.popen.pid if process else None

    def warm(self, model: Path, device: str = "auto", tta: bool = False) -> None:
        """See :class:`Runner`."""
        self._ask(partial(self._enqueue, Task(warming(model, device, tta))))

    def submit(self, request: Request, listener: Listener) -> None:
        """See :class:`Runner`."""
        self._ask(partial(self._enqueue, Task({**request.command(), "job": request.id}, request, listener)))

    def cancel(self, request_id: str) -> None:
        """See :class:`Runner`."""
        self._ask(partial(self._cancel, request_id))

    def close(self, timeout_s: float = 3.0) -> None:
        """See :class:`Runner`. Waits until the process has gone (milliseconds)."""
        if self._thread is None or self._closing:
            return
        self._closing = True
        self._inbox.put(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    # ---- the client's thread -------------------------------------------------------------------------------------

    def _ask(self, what: Callable[[], None]) -> None:
        if self._closing:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="brainseg-jobs", daemon=True)
            self._thread.start()
        self._inbox.put(what)

    def _run(self) -> None:
        sweep()
        while True:
            what = self._inbox.get()
            if what == self._stop:
                what()
                return
            try:
                what()
            except Exception:  # a bug here must not leave every later job waiting
                _log.exception("in the job client")

    def _enqueue(self, task: Task) -> None:
        if task.is_warm and (self._active is not None or self._waiting):
            return  # whatever runs or waits loads its own model
        self._waiting.append(task)
        self._next()

    def _next(self) -> None:
        while self._active is None and self._waiting:
            self._active = task = self._waiting.popleft()
            try:
                if self._process is None:
                    self._process = WorkerProcess(self._command, self._inbox.put, self._on_line, self._on_end)
                task.share()
                self._process.send(task.fields)
            except (OSError, BrainsegError) as e:
                message = str(e) if isinstance(e, BrainsegError) else f"The segmentation process did not start: {e}."
                self._end(task, Failed(task.id, message))

    def _cancel(self, job_id: str) -> None:
        gone = Failed(job_id, "Cancelled; nothing was changed.", cancelled=True)
        for task in [t for t in self._waiting if t.id == job_id]:
            self._waiting.remove(task)
            self._report(task, gone)
        task_ = self._active
        if task_ is not None and task_.id == job_id and not task_.cancelled:
            self._report(task_, gone)
            task_.cancelled = True
            if self._process is not None:
                self._process.send({"do": "cancel", "job": job_id})
            timer = threading.Timer(self._grace_s, self._inbox.put, [partial(self._kill_if_deaf, task_)])
            timer.daemon = True
            timer.start()

    def _kill_if_deaf(self, task: Task) -> None:
        """A pass in mid-flight answers no flag: end its process. The next job starts a new one."""
        if self._active is task and self._process is not None:
            process, self._process = self._process, None
            process.kill()
            self._end(task, None)

    def _on_line(self, process: WorkerProcess, line: str) -> None:
        task = self._active
        if process is not self._process or task is None:
            return
        try:
            event = from_json(line)
        except ValueError:
            _log.warning("the worker said %r", line[:200])
            return
        if isinstance(event, Progress):
            if task.listener is not None and not task.cancelled:
                self._deliver(partial(task.listener.progress, event))
        elif isinstance(event, Finished | Failed) and event.job == task.id:
            self._end(task, event)

    def _on_end(self, process: WorkerProcess, code: int) -> None:
        if process is not self._process:
            return
        self._process = None
        if self._active is not None:
            self._end(self._active, Failed(self._active.id, _why_it_stopped(code), process.tail()))

    def _end(self, task: Task, event: Event | None) -> None:
        """The task is over: deliver its outcome, give its memory back, go on with the next."""
        self._active = None
        try:
            if event is not None and not task.cancelled:
                if isinstance(event, Failed) and event.detail:
                    _log.warning("%s\n%s", event.message, event.detail)
                self._report(task, event)
        finally:
            task.release()
            self._next()

    def _report(self, task: Task, event: Event) -> None:
        if task.listener is None or task.cancelled:
            return
        if isinstance(event, Failed):
            self._deliver(partial(task.listener.failed, event))
        elif isinstance(event, Finished):
            self._deliver(partial(task.listener.finished, task.outcome(event)))

    def _stop(self) -> None:
        for task in self._waiting:
            task.release()
        self._waiting.clear()
        process, self._process = self._process, None
        if process is not None:
            process.quit()
        if self._active is not None:
            self._active.release()
            self._active = None


def _why_it_stopped(code: int) -> str:
    if code == -getattr(signal, "SIGKILL", 9) or code == 137:
        why = "the system ended it, most likely because memory ran out. Close other programs, then try again."
    else:
        why = f"it ended with code {code}. Try again; the log has the details."
    return f"The segmentation process stopped: {why} Your study and its labels are unchanged."
