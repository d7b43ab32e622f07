"""The evented state. Every change goes through a method or a property and is announced by a signal; listeners read what
they need. Nothing here does work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import Store, default_store
from napari_brainseg.session.kept import KeptAnswers
from napari_brainseg.session.records import (
    Accepted,
    Acquired,
    Answer,
    JobState,
    Kind,
    Measures,
    Message,
    OpenStudy,
    Placing,
)

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo


class Session:
    """The state. One study is open at a time; labels of others that no file holds are kept."""

    open_requested = Signal(object)
    """A study folder (a Path) is to be opened."""
    series_requested = Signal(object)
    """What lies there (a Path, or several) is a study as acquired: its series are to be listed. None: a study is open that
    needs no preparation."""
    placing_requested = Signal(Placing)
    """The open study is to be prepared anew, its series placed so."""
    prepared = Signal(OpenStudy)
    """A study was made ready and is to be opened."""
    study_changed = Signal()
    segmentation_changed = Signal()
    measures_changed = Signal()
    models_changed = Signal()
    models_stale = Signal()
    """What is installed is to be looked up again."""
    job_changed = Signal()
    reading_changed = Signal()
    dirty_changed = Signal()
    message_changed = Signal()
    store_changed = Signal()
    edited = Signal(object)
    """A brainseg_engine.edits.Edit of the open study's labels was made, undone or redone: the labels hold it already."""
    accepted = Signal(Accepted)
    answers_changed = Signal()
    """Another model has answered for the open study, or another study is open."""

    __slots__ = (
        "__weakref__",
        "_answer",
        "_answers",
        "_device",
        "_dirty",
        "_job",
        "_measures",
        "_message",
        "_model",
        "_models",
        "_reading",
        "_saved",
        "_signal_instances",
        "_steps",
        "_store",
        "_study",
        "kept",
    )  # state that is not listed is refused

    def __init__(self) -> None:
        self._study: OpenStudy | None = None
        self._answer: Answer | None = None
        self._answers: dict[str, Answer] = {}
        self._steps: list[Mapping[str, Any]] = []
        self._measures: Measures | None = None
        self._models: tuple[ModelInfo, ...] = ()
        self._model: str = ""
        self._device = "auto"
        self._job: JobState | None = None
        self._reading = ""
        self._dirty = False
        self._saved: int | None = None
        self._message: Message | None = None
        self.kept = KeptAnswers()
        """Labels of studies that are not open, to be shown when they are opened again."""
        self._store = Store(default_store())

    # --- the study, its labels, and whose they are

    @property
    def study(self) -> OpenStudy | None:
        """The study that is open."""
        return self._study

    @property
    def aligned_from(self) -> Acquired | None:
        """What the open study was prepared from; see :attr:`OpenStudy.aligned_from`."""
        return self._study.aligned_from if self._study is not None else None

    @property
    def answer(self) -> Answer | None:
        """The labels as they were opened, predicted or restored, and whose they are."""
        return self._answer

    @property
    def segmentation(self) -> Segmentation | None:
        """The labels of the answer; edits since then are in their layer."""
        return self._answer.segmentation if self._answer is not None else None

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        """The log of what was done to the answer's origin: tool, target, plane and index, voxels by class."""
        return self._steps

    @property
    def model_file(self) -> Path | None:
        """The file of the model that gave the answer; None where it is not installed."""
        return self._answer.file_among(self._models) if self._answer is not None else None

    @property
    def answers(self) -> Mapping[str, Answer]:
        """Model → its answer for the open study, in the order in which they came, to be put side by side."""
        return self._answers

    def add_answer(self, name: str, answer: Answer) -> None:
        """Keep that answer of the open study beside the others."""
        self._answers.pop(name, None)
        self._answers[name] = answer
        self.answers_changed.emit()

    def _drop_answers(self) -> None:
        if self._answers:
            self._answers = {}
            self.answers_changed.emit()

    def open(self, study: OpenStudy, answer: Answer | None) -> None:
        """Another study is open from now on, with those labels."""
        self._drop_answers()
        self._study, self._answer, self._steps = study, answer, []
        self._measures, self._saved = None, answer.saved if answer is not None else None
        self.study_changed.emit()
        self.segmentation_changed.emit()
        self.measures_changed.emit()
        self.dirty = answer is not None and answer.saved is None

    def reassign(self, study: OpenStudy) -> None:
        """The open study's series were re-assigned; the labels, their log and the measures stay."""
        self._study = study
        self.study_changed.emit()

    def clear(self) -> None:
        """The open study has no labels any more."""
        self._answer, self._measures, self._saved, self._steps = None, None, None, []
        self.segmentation_changed.emit()
        self.measures_changed.emit()
        self.dirty = False

    def close(self) -> None:
        """No study is open any more."""
        self._study = None
        self._drop_answers()
        self.study_changed.emit()
        self.clear()

    def deliver(self, answer: Answer, steps: Sequence[Mapping[str, Any]] = ()) -> None:
        """Other labels for the open study; ``steps``: the log of what was done to their origin."""
        self._answer, self._saved = answer, answer.saved
        self._steps[:] = steps
        self.segmentation_changed.emit()
        self.dirty = answer.saved is None

    def attribute(self, answer: Answer, steps: Sequence[Mapping[str, Any]]) -> None:
        """It turned out where the labels that are shown come from; they stay as they are."""
        self._answer = answer
        self._steps[:] = steps

    # --- what is kept of other studies

    def put_away(self, shown: Segmentation, next_token: str) -> None:
        """Keep the labels on the canvas if no file holds them, before the study ``next_token`` takes their place."""
        current, answer = self._study, self._answer
        if current is None or not self.dirty or current.token == next_token:
            return
        if answer is None:
            self.kept.keep(current.token, Answer.of(shown, edited=True, saved=self._saved))
        elif np.array_equal(shown.labels, answer.segmentation.labels):
            self.kept.keep(current.token, replace(answer, segmentation=shown, saved=self._saved))
        else:
            kept = replace(answer, segmentation=shown, base=answer.origin, edited=True, saved=self._saved, writers=None)
            self.kept.keep(current.token, kept)

    def accepted_meanwhile(self, token: str, digest: int) -> None:
        """Labels with that checksum of a study that is not open were accepted. What is kept of it is no model's answer."""
        kept = self.kept.take(token)
        if kept is not None:
            self.kept.keep(token, Answer.of(kept.segmentation, saved=digest, edited=True))

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

    def saved(self, digest: int) -> None:
        """Labels with that checksum were written to a file."""
        self._saved = digest
        self.dirty = self._measures is not None and self._measures.digest != digest

    # --- models, device, the store of corrections

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
        """One of :data:`DEVICES`, or ``ssh:HOST``."""
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

    @property
    def blocker(self) -> str:
        """Why the chosen model cannot segment the open study, in words; "" when it can. Warnings do not block."""
        return self.blocker_of(self.model)

    def blocker_of(self, model: ModelInfo | None) -> str:
        """Why that model cannot segment the open study, in words; "" when it can."""
        current = self._study
        if current is None:
            return "Open a study first."
        if model is None:
            return "No model is installed; the command 'models' says where to put one."
        if model.card is None:
            return model.problem
        try:
            current.study.require(model.card.needed)
        except BrainsegError as e:
            return str(e)
        return " ".join(f.message for f in current.findings if f.severity == "error" and f.code != "missing")

    @property
    def warnings(self) -> list[str]:
        """What the check of the study found that a person may override, and which series the chosen model must do without."""
        current, card = self._study, self.model.card if self.model is not None else None
        if current is None:
            return []
        messages = [f.message for f in current.findings if f.severity == "warning"]
        present = [m for m in card.modalities if m in current.study.volumes] if card is not None else []
        if card is None or len(present) == len(card.modalities) or self.blocker:
            return messages
        from brainseg_engine.studies.checks import rests_on

        return [*messages, f"{rests_on(present, card.modalities)} {card.expectation(present)}".strip()]

    @property
    def store(self) -> Store:
        """Where corrections are kept."""
        return self._store

    @store.setter
    def store(self, value: Store) -> None:
        self._store = value
        self.store_changed.emit()

    # --- what is going on

    @property
    def job(self) -> JobState | None:
        """The job that runs and that a person waits for, of whichever study."""
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

    def say(self, text: str, kind: Kind = Kind.INFO, offer: tuple[str, Callable[[], object]] | None = None) -> None:
        """Say something; "" takes the message away. ``offer``: see :class:`Message`."""
        self._message = Message(text, kind, offer) if text else None
        self.message_changed.emit()
