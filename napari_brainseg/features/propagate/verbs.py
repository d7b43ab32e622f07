"""Propagate: what the corrections of a few slices mean for the others, as a proposal that is accepted or dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.core.labels import LabelArray, Mask
from napari_brainseg.display import history, outlines
from napari_brainseg.display.axes import to_display
from napari_brainseg.display.planes import ORDERS, Plane
from napari_brainseg.display.undo import Moved, history_of
from napari_brainseg.features.corrections.verbs import Keeping
from napari_brainseg.features.paint.verbs import Correcting
from napari_brainseg.features.propagate.corrected import TOOL, Found, corrected, in_words
from napari_brainseg.features.regions.measuring import bounding_box
from napari_brainseg.jobs import PropagateJob, ProposedLabels
from napari_brainseg.session import JobState, Kind

if TYPE_CHECKING:
    from napari.layers import Labels

BUSY = "Propagating can begin when the running job is done."
PAINTED = "You painted on meanwhile, so what was being proposed was dropped: propagate again."


@dataclass(frozen=True, eq=False)
class Proposal:
    """What is proposed: in ``box`` of the layer's data, where ``mask`` holds, the labels ``values`` (both of the box's shape).

    ``version`` is the history's when the proposal was asked for, ``words`` say what it would change.
    """

    layer: Labels
    version: int
    box: tuple[slice, ...]
    mask: Mask
    values: LabelArray
    words: str


class Proposing:
    """The verbs of the propagate row. ``changed`` says that there is something else to show now."""

    changed = Signal()

    def __init__(self, actions: Correcting, keeping: Keeping) -> None:
        self._actions = actions
        self._keeping = keeping
        self._session = actions.session
        self._viewer = actions.viewer
        self._job = ""  # the one that runs
        self._asking = False  # the corrections are being looked up for it
        self._asked: tuple[Labels, int] | None = None
        self._doomed = ""  # why nothing can come of the job that runs
        self.stage = ""
        self.proposal: Proposal | None = None
        self._session.study_changed.connect(self._forget)
        self._session.segmentation_changed.connect(self._forget)
        self._session.edited.connect(self._forget)
        self._viewer.dims.events.ndisplay.connect(self._show_outlines, position="first")

    def close(self) -> None:
        """Follow nothing more. A proposal that is shown stays on the canvas: drop it, unless the window goes too."""
        self._session.study_changed.disconnect(self._forget)
        self._session.segmentation_changed.disconnect(self._forget)
        self._session.edited.disconnect(self._forget)
        self._viewer.dims.events.ndisplay.disconnect(self._show_outlines)

    @property
    def running(self) -> bool:
        """True from the press to the proposal."""
        return bool(self._job) or self._asking

    @property
    def blocker(self) -> str:
        """Why nothing can be proposed, in words; "" when something can."""
        if self._actions.labels is None or self._keeping.answer is None:
            return "There is no answer to adapt from yet: segment the study, then correct two or three slices."
        if self._keeping.model_file is None:
            return (
                "These labels did not begin from the answer of an installed model, so there is no model to adapt. "
                "Segment the study, then correct two or three slices."
            )
        if not self._painted():
            return "Nothing was corrected yet: correct two or three slices with the brush, then propagate."
        return ""

    def propose(self) -> None:
        """Have the worker adapt the model to the slices that were corrected, and predict the others again."""
        layer, answer, current, model = (
            self._actions.labels,
            self._keeping.answer,
            self._session.study,
            self._keeping.model_file,
        )
        if self.running:
            return
        if self.blocker or layer is None or answer is None or current is None or model is None:
            self._session.say(self.blocker, Kind.WARNING)
            return
        if self._session.job is not None:
            self._session.say(BUSY, Kind.WARNING)
            return
        if history.in_stroke(layer):
            return
        self.drop()
        steps = history_of(layer)
        asked = layer, steps.version
        self._asking, self._asked, self._doomed = True, asked, ""
        labels = np.array(layer.data, dtype=np.uint8)
        work = partial(corrected, labels, answer, self._painted(), tuple(steps.done))

        def done(found: Found) -> None:
            if self._asked is not asked:  # it was cancelled, or the labels are others
                return
            self._asking = False
            if self._session.job is not None or not found.slices:
                self._asked = None
                why = (
                    BUSY
                    if found.slices
                    else "No slice that was painted in differs from the answer any more: correct one."
                )
                self._session.say(why, Kind.WARNING)
                self.changed.emit()
                return
            job = PropagateJob(
                current.study, current.token, model, answer.labels, found.labels, found.voxels, found.slices,
                self._session.device,
            )  # fmt: skip
            self._job, self.stage = job.id, "adapting the model"
            self._session.say("")
            self._session.job = JobState(job.id, job.token, current.study.id, self.stage)
            self._actions._runner.propagate(job, self)
            self.changed.emit()

        def lost(error: Exception) -> None:
            if self._asked is asked:
                self._asking, self._asked = False, None
                self._actions._failed(error)
                self.changed.emit()

        self._actions._background(work, done, lost)
        self.changed.emit()

    def cancel(self) -> None:
        """Stop it, whether its job runs already or not."""
        if self._job:
            self._actions._runner.cancel(self._job)
        elif self._asking:
            self._asking, self._asked = False, None
            self._session.say("Cancelled; nothing was changed.")
            self.changed.emit()

    def accept(self) -> None:
        """Take the proposal over, as one step that can be undone."""
        made = self.proposal
        if made is None:
            return
        self.proposal = None
        self._hide()
        if self._actions.labels is made.layer and history_of(made.layer).version == made.version:
            with history_of(made.layer).naming(TOOL, ""):
                history.apply_edit(made.layer, made.box, made.mask, made.values)
            self._session.say("The proposal is in the labels; Ctrl+Z takes all of it back.", Kind.GOOD)
        self.changed.emit()

    def drop(self) -> None:
        """Let go of the proposal; the labels are as they were."""
        if self.proposal is not None:
            self.proposal = None
            self._hide()
            self.changed.emit()

    # --- what the job reports (``jobs.Asker``)

    def progress(self, job: PropagateJob, event: Progress) -> None:
        """See ``jobs.Asker``."""
        state = self._session.job
        if state is not None and state.id == job.id:
            self.stage = event.stage
            self._session.job = replace(state, stage=event.stage, fraction=event.fraction)
            self.changed.emit()

    def finished(self, job: PropagateJob, outcome: ProposedLabels) -> None:
        """See ``jobs.Asker``."""
        if self._asked is None or self._doomed:
            self._end(job)
            return
        layer, version = self._asked
        grid = job.study.reference.grid

        def work() -> tuple[Proposal | None, Any]:
            new, _ = to_display(outcome.labels, grid.affine)
            before, _ = to_display(job.labels, grid.affine)
            differs = new != before
            box = bounding_box(differs)
            if box is None:
                return None, None
            words = in_words(before[box], new[box], grid.voxel_ml)
            made = Proposal(layer, version, box, differs[box], np.ascontiguousarray(new[box]), words)
            return made, outlines.compare(new, job.labels, grid)

        done = partial(self._show, job, outcome)
        self._actions._background(work, done, partial(self._lost, job))

    def failed(self, job: PropagateJob, event: Failed) -> None:
        """See ``jobs.Asker``."""
        told = self._doomed and event.cancelled
        self._end(job)
        if not told:
            self._session.say(event.message, Kind.INFO if event.cancelled else Kind.ERROR)

    def _show(self, job: PropagateJob, outcome: ProposedLabels, told: tuple[Proposal | None, Any]) -> None:
        doomed = self._doomed
        self._end(job)
        made, changes = told
        if doomed:
            return
        if made is None:
            self._session.say(
                "The corrected slices tell nothing that would change the other slices. Correct another one, farther "
                "away, where the labels are wrong."
            )
            return
        if history_of(made.layer).version != made.version or history.in_stroke(made.layer):
            self._session.say(PAINTED, Kind.WARNING)
            return
        self.proposal = made
        with self._actions._changing_layers():
            outlines.show_changes(self._viewer, changes, job.study.reference.grid, outlines.PROPOSAL)
        self._show_outlines()
        took = f"{sum(outcome.told.get('seconds', {}).values()):.0f}\N{NO-BREAK SPACE}s"
        self._session.say(
            f"A proposal in {took}: {made.words}. The buttons below the tools accept or drop it.", Kind.GOOD
        )
        self.changed.emit()

    def _lost(self, job: PropagateJob, error: Exception) -> None:
        self._end(job)
        self._actions._failed(error)

    def _end(self, job: PropagateJob) -> None:
        if self._job == job.id:
            if self._doomed:  # once more: opening another study has its own words
                self._session.say(self._doomed, Kind.WARNING)
            self._job, self._asked, self._doomed, self.stage = "", None, "", ""
        if self._session.job is not None and self._session.job.id == job.id:
            self._session.job = None
        self.changed.emit()

    # --- what is asked for

    def _painted(self) -> frozenset[tuple[int, int]]:
        """(axis of the canvas, index) of the slices that the log has strokes in which were not undone; it survives a crash,
        the history does not.
        """
        strokes: Counter[tuple[int, int]] = Counter()
        for s in self._keeping.steps:
            if s.get("plane") and s.get("index") is not None:
                place = ORDERS[Plane(str(s["plane"]))][0], int(s["index"])
                # the stroke that is undone may have been one of an earlier answer, whose log is gone
                strokes[place] = max(0, strokes[place] + (-1 if s["tool"] == Moved.UNDONE.value else 1))
        return frozenset(place for place, n in strokes.items() if n > 0)

    def _forget(self, event: object = None) -> None:
        """The labels are others now: the proposal was made for those that were."""
        made = self.proposal
        if made is not None and (
            self._actions.labels is not made.layer or history_of(made.layer).version != made.version
        ):
            self.drop()
        asked = self._asked
        if asked is not None and not self._doomed:
            layer, version = asked
            if self._actions.labels is not layer:
                self._doom("Another study or other labels are open, so propagating was stopped.")
            elif history_of(layer).version != version:
                self._doom(PAINTED)
        self.changed.emit()

    def _doom(self, why: str) -> None:
        """Nothing can come any more of what was asked for: stop it, and say so."""
        if self._job:
            self._doomed = why
            self._actions._runner.cancel(self._job)
        else:
            self._asking, self._asked = False, None
        self._session.say(why, Kind.WARNING)

    def _hide(self) -> None:
        with self._actions._changing_layers():
            outlines.remove(self._viewer, outlines.PROPOSAL)
        self._show_outlines()

    def _show_outlines(self, event: object = None) -> None:
        outlines.arrange_outlines(self._viewer)
