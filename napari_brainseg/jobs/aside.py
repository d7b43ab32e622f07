"""Work that would keep this process's interpreter busy, done in a child process and waited for in a thread.

A thread alone is not enough for thousands of headers: Python code in it holds the interpreter, and where the machine is
busy it may be away with it for a second while the window waits. A child is asked over its pipes, goes on being of use for
some seconds, and is ended at once by a cancel. What it is asked and answers is pickled: it never leaves this user's memory.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from brainseg_engine.core.errors import BrainsegError, Cancelled
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent

T = TypeVar("T")
IDLE_S = 20.0
"""A child that is asked nothing for so long ends by itself."""
_LOOK_S = 0.05
_CHILD = "from napari_brainseg.jobs.aside import main; raise SystemExit(main())"


class Aside(Protocol):
    """Calls ``work(*args, progress, cancelled)`` and returns what it returns, or raises what it raises; Cancelled."""

    def __call__(
        self,
        work: Callable[..., T],
        /,
        *args: object,
        progress: ProgressCallback = silent,
        cancelled: CancelCheck = never,
    ) -> T:
        """``work`` is a function of a module; it and ``args`` can be pickled."""


def here(
    work: Callable[..., T], /, *args: object, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> T:
    """An :class:`Aside` of this process."""
    return work(*args, progress, cancelled)


class Children:
    """An :class:`Aside` of child processes: as many as are asked at once, one of which is kept for the next call."""

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self._command = [sys.executable, "-P", "-X", "utf8", "-c", _CHILD, str(idle_s)]
        self._lock = threading.Lock()
        self._idle: _Child | None = None
        self._busy: set[_Child] = set()
        self._closed = False

    def __call__(
        self,
        work: Callable[..., T],
        /,
        *args: object,
        progress: ProgressCallback = silent,
        cancelled: CancelCheck = never,
    ) -> T:
        """See :class:`Aside`. Raises BrainsegError where the child ended before it had answered."""
        asked = pickle.dumps((work, args))
        child, answer = self._ask(asked)
        try:
            found: T = _follow(child, answer, progress, cancelled)
        except _Ended:
            self._end(child)
            raise BrainsegError(
                "The process that reads the files ended before it was done, perhaps because memory ran out. Try again."
            ) from None
        except Cancelled:
            self._end(child)
            raise
        except Exception:
            self._keep(child)
            raise
        self._keep(child)
        return found

    def close(self) -> None:
        """End all of them now; who waits for one gets Cancelled."""
        with self._lock:
            self._closed = True
            left, self._idle = [*self._busy, *([self._idle] if self._idle else [])], None
        for child in left:
            child.end()

    def _ask(self, asked: bytes) -> tuple[_Child, Any]:
        """The child that was asked, and its first answer; the one that was kept may have ended meanwhile."""
        kept = self._take()
        if kept is not None:
            with contextlib.suppress(OSError):
                kept.send(asked)
            answer = kept.answers.get()  # every call is confirmed at once
            if answer[0] != "ended":
                return kept, answer
            self._end(kept)
        child = _Child(self._command)
        with self._lock:
            if self._closed:
                child.end()
                raise Cancelled
            self._busy.add(child)
        with contextlib.suppress(OSError):  # its end is noticed where its answers are read
            child.send(asked)
        return child, child.answers.get()

    def _take(self) -> _Child | None:
        with self._lock:
            child, self._idle = self._idle, None
            if child is not None:
                self._busy.add(child)
        return child

    def _keep(self, child: _Child) -> None:
        with self._lock:
            self._busy.discard(child)
            if self._idle is None and not self._closed:
                self._idle = child
                return
        child.end()

    def _end(self, child: _Child) -> None:
        with self._lock:
            self._busy.discard(child)
        child.end()


class _Ended(Exception):
    """The child's pipe has ended."""


class _Child:
    """One child process; its answers come out of ``answers``, at last _Ended."""

    def __init__(self, command: Sequence[str]) -> None:
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=flags,
        )
        self.answers: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._read, name="brainseg-aside", daemon=True).start()

    def send(self, asked: bytes) -> None:
        """Hand it one pickled call. Raises OSError where the process has ended."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(asked)
        self._popen.stdin.flush()

    def end(self) -> None:
        """Kill it; nothing that it does has to be finished."""
        self._popen.kill()
        with contextlib.suppress(OSError):
            if self._popen.stdin is not None:
                self._popen.stdin.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as out:
            try:
                while True:
                    self.answers.put(pickle.load(out))
            except Exception:  # the end of the pipe, in the middle of an answer perhaps
                self.answers.put(("ended", None))
        self._popen.wait()


def _follow(child: _Child, answer: Any, progress: ProgressCallback, cancelled: CancelCheck) -> Any:
    """Wait for the answer that counts. Raises what the work raised, Cancelled, _Ended."""
    while True:
        what, value = answer
        if what == "done":
            return value
        if what == "failed":
            raise value
        if what == "ended":
            raise _Ended
        if isinstance(value, Progress):
            progress(value)
        while True:
            if cancelled():
                raise Cancelled
            with contextlib.suppress(queue.Empty):
                answer = child.answers.get(timeout=_LOOK_S)
                break


# --- in the child


def main() -> int:
    """Answer what comes in by standard input until that ends, or nothing comes for some seconds."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    idle_s = float(sys.argv[1]) if len(sys.argv) > 1 else IDLE_S

    def say(what: str, value: object) -> None:
        out.write(pickle.dumps((what, value)))
        out.flush()

    while True:
        asleep = threading.Timer(idle_s, os._exit, [0])
        asleep.daemon = True
        asleep.start()
        try:
            work, args = pickle.load(sys.stdin.buffer)
        except EOFError:
            return 0
        finally:
            asleep.cancel()
        say("begun", None)
        try:
            answer: tuple[str, object] = "done", work(*args, lambda event: say("progress", event), never)
        except Exception as e:
            answer = "failed", _sendable(e)
        say(*answer)  # fails, and so ends this process, where whoever asked has gone


def _sendable(error: Exception) -> Exception:
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:
        again = None
    return error if type(again) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")
