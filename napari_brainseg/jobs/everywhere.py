"""Requests run where their device is: in a worker here, or on a machine elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from brainseg_engine.core.device import REMOTE
from napari_brainseg.jobs.client import WorkerClient, here
from napari_brainseg.jobs.requests import Request
from napari_brainseg.jobs.runner import Deliver, Listener, Runner

GRACE_ELSEWHERE_S = 6.0
"""A cancel has to go over and its answer to come back; after that the connection is ended."""


def client_of(device: str, deliver: Deliver) -> WorkerClient:
    """The client of this machine's worker, or of the one that a device elsewhere has."""
    if not device.startswith(REMOTE):
        return WorkerClient(deliver)
    bridge = [sys.executable, "-P", "-X", "utf8", "-m", "brainseg_engine.remote.bridge", device]
    return WorkerClient(deliver, bridge, GRACE_ELSEWHERE_S)


class Everywhere:
    """A :class:`Runner` with a client for each machine, made when it is first asked for."""

    def __init__(self, deliver: Deliver = here, make: Callable[[str, Deliver], Runner] = client_of) -> None:
        self._deliver, self._make = deliver, make
        self._clients: dict[str, Runner] = {}

    def _of(self, device: str) -> Runner:
        where = device if device.startswith(REMOTE) else ""
        if where not in self._clients:
            self._clients[where] = self._make(where, self._deliver)
        return self._clients[where]

    def warm(self, model: Path, device: str, tta: bool) -> None:
        """See :class:`Runner`."""
        self._of(device).warm(model, device, tta)

    def submit(self, request: Request, listener: Listener) -> None:
        """See :class:`Runner`. What names no device is done here."""
        self._of(str(request.command().get("device", ""))).submit(request, listener)

    def cancel(self, request_id: str) -> None:
        """See :class:`Runner`."""
        for client in self._clients.values():
            client.cancel(request_id)

    def close(self) -> None:
        """See :class:`Runner`."""
        for client in self._clients.values():
            client.close()
