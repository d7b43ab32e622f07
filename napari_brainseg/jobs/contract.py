"""What can be asked of whoever runs the jobs, and what is told in return."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Modality, Prediction, Study

if TYPE_CHECKING:
    from numpy import bool_, float16
    from numpy.typing import NDArray

Deliver = Callable[[Callable[[], None]], None]
"""Runs a function where the caller lives (the GUI thread)."""


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


@dataclass(frozen=True, eq=False)
class DoubtJob:
    """Where does the model doubt its answer to this study? ``tta``: averaged over the mirror images."""

    study: Study
    token: str
    model: Path
    device: str = "auto"
    tta: bool = True
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, eq=False)
class ScoreJob:
    """How much does the model doubt the study that lies in these files? ``folder`` is theirs."""

    folder: Path
    files: Mapping[Modality, Path]
    model: Path
    device: str = "auto"
    tta: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, eq=False)
class PropagateJob:
    """Carry the corrections of a few slices over to the rest: see :mod:`brainseg_engine.propagate`.

    ``answer`` (the model's own), ``labels`` (as they are now) and ``voxels`` (right, beside the slices): (X, Y, Z) on the
    grid of the study's reference series; ``slices``: file axis → indices of slices that are right.
    """

    study: Study
    token: str
    model: Path
    answer: LabelArray
    labels: LabelArray
    voxels: NDArray[bool_]
    slices: Mapping[int, Sequence[int]]
    device: str = "auto"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


Job = SegmentJob | DoubtJob | ScoreJob | PropagateJob


@dataclass(frozen=True, eq=False)
class DoubtMap:
    """The answer to a :class:`DoubtJob`: bits per voxel (X, Y, Z) on the grid of the study's reference series."""

    map: NDArray[float16]
    score: Mapping[str, float]


@dataclass(frozen=True)
class StudyScore:
    """The answer to a :class:`ScoreJob`: the study's key (its images' hashes), and the numbers of its score."""

    key: str
    score: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class ProposedLabels:
    """The answer to a :class:`PropagateJob`: labels (X, Y, Z), and what else the worker told of them."""

    labels: LabelArray
    told: Mapping[str, Any]


class Asker(Protocol):
    """Who asked for anything; ``finished`` gets what belongs to the job. Called as a :class:`Listener` is."""

    def progress(self, job: Any, event: Progress) -> None:
        """The job moved on."""

    def finished(self, job: Any, outcome: Any) -> None:
        """The job is done."""

    def failed(self, job: Any, event: Failed) -> None:
        """The job failed, or was cancelled (``event.cancelled``)."""


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

    def doubt(self, job: DoubtJob, listener: Asker) -> None:
        """Queue a job that ends in a :class:`DoubtMap`."""

    def score(self, job: ScoreJob, listener: Asker) -> None:
        """Queue a job that ends in a :class:`StudyScore`."""

    def propagate(self, job: PropagateJob, listener: Asker) -> None:
        """Queue a job that ends in :class:`ProposedLabels`."""

    def cancel(self, job_id: str) -> None:
        """End that job now: the listener hears ``failed`` with ``cancelled`` at once."""

    def close(self) -> None:
        """Stop everything and give all memory back."""
