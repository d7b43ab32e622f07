"""The working copy that follows the brush, and what a crash left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine import corrections
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import LeftCopy, Work, working
from napari_brainseg.display import history, layers
from napari_brainseg.display.axes import laid_out
from napari_brainseg.display.history import history_of
from napari_brainseg.display.writers import writers_of
from napari_brainseg.features.context import Context
from napari_brainseg.features.corrections.activity import Activity
from napari_brainseg.features.corrections.workspace import EarlierWork, Workspace, look_up, now, resumed, when_in_words
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from napari.layers import Labels

    from brainseg_engine.edits import Edit

OVER = "The edits on the canvas were not accepted. Put the model's answer in their place? Ctrl+Z brings them back."
TICK_S = 1.0
"""How often it is seen whether there is something new."""

AUTOSAVE_S = 2.0
"""How long edits may lie in memory alone."""

RETRY_S = 5.0
"""How long to wait after a copy could not be written."""


class Autosave:
    """Follows what is open and what is painted on it. ``changed``: there is something else to show.

    ``offer`` is work on the open study that was not accepted, ``others`` work on other studies, ``trouble`` why no copy can
    be written ("" when it can). ``by`` gives the name of who paints, "" for none.
    """

    changed = Signal()

    def __init__(
        self, context: Context, clock: Callable[[], float] = time.monotonic, by: Callable[[], str] = lambda: ""
    ) -> None:
        self._by = by
        self.trouble = ""
        self.offer: LeftCopy | None = None
        self.others: tuple[LeftCopy, ...] = ()
        self.workspace: Workspace | None = None
        self._context, self._session = context, context.session
        self._clock = clock
        self._layer: Labels | None = None  # also once it was removed: what was painted on it can be offered again
        self._shown: Segmentation | None = None
        self._writing = False
        self._next_try = 0.0
        self._restored: tuple[LeftCopy, Work] | None = None
        self._timer = context.later(TICK_S, self.tick, again=True)
        context.follow(self._session.study_changed, self._follow)
        context.follow(self._session.segmentation_changed, self._follow)
        context.follow(self._session.edited, self.note)
        context.follow(context.labels_changed, self._attach)
        context.follow(context.labels_edited, self._on_edit)
        for event in (context.viewer.cursor.events.position, context.viewer.dims.events.point):
            context.follow(event, self.sign_of_life)
        self._look_for_others()
        self._timer.start()

    def close(self) -> None:
        """Follow nothing more. What ``flush`` did not write is lost."""
        if self.workspace is not None and self.workspace.desk is not None:
            self.workspace.desk.close()
        self.workspace = None

    # --- following what is open

    def _follow(self) -> None:
        current, shown, here = self._session.study, self._session.segmentation, self.workspace
        if here is not None and current is not None and here.study.token == current.token:
            if shown is self._shown:
                return
            if shown is not None:
                self._answered(here)
                return
        carried = here if here is not None and shown is not None and self._shown is shown else None
        self._leave(carried)
        self._shown = shown
        if current is None:
            self.changed.emit()
            return
        activity = carried.activity if carried is not None else Activity(self._clock)
        self.workspace = here = Workspace(current, self._session.answer, self._session.steps, activity)
        if carried is not None:  # its series were assigned anew, its labels stay
            here.edited, here.unsaved = carried.edited, carried.edited
        self._attach()
        self._context.run(partial(look_up, current, shown, self._session.store), partial(self._looked_up, here))
        self.changed.emit()

    def _leave(self, carried: Workspace | None) -> None:
        """Another study, or none, or its labels were taken away: what is left of it can be found again."""
        here = self.workspace
        self.offer, self.trouble = None, ""
        if here is not None:
            if carried is not None:
                here.discard_copies()
            else:
                try:
                    self.flush()
                except BrainsegError as e:
                    self._session.say(f"The edits on {here.study.study.id} could not be saved: {e}", Kind.ERROR)
            if here.desk is not None:
                here.desk.close()
        self.workspace, self._layer = None, None

    def _answered(self, here: Workspace) -> None:
        """Other labels for the same study: the restored ones, or a new answer."""
        restored, self._restored = self._restored, None
        answer, self._shown = self._session.answer, self._session.segmentation
        if restored is not None and answer is not None:
            left_copy, work = restored
            here.resume(work, left_copy.path, answer)
        else:
            here.answer, here.edited, here.unsaved = answer, False, False
            here.activity = Activity(self._clock)
        self.changed.emit()

    def _looked_up(self, here: Workspace, known: EarlierWork) -> None:
        if self.workspace is not here:
            return
        here.key, here.accepted, here.draft = known.key, known.accepted, known.draft
        here.desk = here.desk or working.Desk(here.key)
        shown = self._session.segmentation
        if known.same is not None and not here.edited and shown is not None:  # the window kept these very labels: go on
            left_copy, work = known.same
            answer = resumed(work, shown, here.answer)
            self._session.attribute(answer, [*work.steps, *here.steps])
            here.resume(work, left_copy.path, answer)
        elif known.left:
            self.offer = known.left[0]
        self._look_for_others()
        self.changed.emit()

    # --- following the brush

    def _attach(self) -> None:
        here, current, labels = self.workspace, self._session.study, self._context.labels
        if here is not None and current is not None and here.study.token == current.token and labels is not None:
            self._layer = labels

    def _on_edit(self) -> None:
        here = self.workspace
        if here is None or self._context.changing_layers:
            return
        first, here.edited, here.unsaved = not here.edited, True, True
        here.activity.sign()
        if first:
            self.changed.emit()

    def note(self, edit: Edit) -> None:
        """Log an edit: which tool, where, and how many voxels of which class."""
        if self.workspace is None:
            return
        tool = "restore" if edit.tool == "result" and self.workspace.old is not None else edit.tool
        step: dict[str, Any] = {"when": now(), "tool": tool, "target": edit.target}
        step["changed"] = {label.name: n for label, n in edit.changed.items() if n}
        if edit.index is not None:
            step |= {"plane": edit.plane, "index": edit.index}
        if by := self._by():
            step["by"] = by
        self.workspace.steps.append(step)

    def sign_of_life(self, event: Any = None) -> None:
        """Somebody looks around: counts as editing once an edit was made."""
        if self.workspace is not None and self.workspace.edited:
            self.workspace.activity.sign()

    # --- the working copy

    def tick(self) -> None:
        """Write a working copy when there is something new, also within a stroke."""
        here, layer = self.workspace, self._layer
        if here is None or here.desk is None or layer is None or self._writing or self._clock() < self._next_try:
            return
        painting = history.in_stroke(layer)
        if here.unsaved or painting:
            here.edited = True
            work, done, answer, desk = (
                here.work(layers.snapshot(layer)),
                tuple(history_of(layer).done),
                here.answer,
                here.desk,
            )
            here.unsaved, self._writing = painting, True

            def save() -> Work:
                return desk.save(replace(work, writers=writers_of(work.segmentation, done, answer)))

            self._context.save(save, partial(self._saved, here), partial(self._not_saved, here))

    def _saved(self, here: Workspace, work: Work) -> None:
        self._writing = False
        self._next_try = self._clock() + AUTOSAVE_S
        here.written(work.when)
        if not here.edited and not here.accepting:  # it was accepted meanwhile
            here.discard_copies()
        if self.trouble:
            self.trouble = ""
            self._session.say("The working copy is being written again.", Kind.GOOD)
        self.changed.emit()

    def _not_saved(self, here: Workspace, error: Exception) -> None:
        """Loudly; the edits stay in memory and the next try follows."""
        self._writing, here.unsaved = False, True
        self._next_try = self._clock() + RETRY_S
        first = not self.trouble
        self.trouble = str(error) if isinstance(error, BrainsegError) else f"{type(error).__name__}: {error}"
        if first:
            self._session.say(
                f"Your edits are NOT being saved. {self.trouble} They are kept in memory, and writing is tried again "
                f"every {RETRY_S:.0f} seconds.",
                Kind.ERROR,
            )
        self.changed.emit()

    def flush(self) -> None:
        """Write the working copy now, and wait for it (20 ms). Raises OutputError.

        Also while it is being accepted: where the program ends first, that never happens.
        """
        here, layer = self.workspace, self._layer
        if here is None or layer is None or not ((here.edited and here.unsaved) or here.accepting):
            return
        if here.desk is None:
            here.key = here.key or corrections.study_key(here.study.study)
            here.desk = working.Desk(here.key)
        work = here.work(layers.snapshot(layer))
        writers = writers_of(work.segmentation, history_of(layer).done, here.answer)
        here.written(here.desk.save(replace(work, writers=writers)).when)
        here.unsaved = False

    # --- what a crash left

    def _look_for_others(self) -> None:
        """Find work on other studies that was not accepted."""

        def done(left_copies: list[LeftCopy]) -> None:
            newest: dict[str, LeftCopy] = {}
            for f in left_copies:
                newest.setdefault(f.key, f)
            own = self.workspace.key if self.workspace is not None else ""
            self.others = tuple(f for f in newest.values() if f.key != own)
            self.changed.emit()

        self._context.run(working.pending, done)

    def restore(self) -> None:
        """Bring back what the offer holds, as one step that can be undone."""
        offer, here = self.offer, self.workspace
        if offer is None or here is None:
            return

        def read() -> Work:
            work = working.load(offer.path)
            return replace(work, segmentation=laid_out(work.segmentation))

        def done(work: Work) -> None:
            if self.workspace is not here or self.offer is not offer:
                return
            if not work.segmentation.grid.same_as(here.study.study.reference.grid):
                self._session.say("That work lies on another grid than the study that is open.", Kind.ERROR)
                return
            self.offer, self._restored = None, (offer, work)
            answer = resumed(work, work.segmentation, here.answer)
            with self._context.own_changes():
                self._session.deliver(answer, [*work.steps, *here.steps])
            steps = f"{len(work.steps)} step{'s' if len(work.steps) != 1 else ''}"
            self._session.say(f"The work of {when_in_words(offer)} is back: {steps}.", Kind.GOOD)

        self._context.run(read, done)

    def discard(self) -> None:
        """Give up what the offer holds; who asks has asked the person."""
        if self.offer is not None:
            working.discard(self.offer.path)
            self.offer = None
            self.changed.emit()

    @property
    def at_risk(self) -> bool:
        """True when there are edits that were neither accepted nor undone nor saved into a file."""
        here, layer = self.workspace, self._layer
        if here is None or layer is None or not here.edited or not self._session.dirty:
            return False
        return here.origin is None or not np.array_equal(layers.snapshot(layer).labels, here.origin.labels)

    @property
    def accepting(self) -> bool:
        """True while the labels are being written into the store: on a full disk nothing may come of it."""
        return self.workspace is not None and self.workspace.accepting

    def give_up(self) -> None:
        """Give up the edits that were not accepted: no copy is kept, the labels on the canvas stay."""
        if self.workspace is not None:
            self.workspace.unsaved = self.workspace.edited = False
            self.workspace.discard_copies()
