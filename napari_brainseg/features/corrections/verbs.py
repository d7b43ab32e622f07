"""Keeping corrections: accepting what is on the canvas as a version that is never rewritten."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine import corrections
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import Correction, Store
from napari_brainseg.display import history, layers
from napari_brainseg.display.undo import history_of
from napari_brainseg.features.context import Base
from napari_brainseg.features.corrections.autosave import Autosaving
from napari_brainseg.features.corrections.workspace import file_of, remember, remembered, said, versions, with_hash
from napari_brainseg.features.propagate.corrected import DRAFT
from napari_brainseg.features.replacing import Change, prepare
from napari_brainseg.features.study.reading import checksum, laid_out
from napari_brainseg.session import Kind

__all__ = ["EMPTY", "Keeping", "said"]

EMPTY = "The mask is empty: no voxel is labelled. Accept that there is no tumour in this study?"


class Keeping(Autosaving):
    """The verbs of the corrections section.

    ``by`` is the name to record ("" for none), ``named`` whether the study's id and folder are recorded too.
    """

    def __init__(self, actions: Base, clock: Callable[[], float] = time.monotonic) -> None:
        told = remembered()
        self.by, self.named = str(told.get("by", "")), bool(told.get("named", False))
        self._folders: dict[str, Path | None] = {}
        folder = Path(told["store"]) if told.get("store") else corrections.default_store()
        super().__init__(actions, Store(folder), clock)

    @property
    def possible(self) -> bool:
        """True when there are labels to accept."""
        return self._bench is not None and self._actions.labels is not None and not self._bench.accepting

    @property
    def edited(self) -> bool:
        """True when there are edits since the answer, or since what was accepted last."""
        return self._bench is not None and self._bench.edited

    @property
    def autosaved(self) -> datetime | None:
        """When the working copy was written last, in local time."""
        return self._bench.saved if self._bench is not None else None

    @property
    def minutes(self) -> float:
        """Of active editing."""
        return self._bench.activity.minutes if self._bench is not None else 0.0

    @property
    def accepted(self) -> Correction | None:
        """The newest accepted version of the open study."""
        return self._bench.accepted if self._bench is not None else None

    @property
    def draft(self) -> Correction | None:
        """A draft of the open study that is newer than what was accepted: nobody has said yet that it is right."""
        return self._bench.draft if self._bench is not None else None

    @property
    def answer(self) -> Segmentation | None:
        """The answer that is being corrected."""
        return self._bench.answer if self._bench is not None else None

    @property
    def model(self) -> str:
        """The name of the model that gave the answer; "" where none did."""
        return self._bench.model.name if self._bench is not None else ""

    @property
    def model_file(self) -> Path | None:
        """The file of that model; None where it is not installed."""
        bench = self._bench
        return file_of(bench.model, bench.file, self._session.models) if bench is not None else None

    def folder_of(self, made: Correction) -> Path | None:
        """The folder of the study that was corrected, of what was accepted since the start."""
        return self._folders.get(made.study)

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        """The log of what was done to the answer; see :meth:`note`."""
        return self._bench.steps if self._bench is not None else ()

    @property
    def doubts(self) -> str:
        """Why one might not want to accept the labels as they are, as a question; "" when nothing speaks against it."""
        layer, answer, accepted = self._actions.labels, self.answer, self.accepted
        if layer is None:
            return ""
        if not layer.data.any():
            return EMPTY
        if answer is not None and np.array_equal(layers.snapshot(layer).labels, answer.labels):
            return "The mask equals the answer it began from: nothing was corrected. Accept it as it is?"
        if accepted is not None and accepted.by != self.by.strip():
            who = accepted.by or "Somebody without a name"
            return f"{who} has accepted a correction of this study ({accepted.id}). Accept yours as the newer one?"
        return ""

    def accept(self, done: Callable[[Correction], None] = lambda _: None) -> None:
        """Keep the labels as they are now as a new version; who asks has asked about ``doubts``."""
        bench, layer = self._bench, self._actions.labels
        if bench is None or layer is None or bench.accepting:
            self._session.say("There is nothing to accept yet: segment the study, or open a mask.", Kind.WARNING)
            return
        bench.accepting = True
        segmentation, store, by, named = layers.snapshot(layer), self.store, self.by, self.named
        steps, minutes = tuple(bench.steps), bench.activity.minutes
        file = bench.file or self.model_file
        bench.edited = bench.unsaved = False  # an edit from here on is one of the next version

        def work() -> tuple[Correction, int]:
            made = store.add(
                bench.study.study,
                segmentation,
                base=bench.answer,
                model=with_hash(bench.model, file),
                by=by,
                minutes=minutes,
                steps=steps,
                named=named,
            )
            return made, checksum(segmentation.labels)

        def finish(told: tuple[Correction, int]) -> None:
            made, digest = told
            bench.accepting, bench.accepted, bench.draft = False, made, None  # the draft is the older one
            self._folders[made.study] = bench.study.study.folder
            if not bench.edited:
                bench.forget()
            if self._bench is bench:
                self._session.saved(digest)
            else:
                self._session.accepted_meanwhile(bench.study.token, digest)
            self._session.say(f"Accepted as version {made.id} in {store.path}", Kind.GOOD)
            self.changed.emit()
            done(made)

        def fail(error: Exception) -> None:
            bench.accepting, bench.edited, bench.unsaved = False, True, True
            self._actions._failed(error)
            self.changed.emit()

        self._actions._saving(work, finish, fail)  # where the window closes, what waits here is still done
        self.changed.emit()

    def show_draft(self) -> None:
        """Put the draft onto the canvas, as one step that can be undone; who asks has asked about edits ``at_risk``.

        The answer stays the one that was there: the draft is a change of it. Where there is none the draft takes its place.
        """
        bench, draft, store, layer = self._bench, self.draft, self.store, self._actions.labels
        if bench is None or draft is None:
            return
        version = history_of(layer).version if layer is not None else 0

        def work() -> tuple[Change, int]:
            change = prepare(layer, store.read(draft))
            return change, checksum(change.segmentation.labels)

        def done(told: tuple[Change, int]) -> None:
            change, digest = told
            if self._bench is not bench or self._actions.labels is not layer:
                return
            if layer is None:
                self._actions._notes = {}
                with self._actions._changing_layers():
                    self._session.deliver(change.segmentation, saved=digest)
            elif history.in_stroke(layer) or history_of(layer).version != version:
                self._session.say("You painted on meanwhile, so the draft was not put onto the canvas: press again.")
                return
            elif change.edit is None:
                self._session.say(f"The draft {draft.id} is what is on the canvas already.")
                return
            else:
                with history_of(layer).naming(DRAFT, ""):
                    history.apply_edit(layer, *change.edit)
            self._session.say(f"The draft {draft.id} is on the canvas; Ctrl+Z takes it away again.")

        self._actions._background(work, done, self._actions._failed)

    def accept_draft(self, done: Callable[[Correction], None] = lambda _: None) -> None:
        """The draft counts from now on; who asks has asked about an empty one."""
        bench, draft, store = self._bench, self.draft, self.store
        if bench is None or draft is None:
            return

        def work() -> tuple[LabelArray, int, Correction, tuple[Correction | None, Correction | None]]:
            labels = laid_out(store.read(draft)).labels  # it must still be what was written
            return labels, checksum(labels), store.accept(draft.id), versions(store, draft.study)

        def finish(told: tuple[LabelArray, int, Correction, tuple[Correction | None, Correction | None]]) -> None:
            labels, digest, made, (bench.accepted, bench.draft) = told
            self._folders[made.study] = bench.study.study.folder
            layer = self._actions.labels
            if self._bench is bench and layer is not None and np.array_equal(layers.snapshot(layer).labels, labels):
                self.give_up()  # what is on the canvas is in the store
                self._session.saved(digest)
            self._session.say(f"The draft {made.id} is accepted.", Kind.GOOD)
            self.changed.emit()
            done(made)

        self._actions._background(work, finish, self._actions._failed)

    def choose(self, *, store: Path | None = None, by: str | None = None, named: bool | None = None) -> None:
        """Where to keep corrections, whose name to record, whether to record the study's. Remembered for the next start."""
        self.store = Store(store) if store is not None else self.store
        self.by = self.by if by is None else by
        self.named = self.named if named is None else named
        try:
            remember({"store": str(self.store.path), "by": self.by, "named": self.named})
        except (OSError, BrainsegError) as e:
            self._session.say(f"That choice could not be remembered: {e}", Kind.WARNING)
        self.changed.emit()
