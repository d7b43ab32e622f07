"""What is known of the study that is being worked on, and where that comes from. Pure; runs in the background."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine import corrections
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import BaseModel, Correction, CorrectionState, LeftCopy, Store, Work, working
from brainseg_engine.inference import uncertainty
from napari_brainseg.display.axes import laid_out
from napari_brainseg.features.corrections.activity import Activity
from napari_brainseg.session import Answer, OpenStudy


@dataclass(eq=False)
class Workspace:
    """The study at hand, the ``answer`` that is being corrected, and what was done since: ``steps`` is the session's log.

    ``edited``: since the answer, or since what was accepted last; ``unsaved``: what no working copy holds yet;
    ``accepting``: it is being written into the store; ``old``: the copy that was resumed, to go when a new one is there.
    """

    study: OpenStudy
    answer: Answer | None
    steps: list[Mapping[str, Any]]
    activity: Activity
    key: str = ""
    desk: working.Desk | None = None
    edited: bool = False
    unsaved: bool = False
    accepting: bool = False
    saved: datetime | None = None
    accepted: Correction | None = None
    draft: Correction | None = None
    old: Path | None = None

    @property
    def model(self) -> BaseModel:
        """Whose answer it is."""
        return self.answer.model if self.answer is not None else BaseModel("")

    @property
    def origin(self) -> Segmentation | None:
        """The labels that the corrections began from."""
        return self.answer.origin if self.answer is not None else None

    def work(self, segmentation: Segmentation) -> Work:
        """What a working copy holds."""
        study = self.study.study
        return Work(
            self.key, study.id, segmentation, self.origin, self.model, study.folder, tuple(self.steps),
            self.activity.minutes,
        )  # fmt: skip

    def resume(self, work: Work, path: Path, answer: Answer) -> None:
        """Go on where that copy was left."""
        self.answer, self.edited, self.unsaved, self.old = answer, True, True, path
        self.activity.add(work.minutes)

    def written(self, when: str) -> None:
        """A copy was written then (UTC)."""
        self.saved = datetime.fromisoformat(when).astimezone()
        if self.old is not None:
            working.discard(self.old)
            self.old = None

    def discard_copies(self) -> None:
        """What was done is in the store, or given up: no copy is needed."""
        if self.desk is not None:
            self.desk.clear()
        if self.old is not None:
            working.discard(self.old)
        self.saved, self.old = None, None


def resumed(work: Work, shown: Segmentation, answer: Answer | None) -> Answer:
    """Whose the labels ``shown`` are that this copy holds; ``answer``: what the session took them for."""
    base = laid_out(work.base) if work.base is not None else answer.origin if answer is not None else None
    file = answer.file if answer is not None and answer.model == work.model else None
    notes = answer.notes if answer is not None else {}
    saved = answer.saved if answer is not None and answer.segmentation is shown else None
    return Answer(shown, work.model, file, notes, edited=True, base=base, saved=saved, writers=work.writers)


@dataclass(frozen=True, eq=False)
class EarlierWork:
    """What was known of a study before: its key; work that was not accepted (``left``) and the one that equals what is
    shown (``same``); the newest accepted version, and the draft that is newer than it."""

    key: str
    left: Sequence[LeftCopy]
    same: tuple[LeftCopy, Work] | None
    accepted: Correction | None
    draft: Correction | None = None


def look_up(study: OpenStudy, shown: Segmentation | None, store: Store) -> EarlierWork:
    """Look that up, and note the key for the queue. A damaged working copy is passed over."""
    files = [v.path for v in study.study.volumes.values() if v.path is not None]
    with contextlib.suppress(BrainsegError):  # a full disk: the queue reads the study again
        uncertainty.remember_key(files, study.study)
    key = corrections.study_key(study.study)
    left: list[LeftCopy] = []
    same = None
    accepted, draft = versions(store, key)
    for found in working.pending(key):
        try:
            work = working.load(found.path)
        except BrainsegError:
            continue
        labels = work.segmentation.labels
        if accepted is not None and _holds(store, accepted, labels):
            working.discard(found.path)  # a closing window accepted it after the copy was written
            continue
        if shown is None or same is not None or not np.array_equal(labels, shown.labels):
            left.append(found)
        else:
            same = (found, work)
    return EarlierWork(key, left, same, accepted, draft)


def _holds(store: Store, accepted: Correction, labels: LabelArray) -> bool:
    """Whether that version is what these labels are; False for one that cannot be read."""
    try:
        return np.array_equal(store.read(accepted).labels, labels)
    except BrainsegError:
        return False


def versions(store: Store, key: str) -> tuple[Correction | None, Correction | None]:
    """Of the study of that key: the newest accepted version, and the newest draft if it is newer still."""
    accepted, draft = store.latest().get(key), store.latest((CorrectionState.DRAFT,)).get(key)
    older = accepted is not None and draft is not None and draft.age < accepted.age
    return accepted, None if older else draft


def with_hash(model: BaseModel, file: Path | None) -> BaseModel:
    """The model with the SHA-256 of its file."""
    from brainseg_engine.core import plain

    return replace(model, sha256=plain.sha256_if_readable(file)) if file is not None else model


def when_in_words(left_copy: LeftCopy) -> str:
    """When that was: "today 13:59", "yesterday 18:02", "3 May 2026 10:00"."""
    when, today = left_copy.local_time, datetime.now(UTC).astimezone().date()
    days = (today - when.date()).days
    day = {0: "today", 1: "yesterday"}.get(days, f"{when.day} {when:%B %Y}")
    return f"{day} {when:%H:%M}"


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
