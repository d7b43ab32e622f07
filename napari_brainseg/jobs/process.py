"""One life of the worker process, and one task on its way to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.events import Finished
from brainseg_engine.core.shared_arrays import ArraySpec, SharedArray
from brainseg_engine.core.study_wire import study_to_wire
from napari_brainseg.jobs.requests import Request
from napari_brainseg.jobs.runner import Listener


class Task:
    """A command on its way: its JSON fields, who asked, and the shared arrays it holds."""

    def __init__(
        self, fields: dict[str, Any], request: Request | None = None, listener: Listener | None = None
    ) -> None:
        self.fields = fields
        self.request = request
        self.listener = listener
        self.cancelled = False
        self._given: list[SharedArray] = []
        self._room: dict[str, SharedArray] = {}

    @property
    def id(self) -> str:
        """The request's id on the wire."""
        return str(self.fields["job"])

    @property
    def is_warm(self) -> bool:
        """True when nobody asked for a result: the model is loaded in advance."""
        return self.request is None

    def share(self) -> None:
        """Copy what goes along into shared memory and make room for the answer. Raises OutputError without room."""
        request = self.request
        if request is None:
            return
        try:
            if request.study is not None:
                images = {m: self._give(_native(v.data)) for m, v in request.study.volumes.items()}
                self.fields["study"] = study_to_wire(request.study, images)
            for name, array in request.arrays().items():
                self.fields[name] = self._give(array).to_dict()
            for name, (shape, dtype) in request.room().items():
                self._room[name] = SharedArray.create(shape, dtype)
                self.fields[name] = self._room[name].spec.to_dict()
        except BrainsegError:
            self.release()
            raise

    def _give(self, array: np.ndarray[Any, Any]) -> ArraySpec:
        self._given.append(SharedArray.of(array))
        return self._given[-1].spec

    def outcome(self, event: Finished) -> Any:
        """What the request makes of the answer, copied out of shared memory."""
        filled = {name: shared.array.copy() for name, shared in self._room.items()}
        return self.request.outcome(event.result, filled) if self.request is not None else None

    def release(self) -> None:
        """Give the shared memory back. Safe to call twice."""
        held = [*self._given, *self._room.values()]
        self._given, self._room = [], {}
        for shared in held:
            shared.close()


class WorkerProcess:
    """One life of the worker process. Lines and the end arrive as calls put into ``post``."""

    def __init__(
        self,
        command: Sequence[str],
        post: Callable[[Callable[[], None]], None],
        on_line: Callable[[WorkerProcess, str], None],
        on_end: Callable[[WorkerProcess, int], None],
    ) -> None:
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=flags,
        )
        self._errors_tail: deque[str] = deque(maxlen=200)
        self._post, self._on_line, self._on_end = post, on_line, on_end
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
            with contextlib.suppress(subprocess.TimeoutExpired):  # a busy system takes its time to take gigabytes back
                self.popen.wait(10.0)

    def tail(self) -> str:
        """The last of what it wrote to stderr, for the log."""
        self._errors.join(0.5)
        return "".join(self._errors_tail)

    def _read(self) -> None:
        if self.popen.stdout is None:
            return
        with self.popen.stdout as out:
            for line in out:
                self._post(partial(self._on_line, self, line.decode("utf-8", "replace")))
        code = self.popen.wait()
        if self.popen.stdin is not None:
            with contextlib.suppress(OSError):  # it may hold what the process never read
                self.popen.stdin.close()
        self._post(partial(self._on_end, self, code))

    def _drain(self) -> None:
        if self.popen.stderr is None:
            return
        with self.popen.stderr as err:
            for line in err:
                self._errors_tail.append(line.decode("utf-8", "replace"))


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """In the machine's byte order (a file's may differ, and torch takes no other)."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
