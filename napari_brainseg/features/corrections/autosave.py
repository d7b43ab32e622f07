"""The working copy that follows the brush, and what a crash left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine import corrections
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import BaseModel, Found, Store, Work, working
from napari_brainseg.display import history, layers
from napari_brainseg.features.context import Base
from napari_brainseg.features.corrections.activity import Activity
from napari_brainseg.features.corrections.workspace import Bench, Known, look_up, now, said
from napari_brainseg.features.study.reading import laid_out
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from brainseg_engine.edits import Edit

AUTOSAVE_S = 2.0
"""How long edits may lie in memory alone."""

RETRY_S = 5.0
"""How long to wait after a copy could not be written."""


class Autosaving:
    """Follows what is open and what is painted on it. ``changed`` says that there is something else to show now.

    ``offer`` is work on the open study that was not accepted, ``others`` work on other studies, ``trouble`` why no copy can
    be written ("" when it can).
    """

    changed = Signal()

    def __init__(self, actions: Base, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self.trouble = ""
        self.offer: Found | None = None
        self.others: tuple[Found, ...] = ()
        self._actions = actions
        self._session = actions.session
        self._clock = clock
        self._bench: Bench | None = None
        self._brush = history.Follower(self._on_edit)
        self._writing = False
        self._next_try = 0.0
        self._restored: tuple[Found, Work] | None = None
        self._session.study_changed.connect(self._follow)
        self._session.segmentation_changed.connect(self._follow)
        for event in (actions.viewer.layers.events.inserted, actions.viewer.layers.events.removed):
            event.connect(self._attach)
        self._look_for_others()

    def close(self) -> None:
        """Follow nothing more. What ``flush`` did not write is lost."""
        self._session.study_changed.disconnect(self._follow)
        self._session.segmentation_changed.disconnect(self._follow)
        for event in (self._actions.viewer.layers.events.inserted, self._actions.viewer.layers.events.removed):
            event.disconnect(self._attach)
        self._brush.follow(None)
        if self._bench is not None and self._bench.desk is not None:
            self._bench.desk.close()
        self._bench = None

    # --- following what is open

    def _follow(self) -> None:
        current, shown, bench = self._session.study, self._session.segmentation, self._bench
        if bench is not None and current is not None and bench.study.token == current.token:
            if shown is bench.delivered:
                return
            if shown is not None:
                self._answered(bench, shown)
                return
        carried = bench if bench is not None and shown is not None and bench.delivered is shown else None
        self._leave(carried)
        if current is None:
            self.changed.emit()
            return
        self._bench = bench = Bench(current, shown, shown, self._model(shown), Activity(self._clock), self._file)
        if carried is not None:  # its series were assigned anew, its labels stay
            bench.answer, bench.model, bench.activity = carried.answer, carried.model, carried.activity
            bench.file = carried.file
            bench.steps, bench.edited, bench.unsaved = carried.steps, carried.edited, carried.edited
        self._attach()
        done = partial(self._looked_up, bench)
        self._actions._background(partial(look_up, current, shown, self.store), done, self._actions._failed)
        self.changed.emit()

    def _leave(self, carried: Bench | None) -> None:
        """Another study, or none, or its labels were taken away: what is left of it can be found again."""
        bench = self._bench
        self.offer, self.trouble = None, ""
        if bench is not None:
            if carried is not None:
                bench.forget()
            else:
                try:
                    self.flush()
                except BrainsegError as e:
                    self._session.say(f"The edits on {bench.study.study.id} could not be saved: {e}", Kind.ERROR)
            if bench.desk is not None:
                bench.desk.close()
        self._bench = None
        self._brush.follow(None)

    def _answered(self, bench: Bench, shown: Segmentation) -> None:
        """Other labels for the same study: the restored ones, or a new answer."""
        restored, self._restored = self._restored, None
        bench.delivered = shown
        if restored is not None:
            found, work = restored
            bench.take_up(work, found.path)
        else:
            bench.answer, bench.model, bench.file = shown, self._model(shown), self._file
            bench.edited = bench.unsaved = False
            bench.activity = Activity(self._clock)
            bench.steps.clear()  # they led from another answer
        self.changed.emit()

    def _looked_up(self, bench: Bench, known: Known) -> None:
        if self._bench is not bench:
            return
        bench.key, bench.accepted, bench.draft = known.key, known.accepted, known.draft
        bench.desk = bench.desk or working.Desk(bench.key)
        if known.same is not None and not bench.edited:  # the window kept these very labels: go on
            found, work = known.same
            bench.take_up(work, found.path)
        elif known.left:
            self.offer = known.left[0]
        self._look_for_others()
        self.changed.emit()

    def _model(self, shown: Segmentation | None) -> BaseModel:
        """Whose answer that is: the model that just gave it, else as the mask itself tells."""
        notes = self._actions._notes
        if notes.get("model"):
            return BaseModel(str(notes["model"]), str(notes.get("model_version", "")))
        return BaseModel(shown.made_by if shown is not None else "")

    @property
    def _file(self) -> Path | None:
        """The file of the model that just gave it."""
        return self._actions._model_file if self._actions._notes.get("model") else None

    # --- following the brush

    def _attach(self, event: Any = None) -> None:
        layer = self._actions.labels
        if self._bench is not None and layer is not None:
            self._brush.follow(layer)

    def _on_edit(self, event: Any = None) -> None:
        bench = self._bench
        if bench is None or self._actions.changing_layers:
            return
        first, bench.edited, bench.unsaved = not bench.edited, True, True
        bench.activity.sign()
        if first:
            self.changed.emit()

    def note(self, edit: Edit) -> None:
        """Log an edit: which tool, where, and how many voxels of which class."""
        if self._bench is None:
            return
        tool = "restore" if edit.tool == "result" and self._bench.old is not None else edit.tool
        step: dict[str, Any] = {"when": now(), "tool": tool, "target": edit.target}
        step["changed"] = {label.name: n for label, n in edit.changed.items() if n}
        if edit.index is not None:
            step |= {"plane": edit.plane, "index": edit.index}
        self._bench.steps.append(step)

    def sign_of_life(self, event: Any = None) -> None:
        """Somebody looks around: counts as editing once an edit was made."""
        if self._bench is not None and self._bench.edited:
            self._bench.activity.sign()

    # --- the working copy

    def tick(self) -> None:
        """To be called about once a second: writes a working copy when there is something new, also within a stroke."""
        bench, layer = self._bench, self._brush.layer
        if bench is None or bench.desk is None or layer is None or self._writing or self._clock() < self._next_try:
            return
        painting = history.in_stroke(layer)
        if bench.unsaved or painting:
            bench.edited = True
            work = bench.work(layers.snapshot(layer))
            bench.unsaved, self._writing = painting, True
            save = partial(bench.desk.save, work)
            self._actions._saving(save, partial(self._saved, bench), partial(self._not_saved, bench))

    def _saved(self, bench: Bench, work: Work) -> None:
        self._writing = False
        self._next_try = self._clock() + AUTOSAVE_S
        bench.written(work.when)
        if not bench.edited and not bench.accepting:  # it was accepted meanwhile
            bench.forget()
        if self.trouble:
            self.trouble = ""
            self._session.say("The working copy is being written again.", Kind.GOOD)
        self.changed.emit()

    def _not_saved(self, bench: Bench, error: Exception) -> None:
        """Loudly; the edits stay in memory and the next try follows."""
        self._writing, bench.unsaved = False, True
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
        bench, layer = self._bench, self._brush.layer
        if bench is None or layer is None or not ((bench.edited and bench.unsaved) or bench.accepting):
            return
        if bench.desk is None:
            bench.key = bench.key or corrections.study_key(bench.study.study)
            bench.desk = working.Desk(bench.key)
        bench.written(bench.desk.save(bench.work(layers.snapshot(layer))).when)
        bench.unsaved = False

    # --- what a crash left

    def _look_for_others(self) -> None:
        """Find work on other studies that was not accepted."""

        def done(found: list[Found]) -> None:
            newest: dict[str, Found] = {}
            for f in found:
                newest.setdefault(f.key, f)
            own = self._bench.key if self._bench is not None else ""
            self.others = tuple(f for f in newest.values() if f.key != own)
            self.changed.emit()

        self._actions._background(working.pending, done, self._actions._failed)

    def restore(self) -> None:
        """Bring back what the offer holds, as one step that can be undone."""
        offer, bench = self.offer, self._bench
        if offer is None or bench is None:
            return

        def read() -> Work:
            work = working.load(offer.path)
            return replace(work, segmentation=laid_out(work.segmentation))

        def done(work: Work) -> None:
            if self._bench is not bench or self.offer is not offer:
                return
            if not work.segmentation.grid.same_as(bench.study.study.reference.grid):
                self._session.say("That work lies on another grid than the study that is open.", Kind.ERROR)
                return
            self.offer, self._restored = None, (offer, work)
            self._actions._notes = {**self._actions._notes, "edited": True}
            with self._actions._changing_layers():
                self._session.deliver(work.segmentation)
            steps = f"{len(work.steps)} step{'s' if len(work.steps) != 1 else ''}"
            self._session.say(f"The work of {said(offer)} is back: {steps}.", Kind.GOOD)

        self._actions._background(read, done, self._actions._failed)

    def discard(self) -> None:
        """Give up what the offer holds; who asks has asked the person."""
        if self.offer is not None:
            working.discard(self.offer.path)
            self.offer = None
            self.changed.emit()

    @property
    def at_risk(self) -> bool:
        """True when there are edits that were neither accepted nor undone nor saved into a file."""
        bench, layer = self._bench, self._brush.layer
        if bench is None or layer is None or not bench.edited or not self._session.dirty:
            return False
        return bench.answer is None or not np.array_equal(layers.snapshot(layer).labels, bench.answer.labels)

    def give_up(self) -> None:
        """Give up the edits that were not accepted: no copy is kept, the labels on the canvas stay."""
        if self._bench is not None:
            self._bench.unsaved = self._bench.edited = False
            self._bench.forget()
