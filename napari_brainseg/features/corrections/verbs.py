"""Corrections: accepting what is on the canvas as a version that is never rewritten, and drafts."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from psygnal import Signal

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.corrections import Correction, Store
from napari_brainseg.display import history, layers
from napari_brainseg.display.axes import laid_out
from napari_brainseg.display.history import DRAFT, history_of
from napari_brainseg.display.replacement import Replacement, replacement
from napari_brainseg.display.writers import writers_of
from napari_brainseg.features.context import Context
from napari_brainseg.features.corrections.autosave import Autosave
from napari_brainseg.features.corrections.choices import remember, remembered
from napari_brainseg.features.corrections.workspace import versions, with_hash
from napari_brainseg.session import Accepted, Answer, Kind, checksum

EMPTY = "The mask is empty: no voxel is labelled. Accept that there is no tumour in this study?"


class CorrectionVerbs:
    """What the buttons of the corrections section mean. ``changed``: there is something else to show.

    ``by`` is the name to record ("" for none), ``named`` whether the study's id and folder are recorded too.
    """

    changed = Signal()

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context, self._session = context, context.session
        choices = remembered()
        self.by, self.named = str(choices.get("by", "")), bool(choices.get("named", False))
        if choices.get("store"):
            self._session.store = Store(Path(choices["store"]))
        self.autosave = Autosave(context, clock, lambda: self.by.strip())
        context.follow(self.autosave.changed, self.changed.emit)

    def close(self) -> None:
        """Release the working copy. What was not flushed is lost."""
        self.autosave.close()

    @property
    def possible(self) -> bool:
        """True when there are labels to accept."""
        here = self.autosave.workspace
        return here is not None and self._context.labels is not None and not here.accepting

    @property
    def edited(self) -> bool:
        """True when there are edits since the answer, or since what was accepted last."""
        here = self.autosave.workspace
        return here is not None and here.edited

    @property
    def autosaved(self) -> datetime | None:
        """When the working copy was written last, in local time."""
        here = self.autosave.workspace
        return here.saved if here is not None else None

    @property
    def minutes(self) -> float:
        """Minutes of active editing of the study that is open."""
        here = self.autosave.workspace
        return here.activity.minutes if here is not None else 0.0

    @property
    def accepted(self) -> Correction | None:
        """The newest accepted version of the open study."""
        here = self.autosave.workspace
        return here.accepted if here is not None else None

    @property
    def draft(self) -> Correction | None:
        """A draft of the open study that is newer than what was accepted: nobody has said yet that it is right."""
        here = self.autosave.workspace
        return here.draft if here is not None else None

    @property
    def objection(self) -> str:
        """Why one might not want to accept the labels as they are, as a question; "" when nothing speaks against it."""
        layer, answer, accepted = self._context.labels, self._session.answer, self.accepted
        if layer is None:
            return ""
        if not layer.data.any():
            return EMPTY
        if answer is not None and np.array_equal(layers.snapshot(layer).labels, answer.origin.labels):
            return "The mask equals the answer it began from: nothing was corrected. Accept it as it is?"
        if accepted is not None and accepted.by != self.by.strip():
            who = accepted.by or "Somebody without a name"
            return f"{who} has accepted a correction of this study ({accepted.id}). Accept yours as the newer one?"
        return ""

    def accept(self) -> None:
        """Keep the labels as they are now as a new version; who asks has asked about ``objection``."""
        here, layer = self.autosave.workspace, self._context.labels
        if here is None or layer is None or here.accepting:
            self._session.say("There is nothing to accept yet: segment the study, or open a mask.", Kind.WARNING)
            return
        here.accepting = True
        segmentation, store, by, named = layers.snapshot(layer), self._session.store, self.by, self.named
        steps, minutes, base, model = tuple(here.steps), here.activity.minutes, here.origin, here.model
        answer = here.answer
        file = answer.file or answer.file_among(self._session.models) if answer is not None else None
        done = tuple(history_of(layer).done)
        here.edited = here.unsaved = False  # an edit from here on is one of the next version

        def work() -> tuple[Correction, int]:
            made = store.add(
                here.study.study,
                segmentation,
                base=base,
                model=with_hash(model, file),
                by=by,
                minutes=minutes,
                steps=steps,
                named=named,
                writers=writers_of(segmentation, done, answer),
            )
            return made, checksum(segmentation.labels)

        def finish(result: tuple[Correction, int]) -> None:
            made, digest = result
            here.accepting, here.accepted, here.draft = False, made, None  # the draft is the older one
            if not here.edited:
                here.discard_copies()
            if self.autosave.workspace is here:
                self._session.saved(digest)
            else:
                self._session.accepted_meanwhile(here.study.token, digest)
            self._session.say(f"Accepted as version {made.id} in {store.path}", Kind.GOOD)
            self.changed.emit()
            self._session.accepted.emit(Accepted(made, here.study.study.folder))

        def fail(error: Exception) -> None:
            here.accepting, here.edited, here.unsaved = False, True, True
            self._context.fail(error)
            self.changed.emit()

        self._context.save(work, finish, fail)  # where the window closes, what waits here is still done
        self.changed.emit()

    def show_draft(self) -> None:
        """Put the draft onto the canvas, as one step that can be undone; who asks has asked about edits ``at_risk``.

        The answer stays the one that was there: the draft is a change of it. Where there is none the draft takes its place.
        """
        here, draft, store, layer = self.autosave.workspace, self.draft, self._session.store, self._context.labels
        if here is None or draft is None:
            return
        version = history_of(layer).version if layer is not None else 0

        def work() -> tuple[Replacement, int]:
            change = replacement(layer, store.read(draft))
            return change, checksum(change.segmentation.labels)

        def done(result: tuple[Replacement, int]) -> None:
            change, digest = result
            if self.autosave.workspace is not here or self._context.labels is not layer:
                return
            if layer is None:
                with self._context.own_changes():
                    self._session.deliver(Answer.of(change.segmentation, saved=digest))
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

        self._context.run(work, done)

    def accept_draft(self) -> None:
        """The draft counts from now on; who asks has asked about an empty one."""
        here, draft, store = self.autosave.workspace, self.draft, self._session.store
        if here is None or draft is None:
            return

        def work() -> tuple[LabelArray, int, Correction, tuple[Correction | None, Correction | None]]:
            labels = laid_out(store.read(draft)).labels  # it must still be what was written
            return labels, checksum(labels), store.accept_all([draft.id])[0], versions(store, draft.study)

        def finish(result: tuple[LabelArray, int, Correction, tuple[Correction | None, Correction | None]]) -> None:
            labels, digest, made, (here.accepted, here.draft) = result
            layer = self._context.labels
            if (
                self.autosave.workspace is here
                and layer is not None
                and np.array_equal(layers.snapshot(layer).labels, labels)
            ):
                self.autosave.give_up()  # what is on the canvas is in the store
                self._session.saved(digest)
            self._session.say(f"The draft {made.id} is accepted.", Kind.GOOD)
            self.changed.emit()
            self._session.accepted.emit(Accepted(made, here.study.study.folder))

        self._context.run(work, finish)

    def choose(self, *, store: Path | None = None, by: str | None = None, named: bool | None = None) -> None:
        """Where to keep corrections, whose name to record, whether to record the study's. Remembered for the next start."""
        if store is not None:
            self._session.store = Store(store)
        self.by = self.by if by is None else by
        self.named = self.named if named is None else named
        try:
            remember({"store": str(self._session.store.path), "by": self.by, "named": self.named})
        except (OSError, BrainsegError) as e:
            self._session.say(f"That choice could not be remembered: {e}", Kind.WARNING)
        self.changed.emit()
