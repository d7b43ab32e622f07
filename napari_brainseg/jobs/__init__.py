"""Inference in a process of its own: what can be asked (:mod:`.requests`) and who does it (:class:`WorkerClient`).

The window never waits here. Everything happens in one thread of the client, which owns the worker process, the shared
memory and the queue of requests; the caller gets its answers through ``deliver``, which the application points at the GUI
thread. Qt is not needed, so that all of this is tested without a window.
"""

from __future__ import annotations

from napari_brainseg.jobs.aside import Aside, Children, here
from napari_brainseg.jobs.client import GRACE_S, WorkerClient
from napari_brainseg.jobs.everywhere import Everywhere
from napari_brainseg.jobs.requests import (
    DoubtMap,
    DoubtRequest,
    PrepareRequest,
    PropagateRequest,
    ProposedLabels,
    Request,
    ScoreRequest,
    SegmentRequest,
    StudyRequest,
    StudyScore,
)
from napari_brainseg.jobs.runner import Deliver, Listener, Runner

__all__ = [
    "GRACE_S",
    "Aside",
    "Children",
    "Deliver",
    "DoubtMap",
    "DoubtRequest",
    "Everywhere",
    "Listener",
    "PrepareRequest",
    "PropagateRequest",
    "ProposedLabels",
    "Request",
    "Runner",
    "ScoreRequest",
    "SegmentRequest",
    "StudyRequest",
    "StudyScore",
    "WorkerClient",
    "here",
]
