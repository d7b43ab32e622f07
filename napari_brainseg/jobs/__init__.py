"""Inference in a process of its own: what can be asked (:class:`Runner`) and who does it (:class:`WorkerClient`).

The window never waits here. Everything happens in one thread of the client, which owns the worker process, the shared
memory and the queue of jobs; the caller gets its answers through ``deliver``, which the application points at the GUI
thread. Qt is not needed, so that all of this is tested without a window.
"""

from __future__ import annotations

from napari_brainseg.jobs.client import GRACE_S, WorkerClient
from napari_brainseg.jobs.contract import (
    Asker,
    Deliver,
    DoubtJob,
    DoubtMap,
    Listener,
    PropagateJob,
    ProposedLabels,
    Runner,
    ScoreJob,
    SegmentJob,
    StudyScore,
)

__all__ = [
    "GRACE_S",
    "Asker",
    "Deliver",
    "DoubtJob",
    "DoubtMap",
    "Listener",
    "PropagateJob",
    "ProposedLabels",
    "Runner",
    "ScoreJob",
    "SegmentJob",
    "StudyScore",
    "WorkerClient",
]
