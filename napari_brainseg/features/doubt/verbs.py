"""Where to look next: the model's doubt, the next doubtful slice, and what was changed since its answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.core.study import Segmentation
from napari_brainseg.display import outlines, planes, region_layer
from napari_brainseg.display.axes import voxel_to_world
from napari_brainseg.features.context import Context
from napari_brainseg.jobs import DoubtMap, DoubtRequest
from napari_brainseg.session import Answer, Kind, OpenStudy

if TYPE_CHECKING:
    from napari.layers import Labels
    from numpy.typing import NDArray

LOOKING = "looking for doubt"
QUIET_S = 0.3
"""How long the labels must have been left alone before the outlines of the changes follow."""


class DoubtVerbs:
    """What the buttons of the doubt row mean. ``changed``: there is something else to show."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self._map: DoubtMap | None = None
        self._token = ""
        self._comparing = self._again = False
        self._then = 0  # a step from changed slice to changed slice that waits until they are known
        self._quiet = context.later(QUIET_S, self.compare)
        context.follow(self._session.study_changed, self._forget)
        context.follow(self._session.segmentation_changed, self.compare)
        context.follow(context.labels_edited, self._on_edit)
        context.follow(self._viewer.dims.events.ndisplay, self._on_ndisplay, position="first")

    # --- the doubt

    @property
    def known(self) -> bool:
        """True when the doubt about the open study has been computed."""
        return self._map is not None

    @property
    def doubt_shown(self) -> bool:
        """True while the map lies over the images."""
        layer = outlines.beside(self._viewer, outlines.DOUBT)
        return layer is not None and (layer.visible or region_layer.PARKED in layer.metadata)

    def toggle_doubt(self) -> None:
        """Show or hide the map; compute it where it is not there yet."""
        layer = outlines.beside(self._viewer, outlines.DOUBT)
        if layer is not None:
            layer.visible = not layer.visible
            self.changed.emit()
        elif self._map is not None:
            self._show()
        else:
            self.compute()

    def compute(self) -> None:
        """Find out where the model doubts the open study: at once from what *Segment* found, where that is at hand; else the
        worker looks.
        """
        model, current, session = self._session.model, self._session.study, self._session
        several = [a for a in session.answers.values() if a.probabilities is not None and a.file is not None]
        if len(several) > 1:
            self._compute_between(several)
            return
        if current is not None and self._at_once(current):
            return
        if current is None or model is None or session.blocker:
            session.say(session.blocker, Kind.WARNING)
            return
        if session.job is not None:
            session.say("The doubt can be computed when the running job is done.", Kind.WARNING)
            return
        session.say("")
        request = DoubtRequest(current.study, current.token, model.path, session.device)
        done = partial(self._computed, request)
        self._context.submit(request, done, stage=LOOKING, stages={"segmenting": LOOKING})

    def _compute_between(self, answers: Sequence[Answer]) -> None:
        """Where several models that have answered disagree or doubt: the entropy of their mean."""
        current = self._session.study

        def work() -> DoubtMap:
            from brainseg_engine.inference import uncertainty
            from brainseg_engine.inference.calibrated import calibrated

            mean = uncertainty.mean(
                [calibrated(a.probabilities, a.scaling) for a in answers if a.probabilities is not None]
            )
            bits = uncertainty.entropy(mean)
            shown = answers[-1].segmentation
            tumour = int(np.count_nonzero(region_mask(shown.labels, Region.WT)))
            return DoubtMap(bits, uncertainty.score(bits, tumour, shown.grid).to_dict())

        def done(doubt: DoubtMap) -> None:
            if current is None or self._session.study is not current:
                return
            self._map, self._token = doubt, current.token
            self._show()
            self._session.say(
                f"{len(answers)} models together doubt {doubt.score['doubted_ml']:.1f} mL (score {doubt.score['score']:.2f}). "
                "J goes to the next doubtful slice.",
                Kind.GOOD,
            )

        self._context.run(work, done)

    def _at_once(self, current: OpenStudy) -> bool:
        """From the probabilities of the answer; False where there are none of this model."""
        answer, model = self._session.answer, self._session.model
        if answer is None or model is None or not answer.probabilities or answer.file != model.path:
            return False
        from brainseg_engine.inference import uncertainty
        from brainseg_engine.inference.calibrated import calibrated

        probabilities, scaling, labels = answer.probabilities, answer.scaling, answer.origin.labels
        grid = answer.origin.grid

        def work() -> DoubtMap:
            found = uncertainty.entropy(calibrated(probabilities, scaling))
            tumour = int(np.count_nonzero(region_mask(labels, Region.WT)))
            return DoubtMap(found, uncertainty.score(found, tumour, grid).to_dict())

        self._context.run(work, partial(self._computed, current))
        return True

    def _computed(self, request: DoubtRequest | OpenStudy, outcome: DoubtMap) -> None:
        current = self._session.study
        if current is None or current.token != request.token:
            return
        self._map, self._token = outcome, request.token
        self._show()
        score = outcome.score
        self._session.say(
            f"The model doubts {score['doubted_ml']:.1f} mL of {request.study.id} (score {score['score']:.2f}). "
            "J goes to the next doubtful slice.",
            Kind.GOOD,
        )

    def _show(self) -> None:
        current = self._session.study
        if current is not None and self._map is not None:
            with self._context.own_changes():
                outlines.show_doubt(self._viewer, self._map.map, current.study.reference.grid, current.study.id)
            self.changed.emit()

    def next_slice(self, step: int = 1) -> None:
        """Go to the next doubtful slice of the plane shown, the most doubtful first (-1: back)."""
        from brainseg_engine.inference.uncertainty import doubtful_slices, profile

        current = self._session.study
        if current is None or self._map is None:
            self.compute()
            return
        grid, map = current.study.reference.grid, self._map.map
        axis, here = outlines.slice_shown(self._viewer, grid)

        def work() -> tuple[NDArray[np.float64], int, int] | None:
            order = doubtful_slices(profile(map, axis))
            if not order:
                return None
            place = (order.index(here) + step) % len(order) if here in order else 0
            return voxel_to_world(grid, outlines.middle_of(map, axis, order[place])), place, len(order)

        def done(place: tuple[NDArray[np.float64], int, int] | None) -> None:
            if place is None:
                self._session.say("The model doubts no slice of this study.")
            elif self._session.study is current:
                self._context.show_aligned()
                planes.go_to_world(self._viewer, place[0])
                self._session.say(f"Doubtful slice {place[1] + 1} of {place[2]}.")

        self._context.run(work, done)

    def _forget(self) -> None:
        current = self._session.study
        if current is None or current.token != self._token:
            self._map, self._token = None, ""
            with self._context.own_changes():
                for kind in (outlines.DOUBT, outlines.CHANGES):
                    outlines.remove(self._viewer, kind)
        self.changed.emit()

    # --- the changes

    @property
    def _origin(self) -> Segmentation | None:
        return self._session.answer.origin if self._session.answer is not None else None

    def _on_edit(self) -> None:
        if self.changes_shown:
            self._quiet.start()

    @property
    def changes_shown(self) -> bool:
        """True while the outlines of the changes are shown."""
        return outlines.beside(self._viewer, outlines.CHANGES) is not None

    def toggle_changes(self) -> None:
        """Show or hide what was changed since the answer, as outlines that follow the brush."""
        if self.changes_shown:
            with self._context.own_changes():
                outlines.remove(self._viewer, outlines.CHANGES)
            self.changed.emit()
        elif self._context.labels is None or self._session.answer is None:
            self._session.say("There is no answer to compare with yet: segment the study.", Kind.WARNING)
        else:
            self._compare(first=True)

    def next_changed(self, step: int = 1) -> None:
        """Go to the next slice of the plane shown in which something is proposed, else was changed (-1: back)."""
        layer = outlines.beside(self._viewer, outlines.PROPOSAL) or outlines.beside(self._viewer, outlines.CHANGES)
        if layer is None:
            self._then = step if self._context.labels is not None and self._session.answer is not None else 0
            self.toggle_changes()
            return
        axis = int(self._viewer.dims.order[0]) if self._viewer.dims.ndisplay == 2 else 0
        areas = np.count_nonzero(layer.data, axis=tuple(a for a in range(3) if a != axis))
        held = np.flatnonzero(areas)
        if not len(held):
            self._session.say("Nothing was changed.")
            return
        here = round(float(np.asarray(layer.world_to_data(self._viewer.dims.point))[axis]))
        beyond = held[held > here] if step > 0 else held[held < here][::-1]
        to = int(beyond[0]) if len(beyond) else int(held[0] if step > 0 else held[-1])
        flat = np.argwhere(np.take(layer.data, to, axis=axis))
        index = np.insert(flat[len(flat) // 2], axis, to)
        self._context.show_aligned()
        planes.go_to_world(self._viewer, np.asarray(layer.data_to_world(index), dtype=np.float64))
        self._session.say(f"Changed slice {int(np.searchsorted(held, to)) + 1} of {len(held)}.")

    def compare(self) -> None:
        """The labels changed: draw the outlines anew, where they are shown."""
        if self.changes_shown:
            self._compare()

    def _compare(self, first: bool = False) -> None:
        layer, answer = self._context.labels, self._origin
        if layer is None or answer is None:
            return
        if self._comparing:
            self._again = True
            return
        self._comparing = True
        work = partial(outlines.compare, layer.data, answer.labels, answer.grid)
        done = partial(self._compared, layer, first)
        self._context.run(work, done, self._lost)

    def _compared(self, layer: Labels, first: bool, changes: Any) -> None:
        self._comparing = False
        answer, old = self._origin, outlines.beside(self._viewer, outlines.CHANGES)
        if self._context.labels is not layer or answer is None:
            return
        if old is not None and old.data.shape == changes.shape:
            outlines.refresh_changes(old, changes)
        elif first:
            with self._context.own_changes():
                outlines.show_changes(self._viewer, changes, answer.grid)
            outlines.arrange_outlines(self._viewer)
            self.changed.emit()
        then, self._then = self._then, 0
        if then:
            self.next_changed(then)
        if self._again:
            self._again = False
            self._compare()

    def _on_ndisplay(self, event: object = None) -> None:
        outlines.arrange_outlines(self._viewer)

    def _lost(self, error: Exception) -> None:
        self._comparing = False
        self._context.fail(error)
