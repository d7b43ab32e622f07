"""The far side of the connection: ``napari-brainseg device serve``, started by ssh, leaves as its input ends.

Parcels (:mod:`.parcels`) come in by stdin and go out by stdout, after one line of greeting. Of the asking side:
``{"do": "hello", "version", "wire"}`` first; ``{"do": "work", "command": COMMAND, "room": {NAME: {"shape", "dtype"}}}`` with the
arrays: a command of :mod:`brainseg_engine.worker`, whose arrays this side puts into shared memory; ``have`` and ``model``
(a model's file, in parts); ``machine``; ``cancel``; ``beat`` (every ten seconds). Every ``work`` is answered by
``{"event": EVENT}`` parcels, the last of which is a Finished with the filled arrays, or a Failed.

The worker is a child: a pass that answers no cancel is killed, and one that was asked nothing for ten minutes ends, so that
others can have the GPU's memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import BrainsegError, DeviceError
from brainseg_engine.core.events import Failed, Finished, Progress, from_json
from brainseg_engine.core.records import parse_json
from brainseg_engine.core.shared_arrays import SharedArray, sweep
from brainseg_engine.core.study_wire import FILLED
from brainseg_engine.remote import parcels
from brainseg_engine.remote.kept_models import KeptModels
from brainseg_engine.remote.line import HELLO, mine
from brainseg_engine.remote.parcels import Parcel

GRACE_S = 0.5
"""How long a cancelled job may take to stop by itself."""
IDLE_S = 600.0
SILENCE_S = 60.0
"""An asking side that says nothing for so long has gone, whatever the network says."""
WORKER = (sys.executable, "-P", "-X", "utf8", "-m", "brainseg_engine.worker")


class _WorkerHere:
    """One life of the worker; what it says is put into ``inbox`` as ("line", child, text), at last ("end", child, code)."""

    def __init__(self, command: Sequence[str], inbox: queue.Queue[tuple[Any, ...]]) -> None:
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._inbox = inbox
        threading.Thread(target=self._read, name="brainseg-worker", daemon=True).start()

    def say(self, fields: Mapping[str, Any]) -> None:
        """A child that has died is noticed by its end."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.write(json.dumps(fields).encode() + b"\n")
            self._popen.stdin.flush()

    def end(self) -> None:
        """Kill it, and wait until it has given its memory back."""
        self._popen.kill()
        self._popen.wait()
        with contextlib.suppress(OSError):
            if self._popen.stdin is not None:
                self._popen.stdin.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as out:
            for line in out:
                self._inbox.put(("line", self, line.decode("utf-8", "replace")))
        self._inbox.put(("end", self, self._popen.wait()))


class Serving:
    """One connection, from its greeting to its end."""

    def __init__(self, pipe_in: IO[bytes], pipe_out: IO[bytes], worker: Sequence[str] = WORKER) -> None:
        self._in, self._out, self._command = pipe_in, pipe_out, worker
        self._inbox: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self._heard_at = time.monotonic()
        self._child: _WorkerHere | None = None
        self._idle_since = time.monotonic()
        self._job = ""  # "" while nothing is done
        self._kill_at = 0.0
        self._given: list[SharedArray] = []
        self._room: dict[str, SharedArray] = {}
        self._models = KeptModels()

    def run(self) -> None:
        """Greet, and answer until the asking side has gone."""
        sweep()
        with contextlib.suppress(BrokenPipeError):
            self._out.write(HELLO + json.dumps(mine()).encode() + b"\n")
            self._out.flush()
            threading.Thread(target=self._read, name="brainseg-asked", daemon=True).start()
            while self._step():
                pass
        self._end_child()
        self._release()

    def _read(self) -> None:
        known: dict[str, NDArray[Any]] = {}
        try:
            while True:
                parcel = parcels.read(self._in, known, self._hear)
                if parcel.arrays:
                    known = {parcel.digests[name]: array for name, array in parcel.arrays.items()}
                self._inbox.put(("asked", parcel))
        except (EOFError, OSError, ValueError):
            self._inbox.put(("gone",))

    def _hear(self) -> None:
        self._heard_at = time.monotonic()

    def _step(self) -> bool:
        """One thing that has happened; False at the end."""
        try:
            what, *rest = self._inbox.get(timeout=GRACE_S)
        except queue.Empty:
            return self._look()
        if what == "gone":
            return False
        if what == "asked":
            return self._asked(rest[0])
        child, said = rest
        if child is self._child:
            self._on_line(said) if what == "line" else self._on_end(said)
        return self._look()

    def _look(self) -> bool:
        now = time.monotonic()
        if self._job and self._kill_at and now > self._kill_at:
            self._end_child()
            self._answer(Failed(self._job, "Cancelled; nothing was changed.", cancelled=True))
        if self._child is not None and not self._job and now - self._idle_since > IDLE_S:
            self._end_child()
        return now - self._heard_at < SILENCE_S

    def _asked(self, parcel: Parcel) -> bool:
        what = parcel.fields.get("do")
        if what == "hello":
            return {name: parcel.fields.get(name) for name in mine()} == mine()  # the asking side has said why
        if what == "have":
            self._send(self._models.has(parcel.fields))
        elif what == "model":
            reply = self._models.take(parcel)
            if reply is not None:
                self._send(reply)
        elif what == "machine":
            self._send(_machine())
        elif what == "cancel" and self._job and parcel.fields.get("job") == self._job:
            self._kill_at = time.monotonic() + GRACE_S
            if self._child is not None:
                self._child.say({"do": "cancel", "job": self._job})
        elif what == "work" and not self._job:
            self._work(parcel)
        return True

    def _work(self, parcel: Parcel) -> None:
        command = dict(parcel.fields["command"])
        self._job, self._kill_at = str(command.get("job", "")), 0.0
        try:
            if "model" in command:
                command["model"] = str(self._models.path(command["model"]))
            self._place(command, parcel)
            if self._child is None:
                self._child = _WorkerHere(self._command, self._inbox)
        except BrainsegError as e:
            self._answer(Failed(self._job, str(e)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            self._answer(Failed(self._job, f"The work could not be begun there ({type(e).__name__}: {e})."))
        else:
            self._child.say(command)

    def _place(self, command: dict[str, Any], parcel: Parcel) -> None:
        """Put the arrays where the worker finds them, and make room for what it fills."""
        for name, array in parcel.arrays.items():
            self._given.append(SharedArray.of(array))
            spec = self._given[-1].spec.to_dict()
            kind, _, rest = name.partition(":")
            if kind == "study":
                next(v for v in command["study"]["volumes"] if v["modality"] == rest)["array"] = spec
            else:
                command[name] = spec
        for name, wanted in parcel.fields.get("room", {}).items():
            if name not in FILLED:
                raise ValueError(f"nothing fills '{name}'")
            self._room[name] = SharedArray.create(tuple(int(n) for n in wanted["shape"]), np.dtype(wanted["dtype"]))
            command[name] = self._room[name].spec.to_dict()

    def _on_line(self, line: str) -> None:
        try:
            event = from_json(line)
        except ValueError:
            return
        if isinstance(event, Progress) and self._job and not self._kill_at:
            self._send({"event": parse_json(event.to_json())})
        elif isinstance(event, Finished | Failed) and event.job == self._job:
            self._answer(event)

    def _on_end(self, code: int) -> None:
        self._child = None
        if self._job:
            why = "most likely because memory ran out there" if code in (-9, 137) else f"with code {code}"
            self._answer(Failed(self._job, f"The segmentation process on the other machine ended, {why}. Try again."))

    def _answer(self, event: Finished | Failed) -> None:
        filled = {n: room.array for n, room in self._room.items()} if isinstance(event, Finished) else {}
        self._job, self._idle_since = "", time.monotonic()
        try:
            self._send({"event": parse_json(event.to_json())}, filled)
        finally:
            filled.clear()
            self._release()

    def _send(self, fields: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        parcels.write(self._out, fields, arrays)
        self._heard_at = time.monotonic()  # a slow line may have taken a while to take it

    def _release(self) -> None:
        held, self._given, self._room = [*self._given, *self._room.values()], [], {}
        for shared in held:
            shared.close()

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


def _machine() -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "brainseg_engine.remote.machine"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=120, stdin=subprocess.DEVNULL, check=True)
        found = parse_json(done.stdout.splitlines()[-1])
        return dict(found)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as e:
        return {"torch": None, "why": f"importing it ended the process ({type(e).__name__})", "gpus": []}


def main(worker: Sequence[str] = WORKER) -> None:
    """Serve the one who started it, through stdin and stdout."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no parcel
    if sys.platform == "win32":
        raise DeviceError("A machine with Windows cannot compute for others; Linux and macOS can.")
    try:
        Serving(sys.stdin.buffer, channel, worker).run()
    finally:
        with contextlib.suppress(OSError):
            channel.close()
    os._exit(0)  # a reader thread may still wait for what never comes
