"""What can be asked of the worker: each request knows its command, the arrays that go along, and how to read the answer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainseg_engine.core.geometry import Affine
from brainseg_engine.core.labels import LabelArray, Region
from brainseg_engine.core.study import Modality, Prediction, Study
from brainseg_engine.core.study_wire import prediction_from_wire

if TYPE_CHECKING:
    from numpy import bool_, float16

Room = Mapping[str, tuple[tuple[int, ...], DTypeLike]]
"""Name of an array that the worker fills → its shape and type."""
Arrays = Mapping[str, NDArray[Any]]


class Request(Protocol):
    """One thing to ask. ``id`` names it on the wire; ``study`` goes along in shared memory, where there is one."""

    @property
    def id(self) -> str:
        """Its name, unlike any other's."""

    @property
    def study(self) -> Study | None:
        """The study that it is about."""

    def command(self) -> dict[str, Any]:
        """The command as JSON fields, without arrays; see :mod:`brainseg_engine.worker`."""

    def arrays(self) -> Arrays:
        """What else goes along: name in the command → array."""

    def room(self) -> Room:
        """What the worker fills: name in the command → shape and type."""

    def outcome(self, result: Mapping[str, Any], filled: Arrays) -> Any:
        """The answer: the worker's ``result`` and what it filled (copies)."""


class StudyRequest(Request, Protocol):
    """A request about a study that is open. ``token`` names it, so that the answer never lands on another one."""

    @property
    def study(self) -> Study:
        """The study that it is about."""

    @property
    def token(self) -> str:
        """Of the open study that it was made from."""


def _id() -> str:
    return uuid.uuid4().hex


def _of_model(what: str, model: Path, device: str, tta: bool) -> dict[str, Any]:
    return {"do": what, "model": str(model), "device": device, "tta": tta}


def warming(model: Path, device: str, tta: bool) -> dict[str, Any]:
    """The command that loads a model in advance."""
    return {**_of_model("warm", model, device, tta), "job": _id()}


@dataclass(frozen=True, eq=False)
class SegmentRequest:
    """Segment a study: ends in a :class:`Prediction`."""

    study: Study
    token: str
    model: Path
    device: str = "auto"
    tta: bool = False
    probabilities: bool = False
    id: str = field(default_factory=_id)

    def command(self) -> dict[str, Any]:
        """See :class:`Request`."""
        return _of_model("predict", self.model, self.device, self.tta)

    def arrays(self) -> Arrays:
        """See :class:`Request`."""
        return {}

    def room(self) -> Room:
        """See :class:`Request`."""
        shape = self.study.reference.grid.shape
        labels: Room = {"labels": (shape, np.uint8)}
        return {**labels, "probabilities": ((len(Region), *shape), np.float16)} if self.probabilities else labels

    def outcome(self, result: Mapping[str, Any], filled: Arrays) -> Prediction:
        """See :class:`Request`."""
        grid = self.study.reference.grid
        return prediction_from_wire(result, grid, filled["labels"], filled.get("probabilities"))


@dataclass(frozen=True, eq=False)
class DoubtMap:
    """Bits per voxel (X, Y, Z) on the grid of the study's reference series, and the numbers of its score."""

    map: NDArray[float16]
    score: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class DoubtRequest:
    """Where does the model doubt its answer? ``tta``: averaged over the mirror images. Ends in a :class:`DoubtMap`."""

    study: Study
    token: str
    model: Path
    device: str = "auto"
    tta: bool = True
    id: str = field(default_factory=_id)

    def command(self) -> dict[str, Any]:
        """See :class:`Request`."""
        return _of_model("doubt", self.model, self.device, self.tta)

    def arrays(self) -> Arrays:
        """See :class:`Request`."""
        return {}

    def room(self) -> Room:
        """See :class:`Request`."""
        return {"map": (self.study.reference.grid.shape, np.float16)}

    def outcome(self, result: Mapping[str, Any], filled: Arrays) -> DoubtMap:
        """See :class:`Request`."""
        return DoubtMap(filled["map"], dict(result["score"]))


@dataclass(frozen=True)
class StudyScore:
    """The study's key (its images' hashes), and the numbers of its score."""

    key: str
    score: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class ScoreRequest:
    """How much does the model doubt the study that lies in these files? ``folder`` is theirs. Ends in a :class:`StudyScore`."""

    folder: Path
    files: Mapping[Modality, Path]
    model: Path
    device: str = "auto"
    tta: bool = False
    id: str = field(default_factory=_id)
    study: None = None

    def command(self) -> dict[str, Any]:
        """See :class:`Request`."""
        files = {m.value: str(p) for m, p in self.files.items()}
        return {**_of_model("score", self.model, self.device, self.tta), "files": files}

    def arrays(self) -> Arrays:
        """See :class:`Request`."""
        return {}

    def room(self) -> Room:
        """See :class:`Request`."""
        return {}

    def outcome(self, result: Mapping[str, Any], filled: Arrays) -> StudyScore:
        """See :class:`Request`."""
        return StudyScore(str(result["key"]), dict(result["score"]))


@dataclass(frozen=True, eq=False)
class PrepareRequest:
    """Align the series of a raw study and find the brain by ``brain`` (a method of :mod:`brainseg_engine.prepare.brain_mask`,
    or a mask's file). ``placed``: modality → the motion (4×4, RAS mm of the reference → of the series) that replaces its
    registration; ``starts``: the motion that its registration begins at.

    Ends in the folder of the prepared study (see :mod:`brainseg_engine.prepare.files`), which lies in ``folder``.
    """

    study: Study
    token: str
    folder: Path
    brain: str | Path = "deepbet"
    placed: Mapping[Modality, Affine] = field(default_factory=dict)
    starts: Mapping[Modality, Affine] = field(default_factory=dict)
    id: str = field(default_factory=_id)

    def command(self) -> dict[str, Any]:
        """See :class:`Request`."""
        motions = {
            name: {m.value: np.asarray(matrix).tolist() for m, matrix in given.items()}
            for name, given in (("placed", self.placed), ("starts", self.starts))
        }
        return {"do": "prepare", "brain": str(self.brain), "folder": str(self.folder), **motions}

    def arrays(self) -> Arrays:
        """See :class:`Request`."""
        return {}

    def room(self) -> Room:
        """See :class:`Request`."""
        return {}

    def outcome(self, result: Mapping[str, Any], filled: Arrays) -> Path:
        """See :class:`Request`."""
        return Path(result["folder"])


@dataclass(frozen=True, eq=False)
class ProposedLabels:
    """Labels (X, Y, Z) on the grid of the study's reference series, and what else the worker reported."""

    labels: LabelArray
    report: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class PropagateRequest:
    """Carry the corrections of a few slices over to the rest: see :mod:`brainseg_engine.propagate`.

    ``answer`` (the model's own), ``labels`` (as they are now) and ``voxels`` (right, beside the slices): (X, Y, Z) on the
    grid of the study's reference series; ``slices``: file axis → indices of slices that are right. Ends in
    :class:`ProposedLabels`.
    """

    study: Study
    token: str
    model: Path
    answer: LabelArray
    labels: LabelArray
    voxels: NDArray[bool_]
    slices: Mapping[int, Sequence[int]]
    device: str = "auto"
    id: str = field(default_factory=_id)

    def command(self) -> dict[str, Any]:
        """See :class:`Request`."""
        slices = {str(axis): [int(i) for i in indices] for axis, indices in self.slices.items()}
        return {**_of_model("propagate", self.model, self.device, False), "slices": slices}

    def arrays(self) -> Arrays:
        """See :class:`Request`."""
        return {"answer": self.answer, "corrected": self.labels, "voxels": self.voxels.view(np.uint8)}

    def room(self) -> Room:
        """See :class:`Request`."""
        return {"labels": (self.study.reference.grid.shape, np.uint8)}

    def outcome(self, result: Mapping[str, Any], filled: Arrays) -> ProposedLabels:
        """See :class:`Request`."""
        return ProposedLabels(filled["labels"], dict(result))
