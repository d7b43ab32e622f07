"""Inference in a process of its own: what can be asked (:class:`Runner`) and who does it (:class:`WorkerClient`).

The window never waits here. Everything happens in one thread of the client, which owns the worker process, the shared
memory and the queue of jobs; the caller gets its answers through ``deliver``, which the application points at the GUI
thread. Qt is not needed, so that all of this is tested without a window.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import signal
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from brainseg_engine import worker
from brainseg_engine.errors import BrainsegError
from brainseg_engine.events import Event, Failed, Finished, Progress, from_json
from brainseg_engine.labels import Region
from brainseg_engine.sharing import SharedArray, sweep
from brainseg_engine.study import Prediction, Segmentation, Study

_log = logging.getLogger(__name__)

Deliver = Callable[[Callable[[], None]], None]
"""Runs a function where the caller lives (the GUI thread)."""

GRACE_S = 0.5
"""How long a cancelled job may take to stop by itself before its process is killed."""


@dataclass(frozen=True, eq=False)
class SegmentJob:
    """One study to segment. ``token`` names the open study it was made from; the result carries it back."""

    study: Study
    token: str
    model: Path
    device: str = "auto"
    tta: bool = False
    probabilities: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class Listener(Protocol):
    """Who asked. Called through ``deliver``; exactly one of ``finished`` and ``failed`` ends a job."""

    def progress(self, job: SegmentJob, event: Progress) -> None:
        """The job moved on."""

    def finished(self, job: SegmentJob, prediction: Prediction) -> None:
        """The job is done."""

    def failed(self, job: SegmentJob, event: Failed) -> None:
        """The job failed, or was cancelled (``event.cancelled``)."""


class Runner(Protocol):
    """What can be asked of whoever runs the jobs. No call blocks."""

    def warm(self, model: Path, device: str, tta: bool) -> None:
        """Load that model in advance; errors are kept for the job that meets them."""

    def segment(self, job: SegmentJob, listener: Listener) -> None:
        """Queue a job."""

    def cancel(self, job_id: str) -> None:
        """End that job now: the listener hears ``failed`` with ``cancelled`` at once."""

    def close(self) -> None:
        """Stop everything and give all memory back."""


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
        self._process: _Process | None = None
        self._waiting: deque[_Task] = deque()
        self._active: _Task | None = None

    @property
    def pid(self) -> int | None:
        """The worker's process id while it runs."""
        process = self._process
        return process.popen.pid if process else None

    def warm(self, model: Path, device: str = "auto", tta: bool = False) -> None:
        """See :class:`Runner`."""
        self._ask(partial(self._enqueue, _Task({"do": "warm", **_model_fields(model, device, tta)})))

    def segment(self, job: SegmentJob, listener: Listener) -> None:
        """See :class:`Runner`."""
        fields = _model_fields(job.model, job.device, job.tta) | {"do": "predict", "job": job.id}
        self._ask(partial(self._enqueue, _Task(fields, job, listener)))

    def cancel(self, job_id: str) -> None:
        """See :class:`Runner`."""
        self._ask(partial(self._cancel, job_id))

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

    def _enqueue(self, task: _Task) -> None:
        if task.is_warm and (self._active is not None or self._waiting):
            return  # whatever runs or waits loads its own model
        self._waiting.append(task)
        self._next()

    def _next(self) -> None:
        while self._active is None and self._waiting:
            self._active = task = self._waiting.popleft()
            try:
                if self._process is None:
                    self._process = _Process(self._command, self._inbox.put, self._heard, self._ended)
                task.share()
                self._process.send(task.fields)
            except (OSError, BrainsegError) as e:
                message = str(e) if isinstance(e, BrainsegError) else f"The segmentation process did not start: {e}."
                self._end(task, Failed(task.id, message))

    def _cancel(self, job_id: str) -> None:
        gone = Failed(job_id, "Cancelled; nothing was changed.", cancelled=True)
        for task in [t for t in self._waiting if t.id == job_id]:
            self._waiting.remove(task)
            self._tell(task, gone)
        task_ = self._active
        if task_ is not None and task_.id == job_id and not task_.cancelled:
            self._tell(task_, gone)
            task_.cancelled = True
            if self._process is not None:
                self._process.send({"do": "cancel", "job": job_id})
            timer = threading.Timer(self._grace_s, self._inbox.put, [partial(self._lose_patience, task_)])
            timer.daemon = True
            timer.start()

    def _lose_patience(self, task: _Task) -> None:
        """A pass in mid-flight answers no flag: end its process. The next job starts a new one."""
        if self._active is task and self._process is not None:
            process, self._process = self._process, None
            process.kill()
            self._end(task, None)

    def _heard(self, process: _Process, line: str) -> None:
        task = self._active
        if process is not self._process or task is None:
            return
        try:
            event = from_json(line)
        except ValueError:
            _log.warning("the worker said %r", line[:200])
            return
        if isinstance(event, Progress):
            if task.listener is not None and task.job is not None and not task.cancelled:
                self._deliver(partial(task.listener.progress, task.job, event))
        elif isinstance(event, Finished | Failed) and event.job == task.id:
            self._end(task, event)

    def _ended(self, process: _Process, code: int) -> None:
        if process is not self._process:
            return
        self._process = None
        if self._active is not None:
            self._end(self._active, Failed(self._active.id, _obituary(code), process.tail()))

    def _end(self, task: _Task, event: Event | None) -> None:
        """The task is over: deliver its outcome, give its memory back, go on with the next."""
        self._active = None
        try:
            if event is not None and not task.cancelled:
                if isinstance(event, Failed) and event.detail:
                    _log.warning("%s\n%s", event.message, event.detail)
                self._tell(task, event)
        finally:
            task.release()
            self._next()

    def _tell(self, task: _Task, event: Event) -> None:
        if task.job is None or task.listener is None or task.cancelled:
            return
        if isinstance(event, Failed):
            self._deliver(partial(task.listener.failed, task.job, event))
        elif isinstance(event, Finished):
            self._deliver(partial(task.listener.finished, task.job, task.prediction(event)))

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


class _Task:
    """A command on its way: its JSON fields, who asked, and the shared arrays it holds."""

    def __init__(self, fields: dict[str, Any], job: SegmentJob | None = None, listener: Listener | None = None) -> None:
        self.fields = {"job": uuid.uuid4().hex, **fields}
        self.job = job
        self.listener = listener
        self.cancelled = False
        self._images: list[SharedArray] = []
        self._labels: SharedArray | None = None
        self._probabilities: SharedArray | None = None

    @property
    def id(self) -> str:
        return str(self.fields["job"])

    @property
    def is_warm(self) -> bool:
        return self.job is None

    def share(self) -> None:
        """Copy the study into shared memory and make room for the answer. Raises OutputError without room."""
        if self.job is None:
            return
        study, arrays = self.job.study, {}
        try:
            for modality, volume in study.volumes.items():
                self._images.append(SharedArray.of(_plain(volume.data)))
                arrays[modality] = self._images[-1].spec
            shape = study.reference.grid.shape
            self._labels = SharedArray.create(shape, np.uint8)
            if self.job.probabilities:
                self._probabilities = SharedArray.create((len(Region), *shape), np.float16)
        except BrainsegError:
            self.release()
            raise
        self.fields |= {"study": worker.study_to_wire(study, arrays), "labels": self._labels.spec.to_dict()}
        if self._probabilities is not None:
            self.fields["probabilities"] = self._probabilities.spec.to_dict()

    def prediction(self, event: Finished) -> Prediction:
        """The answer, copied out of shared memory."""
        if self.job is None or self._labels is None:
            raise RuntimeError("a task without a study has no prediction")
        r = event.result
        regions = tuple(Region(x) for x in r["regions"])
        grid = self.job.study.reference.grid
        probabilities = None
        if self._probabilities is not None:
            stacked = self._probabilities.array.copy()
            probabilities = {region: stacked[i] for i, region in enumerate(Region) if region in regions}
        return Prediction(
            study_id=str(r["study_id"]),
            segmentation=Segmentation(self._labels.array.copy(), grid, r["coding"], r["made_by"], regions),
            model=str(r["model"]),
            model_version=str(r["model_version"]),
            device=str(r["device"]),
            seconds=dict(r["seconds"]),
            probabilities=probabilities,
        )

    def release(self) -> None:
        """Give the shared memory back. Safe to call twice."""
        held = [*self._images, *(x for x in (self._labels, self._probabilities) if x is not None)]
        self._images, self._labels, self._probabilities = [], None, None
        for shared in held:
            shared.close()


class _Process:
    """One life of the worker process. Lines and the end arrive as calls put into ``post``."""

    def __init__(
        self,
        command: Sequence[str],
        post: Callable[[Callable[[], None]], None],
        heard: Callable[[_Process, str], None],
        ended: Callable[[_Process, int], None],
    ) -> None:
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=flags,
        )
        self._last_words: deque[str] = deque(maxlen=200)
        self._post, self._heard, self._ended = post, heard, ended
        self._errors = threading.Thread(target=self._drain, name="brainseg-worker-log", daemon=True)
        self._errors.start()
        threading.Thread(target=self._read, name="brainseg-worker-events", daemon=True).start()

    def send(self, fields: dict[str, Any]) -> None:
        """One command. A process that died meanwhile is noticed by its end, not here."""
        if self.popen.stdin is not None:
            with contextlib.suppress(OSError):
                self.popen.stdin.write(json.dumps(fields).encode() + b"\n")
                self.popen.stdin.flush()

    def kill(self) -> None:
        """End it now, whatever it does."""
        self.popen.kill()

    def quit(self) -> None:
        """Ask it to leave, which it does at once; make sure of it."""
        if self.popen.stdin is not None:
            with contextlib.suppress(OSError):
                self.popen.stdin.close()
        try:
            self.popen.wait(1.0)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(1.0)

    def tail(self) -> str:
        """The last of what it wrote to stderr, for the log."""
        self._errors.join(0.5)
        return "".join(self._last_words)

    def _read(self) -> None:
        if self.popen.stdout is None:
            return
        with self.popen.stdout as out:
            for line in out:
                self._post(partial(self._heard, self, line.decode("utf-8", "replace")))
        code = self.popen.wait()
        self._post(partial(self._ended, self, code))

    def _drain(self) -> None:
        if self.popen.stderr is None:
            return
        with self.popen.stderr as err:
            for line in err:
                self._last_words.append(line.decode("utf-8", "replace"))


def _model_fields(model: Path, device: str, tta: bool) -> dict[str, Any]:
    return {"model": str(model), "device": device, "tta": tta}


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """In the machine's byte order (a file's may differ, and torch takes no other)."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _obituary(code: int) -> str:
    if code == -getattr(signal, "SIGKILL", 9) or code == 137:
        why = "the system ended it, most likely because memory ran out. Close other programs, then try again."
    else:
        why = f"it ended with code {code}. Try again; the log has the details."
    return f"The segmentation process stopped: {why} Your study and its labels are unchanged."
