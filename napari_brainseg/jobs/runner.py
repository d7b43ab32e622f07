"""Whoever runs the requests, and whoever made them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from brainseg_engine.core.events import Failed, Progress
from napari_brainseg.jobs.requests import Request

Deliver = Callable[[Callable[[], None]], None]
"""Runs a function where the caller lives (the GUI thread)."""


class Listener(Protocol):
    """Who asked. Called through ``deliver``; exactly one of ``finished`` and ``failed`` ends a request."""

    def progress(self, event: Progress) -> None:
        """The job moved on."""

    def finished(self, outcome: Any) -> None:
        """It is done; ``outcome`` is what the request makes of the worker's answer."""

    def failed(self, event: Failed) -> None:
        """It failed, or was cancelled (``event.cancelled``)."""


class Runner(Protocol):
    """Whoever runs the requests. No call blocks."""

    def warm(self, model: Path, device: str, tta: bool) -> None:
        """Load that model in advance; errors are kept for the request that meets them."""

    def submit(self, request: Request, listener: Listener) -> None:
        """Queue a request."""

    def cancel(self, request_id: str) -> None:
        """End that request now: the listener hears ``failed`` with ``cancelled`` at once."""

    def close(self) -> None:
        """Stop everything and give all memory back."""
