"""Propagate: what the corrections of a few slices mean for the others, as a proposal that is accepted or dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine.core.events import Failed
from brainseg_engine.core.labels import LabelArray, Mask
from brainseg_engine.core.morphology import bounding_box
from napari_brainseg.display import history, layers, outlines
from napari_brainseg.display.axes import to_display
from napari_brainseg.display.history import PROPAGATED, Moved, history_of
from napari_brainseg.display.planes import ORDERS, Plane
from napari_brainseg.features.context import Context
from napari_brainseg.features.propagate.corrected import Corrections, corrected, in_words
from napari_brainseg.jobs import PropagateRequest, ProposedLabels
from napari_brainseg.session import Kind, OpenStudy

if TYPE_CHECKING:
    from napari.layers import Labels

ADAPTING_S, LOOKING_S = 2.0, 3.0
"""Of adapting, and of looking at the study anew where the time of its answer is not known: on two idle cores."""
BUSY = "Propagating can begin when the running job is done."
CANCELLED = "Cancelled; nothing was changed."
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

    @property
    def stale(self) -> bool:
        """True once the labels are others than those it was made for."""
        return history_of(self.layer).version != self.version


class PropagateVerbs:
    """What the buttons of the propagate row mean. ``changed``: there is something else to show."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self._request = ""  # the one that runs
        self._asked: tuple[Labels, int] | None = None  # the labels, and their history's version, that it is for
        self._stopped = ""  # why nothing can come of the request that runs
        self.proposal: Proposal | None = None
        for signal in (self._session.study_changed, self._session.segmentation_changed, self._session.edited):
            context.follow(signal, self._on_labels)
        context.follow(self._session.job_changed, self._on_job)
        context.follow(self._viewer.dims.events.ndisplay, self._show_outlines, position="first")

    @property
    def running(self) -> bool:
        """True from the press to the proposal."""
        return self._asked is not None

    @property
    def stage(self) -> str:
        """How far it is, in words; "" while the corrections are being looked up."""
        job = self._session.job
        if job is None or job.id != self._request:
            return ""
        return f"{job.stage} … {job.fraction:.0%}" if job.fraction else f"{job.stage} …"

    @property
    def blocker(self) -> str:
        """Why nothing can be proposed, in words; "" when something can."""
        if self._context.labels is None or self._session.answer is None:
            return "There is no answer to adapt from yet: segment the study, then correct two or three slices."
        if self._session.model_file is None:
            return (
                "These labels did not begin from the answer of an installed model, so there is no model to adapt. "
                "Segment the study, then correct two or three slices."
            )
        if not self._painted():
            return "Nothing was corrected yet: correct two or three slices with the brush, then propagate."
        return ""

    @property
    def expected(self) -> str:
        """How long it takes on an idle machine, in words; "" where nothing can be proposed."""
        answer = self._session.answer
        if answer is None or self.blocker:
            return ""
        spent = answer.notes.get("seconds") if isinstance(answer.notes, Mapping) else None
        network = spent.get("network") if isinstance(spent, Mapping) else None
        most = ADAPTING_S + (float(network) if isinstance(network, int | float) else LOOKING_S)
        return f"On an idle machine it takes about {ADAPTING_S:.0f} s after Segment, and else at most {most:.0f} s."

    def propose(self) -> None:
        """Have the worker adapt the model to the slices that were corrected, and predict the others again."""
        layer, answer, current = self._context.labels, self._session.answer, self._session.study
        if self.running:
            return
        if self.blocker or layer is None or answer is None or current is None:
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
        self._asked, self._stopped = asked, ""
        work = partial(corrected, layers.snapshot(layer), answer, self._painted(), tuple(steps.done))

        def failed(error: Exception) -> None:
            self._release()
            self._context.fail(error)

        done = partial(self._submit, current, answer.origin.labels)
        self._context.run(work, done, failed, current=lambda: self._asked is asked)
        self.changed.emit()

    def _submit(self, current: OpenStudy, answer: LabelArray, corrections: Corrections) -> None:
        model = self._session.model_file
        if self._session.job is not None or not corrections.slices or model is None:
            self._release()
            why = "No slice that was painted in differs from the answer any more: correct one."
            self._session.say(why if not corrections.slices else BUSY, Kind.WARNING)
            return
        request = PropagateRequest(
            current.study,
            current.token,
            model,
            answer,
            corrections.labels,
            corrections.voxels,
            corrections.slices,
            self._session.device,
        )
        self._request = request.id
        self._session.say("")
        self._context.submit(
            request, self._show, prepare=partial(self._compare, request), failed=self._failed,
            stage="adapting the model",
        )  # fmt: skip
        self.changed.emit()

    def cancel(self) -> None:
        """Stop it, whether its request runs already or not."""
        if self._request:
            self._stopped = CANCELLED  # its answer may be there already, and only be compared
            self._context.runner.cancel(self._request)
        elif self.running:
            self._release()
            self._session.say(CANCELLED)

    def accept(self) -> None:
        """Take the proposal over, as one step that can be undone."""
        made = self.proposal
        if made is None:
            return
        self.proposal = None
        self._hide()
        if self._context.labels is made.layer and not made.stale:
            with history_of(made.layer).naming(PROPAGATED, ""):
                history.apply_edit(made.layer, made.box, made.mask, made.values)
            self._session.say("The proposal is in the labels; Ctrl+Z takes all of it back.", Kind.GOOD)
        self.changed.emit()

    def drop(self) -> None:
        """Give the proposal up; the labels are as they were."""
        if self.proposal is not None:
            self.proposal = None
            self._hide()
            self.changed.emit()

    # --- what comes of it

    def _compare(
        self, request: PropagateRequest, outcome: ProposedLabels
    ) -> Callable[[], tuple[Proposal | None, Any, str]]:
        asked, grid = self._asked, request.study.reference.grid

        def work() -> tuple[Proposal | None, Any, str]:
            took = f"{sum(outcome.report.get('seconds', {}).values()):.0f}\N{NO-BREAK SPACE}s"
            new, _ = to_display(outcome.labels, grid.affine)
            before, _ = to_display(request.labels, grid.affine)
            differs = new != before
            box = bounding_box(differs)
            if box is None or asked is None:
                return None, None, took
            words = in_words(before[box], new[box], grid.voxel_ml)
            made = Proposal(*asked, box, differs[box], np.ascontiguousarray(new[box]), words)
            return made, (outlines.compare(new, request.labels, grid), grid), took

        return work

    def _show(self, result: tuple[Proposal | None, Any, str]) -> None:
        made, shown, took = result
        stopped = self._stopped
        self._release()
        if stopped:
            self._session.say(stopped, Kind.INFO if stopped is CANCELLED else Kind.WARNING)
        elif made is None:
            self._session.say(
                "The corrected slices tell nothing that would change the other slices. Correct another one, farther "
                "away, where the labels are wrong."
            )
        elif made.stale or history.in_stroke(made.layer):
            self._session.say(PAINTED, Kind.WARNING)
        else:
            self.proposal = made
            with self._context.own_changes():
                outlines.show_changes(self._viewer, shown[0], shown[1], outlines.PROPOSAL)
            self._show_outlines()
            self._session.say(
                f"A proposal in {took}: {made.words}. The buttons below the tools accept or drop it.", Kind.GOOD
            )
            self.changed.emit()

    def _failed(self, event: Failed) -> None:
        stopped = self._stopped
        self._release()
        if stopped and stopped is not CANCELLED:  # once more: opening another study has its own words
            self._session.say(stopped, Kind.WARNING)
        else:
            self._session.say(event.message, Kind.INFO if event.cancelled else Kind.ERROR)

    def _release(self) -> None:
        """Nothing is asked for any more."""
        self._request, self._asked, self._stopped = "", None, ""
        self.changed.emit()

    # --- what is asked for

    def _painted(self) -> frozenset[tuple[int, int]]:
        """(axis of the canvas, index) of the slices that the log has strokes in which were not undone; it survives a crash,
        the history does not.
        """
        strokes: Counter[tuple[int, int]] = Counter()
        for s in self._session.steps:
            if s.get("plane") and s.get("index") is not None:
                place = ORDERS[Plane(str(s["plane"]))][0], int(s["index"])
                # the stroke that is undone may have been one of an earlier answer, whose log is gone
                strokes[place] = max(0, strokes[place] + (-1 if s["tool"] == Moved.UNDONE.value else 1))
        return frozenset(place for place, n in strokes.items() if n > 0)

    def _on_labels(self, event: object = None) -> None:
        """The labels are others now: the proposal was made for those that were."""
        made = self.proposal
        if made is not None and (self._context.labels is not made.layer or made.stale):
            self.drop()
        if self._asked is not None and not self._stopped:
            layer, version = self._asked
            if self._context.labels is not layer:
                self._stop("Another study or other labels are open, so propagating was stopped.")
            elif history_of(layer).version != version:
                self._stop(PAINTED)
        self.changed.emit()

    def _stop(self, why: str) -> None:
        """Nothing can come any more of what was asked for: stop it, and say so."""
        if self._request:
            self._stopped = why
            self._context.runner.cancel(self._request)
        else:
            self._release()
        self._session.say(why, Kind.WARNING)

    def _on_job(self) -> None:
        if self._request:
            self.changed.emit()

    def _hide(self) -> None:
        with self._context.own_changes():
            outlines.remove(self._viewer, outlines.PROPOSAL)
        self._show_outlines()

    def _show_outlines(self, event: object = None) -> None:
        outlines.arrange_outlines(self._viewer)
