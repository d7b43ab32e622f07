"""A machine elsewhere that runs the worker's commands, over a connection that is made again where it breaks."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import Cancelled, CheckpointError, DeviceError
from brainseg_engine.core.events import (
    CancelCheck,
    Event,
    Failed,
    Finished,
    Progress,
    ProgressCallback,
    from_json,
    never,
)
from brainseg_engine.core.records import dumps
from brainseg_engine.core.study_wire import FILLED
from brainseg_engine.remote.line import LineBroken, SshLine
from brainseg_engine.remote.parcels import Parcel
from brainseg_engine.remote.place import Place

_log = logging.getLogger(__name__)
PATIENCE = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Seconds before each new attempt where the line broke in the middle of a job."""
_CHUNK = 2**24
_STOPS_S = 5.0
_LOOK_S = 0.1


@dataclass(frozen=True, eq=False)
class Asked:
    """A command for the worker there: its JSON fields, what goes along, and shape and type of what comes back."""

    fields: Mapping[str, Any]
    given: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    room: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answered:
    """What the worker there said, and what it filled."""

    event: Finished | Failed
    filled: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Host:
    """Runs one command after the other; :meth:`close` ends the connection, and what runs there with it."""

    def __init__(self, place: Place, patience: Sequence[float] = PATIENCE) -> None:
        self.place = place
        self._patience = patience
        self._line: SshLine | None = None
        self._hashes: dict[tuple[Path, int, int], str] = {}

    def run(self, asked: Asked, progress: ProgressCallback, cancelled: CancelCheck = never) -> Answered:
        """Have it done there. A line that breaks is made again, and the command is given once more.

        Raises DeviceError where the machine cannot be had, Cancelled.
        """
        was_there = self._line is not None
        for seconds in (*self._patience, None):
            try:
                line = self._connected(progress, cancelled)
                was_there = True
                return self._once(line, asked, progress, cancelled)
            except LineBroken as e:
                self.close()
                if not was_there:
                    raise DeviceError(str(e)) from e
                if seconds is None:
                    raise DeviceError(
                        f"{e} It did not come back. Nothing is lost here: try again when {self.place.host} is there, or choose "
                        "another device."
                    ) from e
                _log.warning("%s", e)
                progress(Progress(f"the line to {self.place.host} broke; again in {seconds:.0f} s", 0.0))
                _wait(seconds, cancelled)
            except Cancelled:
                self.close()
                raise
        raise AssertionError

    def close(self) -> None:
        """End the connection."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def machine(self) -> Mapping[str, Any]:
        """What is there to compute with, as :func:`brainseg_engine.remote.machine.machine` tells it. Raises DeviceError."""
        try:
            line = self._connected(lambda _: None, never)
            line.send({"do": "machine"})
            return line.answer().fields
        except LineBroken as e:
            raise DeviceError(str(e)) from e

    def _connected(self, progress: ProgressCallback, cancelled: CancelCheck) -> SshLine:
        if self._line is None:
            progress(Progress(f"connecting to {self.place.host}", 0.0))
            self._line = SshLine(self.place, cancelled=cancelled)
        return self._line

    def _once(self, line: SshLine, asked: Asked, progress: ProgressCallback, cancelled: CancelCheck) -> Answered:
        fields = dict(asked.fields)
        if "model" in fields:
            fields["model"] = self._model(line, Path(fields["model"]), progress, cancelled)
        host = self.place.host

        def sent(part: float) -> None:
            progress(Progress(f"sending to {host} ({part:.0%})", 0.0))

        room = {name: {"shape": list(shape), "dtype": dtype.str} for name, (shape, dtype) in asked.room.items()}
        line.send({"do": "work", "command": fields, "room": room}, asked.given, sent, cancelled)
        return self._followed(line, asked, progress, cancelled)

    def _followed(self, line: SshLine, asked: Asked, progress: ProgressCallback, cancelled: CancelCheck) -> Answered:
        stops_at = 0.0
        while True:
            parcel = line.hear(_LOOK_S)
            if parcel is None:
                if cancelled() and not stops_at:
                    stops_at = time.monotonic() + _STOPS_S
                    line.send({"do": "cancel", "job": asked.fields.get("job", "")})
                elif stops_at and time.monotonic() > stops_at:
                    self.close()
                    raise Cancelled
                continue
            event = _event(line, parcel)
            if isinstance(event, Progress):
                progress(event)
            elif isinstance(event, Finished | Failed):
                if isinstance(event, Finished):
                    _require_fits(line, parcel, asked)
                return Answered(event, parcel.arrays)

    def _model(
        self, line: SshLine, path: Path, progress: ProgressCallback, cancelled: CancelCheck
    ) -> Mapping[str, Any]:
        """Have that model's file there; how it is named there. Raises CheckpointError where it cannot be read."""
        try:
            status = path.stat()
            key = (path, status.st_mtime_ns, status.st_size)
            content = plain.read(path)
        except OSError as e:
            raise CheckpointError(f"The model {path} cannot be read: {e.strerror or e}. Choose another.") from e
        name = self._hashes.setdefault(key, hashlib.sha256(content).hexdigest())
        fields = {"sha256": name, "size": len(content)}
        line.send({"do": "have", **fields})
        if line.answer(cancelled).fields.get("have") is True:
            return fields
        for at in range(0, len(content), _CHUNK):
            progress(Progress(f"sending the model to {self.place.host}", 0.0))
            part = np.frombuffer(content[at : at + _CHUNK], np.uint8)
            line.send({"do": "model", **fields, "at": at}, {"part": part}, cancelled=cancelled)
        reply = line.answer(cancelled).fields
        if reply.get("have") is not True:
            raise DeviceError(f"{self.place.host} cannot keep the model: {str(reply.get('why', ''))[:300]}")
        return fields


def _event(line: SshLine, parcel: Parcel) -> Event:
    try:
        return from_json(dumps(parcel.fields["event"]))
    except (KeyError, ValueError) as e:
        line.close()
        raise LineBroken(f"{line.place.host} said what nobody understands") from e


def _require_fits(line: SshLine, parcel: Parcel, asked: Asked) -> None:
    for name, (shape, dtype) in asked.room.items():
        array = parcel.arrays.get(name)
        if name not in FILLED or array is None or array.shape != tuple(shape) or array.dtype != dtype:
            line.close()
            raise DeviceError(f"{line.place.host} gave an answer that does not fit the study. Nothing was changed.")


def _wait(seconds: float, cancelled: CancelCheck) -> None:
    until, pause = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < until:
        if cancelled():
            raise Cancelled
        pause.wait(_LOOK_S)
