"""What is open and what is going on: the evented state that the panel shows. Knows neither napari nor Qt.

Every change goes through a method or a property and is announced by a signal without arguments; listeners read what
they need. Nothing here does work.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from brainseg_engine.core.study import Modality, Segmentation, Study

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo
    from brainseg_engine.studies.checks import Finding

DEVICES: Mapping[str, str] = {"auto": "Automatic", "cpu": "CPU", "cuda": "GPU (CUDA)"}
"""Device → how the panel calls it. What is really there only the worker knows: torch is not loaded here."""

_KEPT = 20


class Kind(StrEnum):
    """How a message is meant."""

    INFO = "info"
    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Message:
    """One or two sentences for the message area."""

    text: str
    kind: Kind = Kind.INFO


@dataclass(frozen=True, eq=False)
class OpenStudy:
    """The study that is open, with what was found out about it when it was read.

    ``files`` are the images that a modality can be assigned to; ``problems`` what its files lack, in words; ``findings``
    what the check before the inference says; ``truth`` the mask that came with it, to compare with.
    """

    study: Study
    files: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    truth: Segmentation | None = None
    token: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", token_of(self.study))


@dataclass(frozen=True)
class JobState:
    """The job that runs, and of which study; ``fraction`` in 0…1, ``stage`` in words."""

    id: str
    token: str
    study_id: str
    stage: str = "starting"
    fraction: float = 0.0


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


@dataclass(frozen=True, eq=False)
class Kept:
    """A segmentation of a study that is not open: to be shown when it is opened again. ``saved``: see Session.open.

    ``notes``: what the model told about it; ``model``: that model's file.
    """

    segmentation: Segmentation
    saved: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    model: Path | None = None


def token_of(study: Study) -> str:
    """Names a study by its content: the same files with the same assignment give the same token, whenever they are read."""
    digest = hashlib.sha256(study.id.encode())
    for m in Modality:
        if m in study.volumes:
            v = study.volumes[m]
            digest.update(f"|{m}|{v.path}|{v.sha256 or id(v.data)}".encode())
    return digest.hexdigest()[:16]


class Session:
    """The state. One study is open at a time; what was made for others is kept."""

    study_changed = Signal()
    segmentation_changed = Signal()
    measures_changed = Signal()
    models_changed = Signal()
    job_changed = Signal()
    reading_changed = Signal()
    dirty_changed = Signal()
    message_changed = Signal()
    edited = Signal(object)
    """A brainseg_engine.edits.Edit of the open study's labels was made, undone or redone: the labels hold it already."""

    __slots__ = (
        "__weakref__",
        "_device",
        "_dirty",
        "_job",
        "_kept",
        "_measures",
        "_message",
        "_model",
        "_models",
        "_reading",
        "_saved",
        "_segmentation",
        "_signal_instances",
        "_study",
    )

    def __init__(self) -> None:
        self._study: OpenStudy | None = None
        self._segmentation: Segmentation | None = None
        self._measures: Measures | None = None
        self._models: tuple[ModelInfo, ...] = ()
        self._model: str = ""
        self._device = "auto"
        self._job: JobState | None = None
        self._reading = ""
        self._dirty = False
        self._saved: int | None = None
        self._message: Message | None = None
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    # --- the study

    @property
    def study(self) -> OpenStudy | None:
        """The study that is open."""
        return self._study

    @property
    def segmentation(self) -> Segmentation | None:
        """The segmentation as it was last delivered or opened; edits since then are in its layer."""
        return self._segmentation

    def open(self, study: OpenStudy, segmentation: Segmentation | None, *, saved: int | None = None) -> None:
        """Another study is open from now on, with that segmentation; ``saved`` is the checksum of what a file holds."""
        self._study, self._segmentation = study, segmentation
        self._measures, self._saved = None, saved
        self.study_changed.emit()
        self.segmentation_changed.emit()
        self.measures_changed.emit()
        self.dirty = segmentation is not None and saved is None

    def reassign(self, study: OpenStudy) -> None:
        """The open study's series were re-assigned; the segmentation, the measures and what was saved stay."""
        self._study = study
        self.study_changed.emit()

    def clear(self) -> None:
        """The open study has no segmentation any more."""
        self._segmentation, self._measures, self._saved = None, None, None
        self.segmentation_changed.emit()
        self.measures_changed.emit()
        self.dirty = False

    def close(self) -> None:
        """No study is open any more."""
        self._study = None
        self.study_changed.emit()
        self.clear()

    def deliver(self, segmentation: Segmentation, *, saved: int | None = None) -> None:
        """A segmentation of the open study: a model's, or one from a file, whose checksum is ``saved`` then."""
        self._segmentation, self._saved = segmentation, saved
        self.segmentation_changed.emit()
        self.dirty = saved is None

    @property
    def kept(self) -> Mapping[str, Kept]:
        """Token → what is kept of studies that are not open."""
        return self._kept

    def keep(self, token: str, kept: Kept) -> None:
        """Keep a segmentation of a study that is not open (of the oldest, some twenty studies ago, it is let go)."""
        self._kept.pop(token, None)
        self._kept[token] = kept
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def accepted_meanwhile(self, token: str, digest: int) -> None:
        """Labels with that checksum of a study that is not open were accepted. What is kept of it is no model's answer."""
        kept = self._kept.get(token)
        if kept is not None:
            self._kept[token] = Kept(kept.segmentation, saved=digest, notes={"edited": True})

    def take_kept(self, token: str) -> Kept | None:
        """What is kept of that study; it is no longer kept from then on."""
        return self._kept.pop(token, None)

    # --- measures, and whether there is something to save

    @property
    def measures(self) -> Measures | None:
        """Numbers of the labels as they are now (a moment ago, while someone paints)."""
        return self._measures

    @measures.setter
    def measures(self, value: Measures | None) -> None:
        self._measures = value
        if value is not None:
            self.dirty = value.digest != self._saved
        self.measures_changed.emit()

    @property
    def dirty(self) -> bool:
        """True when the labels differ from what is in a file. Undoing back to what was saved makes it False again."""
        return self._dirty

    @dirty.setter
    def dirty(self, value: bool) -> None:
        if value != self._dirty:
            self._dirty = value
            self.dirty_changed.emit()

    @property
    def saved_digest(self) -> int | None:
        """Checksum of the labels that a file holds; None for none."""
        return self._saved

    def saved(self, digest: int) -> None:
        """Labels with that checksum were written to a file."""
        self._saved = digest
        self.dirty = self._measures is not None and self._measures.digest != digest

    # --- models, device

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """What is installed."""
        return self._models

    @property
    def model(self) -> ModelInfo | None:
        """The one that is chosen."""
        return next((m for m in self._models if m.name == self._model), None)

    @property
    def device(self) -> str:
        """One of :data:`DEVICES`."""
        return self._device

    def set_models(self, models: tuple[ModelInfo, ...], default: str = "") -> None:
        """What is installed; the default one, else the first usable, is chosen when the chosen one is not among them."""
        self._models = models
        if self.model is None or self.model.card is None:
            usable = [m.name for m in models if m.card is not None]
            self._model = default if default in usable else next(iter(usable), "")
        self.models_changed.emit()

    def choose(self, *, model: str | None = None, device: str | None = None) -> None:
        """Choose a model by name, or a device."""
        self._model = self._model if model is None else model
        self._device = self._device if device is None else device
        self.models_changed.emit()

    # --- what is going on

    @property
    def job(self) -> JobState | None:
        """The job that runs, of whichever study."""
        return self._job

    @job.setter
    def job(self, value: JobState | None) -> None:
        self._job = value
        self.job_changed.emit()

    @property
    def reading(self) -> str:
        """What is being read or written at the moment, in words; "" for nothing."""
        return self._reading

    @reading.setter
    def reading(self, value: str) -> None:
        self._reading = value
        self.reading_changed.emit()

    @property
    def message(self) -> Message | None:
        """The last thing to say."""
        return self._message

    def say(self, text: str, kind: Kind = Kind.INFO) -> None:
        """Say something; "" takes the message away."""
        self._message = Message(text, kind) if text else None
        self.message_changed.emit()
