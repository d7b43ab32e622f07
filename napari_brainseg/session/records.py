"""The frozen records that the session holds."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Affine
from brainseg_engine.core.labels import LabelArray, Region
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from brainseg_engine.corrections import BaseModel, Correction, Writers

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo
    from brainseg_engine.models.checkpoint import Card
    from brainseg_engine.prepare import Prepared
    from brainseg_engine.studies.checks import Finding

DEVICES: Mapping[str, str] = {"auto": "Automatic", "cpu": "CPU", "cuda": "GPU (CUDA)"}
"""Device → how the panel calls it. What is really there only the worker knows: torch is not loaded here."""

BY_HAND = "hand"
"""Who made a mask that was painted from nothing."""


class Kind(StrEnum):
    """How a message is meant."""

    INFO = "info"
    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Message:
    """One or two sentences for the message area; ``offer``: what a button beside them says, and what it does."""

    text: str
    kind: Kind = Kind.INFO
    offer: tuple[str, Callable[[], object]] | None = None


@dataclass(frozen=True, eq=False)
class Acquired:
    """What a study was prepared from: ``volumes``, its series, each on its own grid ({} where only their grids are known);
    ``titles``: modality → its series, in words; ``folder``: where these series lie, or the archive with them."""

    prepared: Prepared
    volumes: Mapping[Modality, Volume]
    titles: Mapping[Modality, str]
    folder: Path | None = None

    @property
    def reference(self) -> Volume | None:
        """The series whose own grid results go back to, with its header."""
        return self.volumes.get(self.prepared.reference)

    @property
    def others(self) -> tuple[Modality, ...]:
        """The series that were aligned to the reference."""
        return tuple(m for m in self.volumes if m is not self.prepared.reference)

    @property
    def place(self) -> Path | None:
        """The folder to suggest for what is made of these series."""
        return self.folder if self.folder is None or self.folder.is_dir() else self.folder.parent


@dataclass(frozen=True, eq=False)
class Placing:
    """How the open study's series are to be prepared anew: modality → where a point of the reference lies in that series (4×4,
    RAS mm). ``placed`` are taken as they are, ``starts`` are registered from there."""

    placed: Mapping[Modality, Affine]
    starts: Mapping[Modality, Affine]


@dataclass(frozen=True, eq=False)
class OpenStudy:
    """The study that is open, with what was found when it was read.

    ``files`` are the images that a modality can be assigned to; ``problems`` what its files lack, in words; ``findings``
    what the check before the inference says; ``truth`` the mask that came with it, to compare with;
    ``acquired``: of a study that was prepared here, what from; ``day``: of the examination, where its listing told it.
    """

    study: Study
    files: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    truth: Segmentation | None = None
    acquired: Acquired | None = None
    day: date | None = field(default=None, repr=False)
    token: str = field(init=False)

    @property
    def place(self) -> Path | None:
        """The folder to suggest for what is made of this study: where its images were opened."""
        return self.study.folder if self.acquired is None else self.acquired.place

    @property
    def aligned_from(self) -> Acquired | None:
        """What it was prepared from, where that changed something and the series are at hand."""
        acquired = self.acquired
        if acquired is None or acquired.prepared.untouched or acquired.reference is None:
            return None
        return acquired

    @property
    def images(self) -> Path | None:
        """Where the series that it was read from lie: a folder, or the archive with them."""
        return self.place if self.acquired is None else self.acquired.folder

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", token_of(self.study))


@dataclass(frozen=True, eq=False)
class Answer:
    """Labels of a study, and whose they are.

    ``segmentation``: the labels as they were opened, predicted or restored. ``model``: which model gave them, or began
    them (a name of "" for none); ``file``: where that model lies, if it gave them just now; ``notes``: what it reported
    (its name, version, device, seconds). ``edited``: the labels hold edits of a person already; ``base``: the labels that
    these edits began from, where they are known. ``saved``: checksum of the labels that a file holds, None for none.
    ``probabilities``: region → float16 (X, Y, Z) on the segmentation's grid, where they are at hand. ``writers``: who wrote the
    segmentation's labels, where that is known. ``scaling``: how the probabilities are calibrated before they are shown.
    """

    segmentation: Segmentation
    model: BaseModel
    file: Path | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    edited: bool = False
    base: Segmentation | None = None
    saved: int | None = None
    probabilities: Mapping[Region, NDArray[np.float16]] | None = None
    writers: Writers | None = None
    scaling: Mapping[Region, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, segmentation: Segmentation, *, saved: int | None = None, edited: bool = False) -> Answer:
        """Labels that tell themselves who made them."""
        return cls(segmentation, BaseModel(segmentation.made_by), edited=edited or segmentation.edited, saved=saved)

    @property
    def origin(self) -> Segmentation:
        """What is being corrected: the labels before any edit, as far as they are known."""
        return self.base if self.base is not None else self.segmentation

    def file_among(self, installed: Sequence[ModelInfo]) -> Path | None:
        """Where the model lies: in ``file`` if that is installed, else in the one whose card has its name and version. Of
        several the user's own counts, as everywhere. A file may be called otherwise than the model in it.
        """
        usable = [m for m in reversed(installed) if m.card is not None]
        if any(m.path == self.file for m in usable):
            return self.file
        return next((m.path for m in usable if m.card is not None and _is(m.card, self.model)), None)


@dataclass(frozen=True)
class Accepted:
    """A correction was accepted; ``folder``: of its study, where that has one."""

    correction: Correction
    folder: Path | None = None


@dataclass(frozen=True)
class JobState:
    """The job that runs, and of which study; ``fraction`` in 0…1, ``stage`` in words, ``seconds_left`` where known.

    ``where``: the section that shows how far it is.
    """

    id: str
    token: str
    study_id: str
    stage: str = "starting"
    fraction: float = 0.0
    seconds_left: float | None = None
    where: str = "segment"


@dataclass(frozen=True)
class ItemStats:
    """Of one region or class: None is "not measured", never 0. ``ml`` is None too where the voxel sizes are not known."""

    ml: float | None = None
    components: int | None = None
    dice: float | None = None
    voxels: int | None = None


@dataclass(frozen=True)
class Measures:
    """Item ("WT", "NCR", …) → numbers, of labels whose checksum is ``digest``."""

    items: Mapping[str, ItemStats]
    digest: int


def token_of(study: Study) -> str:
    """Names a study by its content: the same files with the same assignment give the same token, whenever they are read."""
    digest = hashlib.sha256(study.id.encode())
    for m in Modality:
        if m in study.volumes:
            v = study.volumes[m]
            digest.update(f"|{m}|{v.path}|{v.sha256 or id(v.data)}".encode())
    return digest.hexdigest()[:16]


def checksum(labels: LabelArray) -> int:
    """A number that tells whether labels are the same."""
    return zlib.crc32(np.ascontiguousarray(labels).data)


def _is(card: Card, model: BaseModel) -> bool:
    return card.name == model.name and model.version in ("", card.version)
