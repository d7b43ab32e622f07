"""What is known of the study that is being worked on, and where that comes from. Pure; runs in the background."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainseg_engine import corrections
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.paths import atomic, home
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import BaseModel, Correction, Found, State, Store, Work, working
from brainseg_engine.inference import uncertainty
from napari_brainseg.features.corrections.activity import Activity
from napari_brainseg.features.study.reading import laid_out
from napari_brainseg.session import OpenStudy

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo
    from brainseg_engine.models.checkpoint import Card


@dataclass(eq=False)
class Bench:
    """The study at hand: the ``answer`` that is being corrected, whose it was (``file``: where that model lies, if it has
    just given it), and what was done since.

    ``edited``: since the answer, or since what was accepted last; ``unsaved``: what no working copy holds yet;
    ``accepting``: it is being written into the store; ``old``: the copy that was taken up, to go when a new one is there.
    """

    study: OpenStudy
    delivered: Segmentation | None
    answer: Segmentation | None
    model: BaseModel
    activity: Activity
    file: Path | None = None
    key: str = ""
    desk: working.Desk | None = None
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    edited: bool = False
    unsaved: bool = False
    accepting: bool = False
    saved: datetime | None = None
    accepted: Correction | None = None
    draft: Correction | None = None
    old: Path | None = None

    def work(self, segmentation: Segmentation) -> Work:
        """What a working copy holds."""
        study = self.study.study
        return Work(
            self.key, study.id, segmentation, self.answer, self.model, study.folder, tuple(self.steps),
            self.activity.minutes,
        )  # fmt: skip

    def take_up(self, work: Work, path: Path) -> None:
        """Go on where that copy was left."""
        self.answer = laid_out(work.base) if work.base is not None else self.answer
        self.file = self.file if work.model == self.model else None
        self.model, self.edited, self.unsaved, self.old = work.model, True, True, path
        self.steps = [*work.steps, *self.steps]
        self.activity.add(work.minutes)

    def written(self, when: str) -> None:
        """A copy was written then (UTC)."""
        self.saved = datetime.fromisoformat(when).astimezone()
        if self.old is not None:
            working.discard(self.old)
            self.old = None

    def forget(self) -> None:
        """What was done is in the store, or given up: no copy is needed."""
        if self.desk is not None:
            self.desk.clear()
        if self.old is not None:
            working.discard(self.old)
        self.saved, self.old = None, None


@dataclass(frozen=True, eq=False)
class Known:
    """What was known of a study before: its key; work that was not accepted (``left``) and the one that equals what is
    shown (``same``); the newest accepted version, and the draft that is newer than it."""

    key: str
    left: Sequence[Found]
    same: tuple[Found, Work] | None
    accepted: Correction | None
    draft: Correction | None = None


def look_up(study: OpenStudy, shown: Segmentation | None, store: Store) -> Known:
    """Look that up, and note the key for the queue. A damaged working copy is passed over."""
    files = [v.path for v in study.study.volumes.values() if v.path is not None]
    with contextlib.suppress(BrainsegError):  # a full disk: the queue reads the study again
        uncertainty.remember_key(files, study.study)
    key = corrections.study_key(study.study)
    left: list[Found] = []
    same = None
    for found in working.pending(key):
        try:
            work = working.load(found.path)
        except BrainsegError:
            continue
        labels = work.segmentation.labels
        if shown is None or same is not None or not np.array_equal(labels, shown.labels):
            left.append(found)
        else:
            same = (found, work)
    return Known(key, left, same, *versions(store, key))


def versions(store: Store, key: str) -> tuple[Correction | None, Correction | None]:
    """Of the study of that key: the newest accepted version, and the newest draft if it is newer still."""
    accepted, draft = store.latest().get(key), store.latest((State.DRAFT,)).get(key)
    older = accepted is not None and draft is not None and (draft.when, draft.id) < (accepted.when, accepted.id)
    return accepted, None if older else draft


def file_of(model: BaseModel, file: Path | None, installed: Sequence[ModelInfo]) -> Path | None:
    """Where that model lies: in ``file`` if that is installed, else in the one whose card has its name and version. Of several
    the user's own counts, as everywhere. A file may be called otherwise than the model in it.
    """
    for m in reversed(installed):
        if m.card is not None and (m.path == file if file is not None else _is(m.card, model)):
            return m.path
    return file_of(model, None, installed) if file is not None else None


def _is(card: Card, model: BaseModel) -> bool:
    return card.name == model.name and model.version in ("", card.version)


def with_hash(model: BaseModel, file: Path | None) -> BaseModel:
    """The model with the SHA-256 of its file."""
    from brainseg_engine.corrections.store import file_hash

    return replace(model, sha256=file_hash(file)) if file is not None else model


def said(found: Found) -> str:
    """When that was, as one says it: "today 13:59", "yesterday 18:02", "3 May 2026 10:00"."""
    when, today = found.local_time, datetime.now(UTC).astimezone().date()
    days = (today - when.date()).days
    day = {0: "today", 1: "yesterday"}.get(days, f"{when.day} {when:%B %Y}")
    return f"{day} {when:%H:%M}"


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def remembered() -> Mapping[str, Any]:
    """What was chosen before: where to keep corrections ("store"), a name ("by"), whether to name studies ("named")."""
    try:
        told = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def remember(told: Mapping[str, Any]) -> None:
    """Keep that for the next start. Raises OSError or OutputError."""
    home().mkdir(parents=True, exist_ok=True)
    with atomic(_file()) as part:
        part.write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")


def _file() -> Path:
    return home() / "keeping.json"
