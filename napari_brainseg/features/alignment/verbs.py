"""Do the series lie on each other, and how does the answer look on the series as they were acquired?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality
from napari_brainseg.display import acquired, layers, planes
from napari_brainseg.display.axes import axis_order, placement
from napari_brainseg.display.compare import ComparedSeries, CompareLook, Mix
from napari_brainseg.display.windows import Window, brain_window
from napari_brainseg.features.context import Context
from napari_brainseg.session import Acquired, Kind, Placing

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from brainseg_engine.prepare.nudge import Nudge
    from brainseg_engine.prepare.quality import Quality
    from brainseg_engine.prepare.rigid import Rigid

MARGIN_MM = 20
"""What is shown around the brain: skull and scalp tell most of an alignment."""
BLINK_S, FIGURES_S, QUIET_S = 0.8, 0.4, 0.5


class AlignmentVerbs:
    """What the alignment section asks for. ``changed``: there is something else to show.

    ``shown``: the series that is read as acquired (None: all on the grid of 1 mm). ``mix``: how ``series`` is compared with
    the reference (None: it is not). ``quality``: of the place where it lies now.
    """

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.shown: Modality | None = None
        self.mix: Mix | None = None
        self.series: Modality | None = None
        self.where = 0.5
        self.quality: Quality | None = None
        self._nudges: dict[Modality, Nudge] = {}
        self._undo: list[dict[Modality, Nudge]] = []
        self._comparison: ComparedSeries | None = None
        self._layer: Image | None = None
        self._made: dict[Modality, list[Layer]] = {}
        self._hidden: list[Layer] = []
        self._token = ""
        self._asked = object()
        self._blink = context.later(BLINK_S, self._alternate, True)
        self._figures = context.later(FIGURES_S, self._measure)
        self._again = context.later(QUIET_S, self._carry_again)
        context.follow(context.session.study_changed, self._follow)
        context.follow(context.session.segmentation_changed, self._follow_labels)
        context.follow(context.labels_edited, self._follow_labels)
        context.follow(context.viewer.layers.selection.events.active, self._on_active)
        context.follow(context.viewer.dims.events.ndisplay, self._on_dimensions)

    # --- what there is

    @property
    def acquired(self) -> Acquired | None:
        """What the open study was prepared from, where its series are at hand."""
        study = self._session.study
        found = study.acquired if study is not None else None
        return found if found is not None and not found.prepared.untouched and found.reference is not None else None

    @property
    def others(self) -> tuple[Modality, ...]:
        """The series that can be compared with the reference."""
        found = self.acquired
        return () if found is None else tuple(m for m in found.volumes if m is not found.prepared.reference)

    @property
    def nudge(self) -> Nudge:
        """How far the series compared is moved by hand."""
        from brainseg_engine.prepare.nudge import Nudge

        return self._nudges.get(self.series, Nudge()) if self.series is not None else Nudge()

    @property
    def moved(self) -> tuple[Modality, ...]:
        """The series that are moved by hand."""
        return tuple(m for m, n in self._nudges.items() if not n.nothing)

    @property
    def can_undo(self) -> bool:
        """True where something was moved."""
        return bool(self._undo)

    # --- comparing

    def check(self, mix: Mix | None) -> None:
        """Show the series and the reference together in that way; None ends it."""
        if mix is None or not self.others:
            self._end_check()
            self.changed.emit()
            return
        self.show(None)
        self.mix = mix
        if self.series not in self.others:
            self.series = self.others[0]
        if self._layer is None:
            self._begin_check()
        self._look(second=False)
        (self._blink.start if mix is Mix.ALTERNATE else self._blink.stop)()
        self.changed.emit()

    def choose(self, series: Modality) -> None:
        """Compare that series."""
        if series in self.others and series is not self.series:
            self.series, mix = series, self.mix
            self._end_check()
            self.check(mix or Mix.SWIPE)

    def swipe(self, where: float) -> None:
        """The line of the swipe (0 left … 1 right)."""
        self.where = min(max(where, 0.0), 1.0)
        self._look()

    def _begin_check(self) -> None:
        from napari.layers import Image

        found, series = self.acquired, self.series
        if found is None or series is None or found.reference is None:
            return
        if self._viewer.dims.ndisplay == 3:
            planes.set_3d(self._viewer, False)
        grid = self._grid(found)
        windows = {m: _window(found, m) for m in (found.prepared.reference, series)}
        self._comparison = ComparedSeries(
            grid, found.reference, found.volumes[series], self._rigid(found, series), windows
        )
        name = f"{found.prepared.reference.title} | {series.title}"
        layer = Image(self._comparison, rgb=True, name=name, **placement(grid))
        with self._context.own_changes():
            labels = self._context.labels
            at = self._viewer.layers.index(labels) if labels is not None else len(self._viewer.layers)
            self._viewer.layers.insert(at, layer)
            if labels is not None:
                self._viewer.layers.selection.active = labels
        self._layer = layer
        self._figures.start(0)

    def _end_check(self) -> None:
        self._blink.stop()
        self.mix, self.quality, self._comparison = None, None, None
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            with self._context.own_changes():
                self._viewer.layers.remove(layer)

    @staticmethod
    def _grid(found: Acquired) -> Grid:
        """That of 1 mm, with some of the head around the brain."""
        n = (MARGIN_MM,) * 3
        x, y, z = found.prepared.grid.shape
        return found.prepared.grid.crop((-n[0], -n[1], -n[2]), (x + 2 * n[0], y + 2 * n[1], z + 2 * n[2]))

    def _look(self, second: bool | None = None) -> None:
        comparison, layer = self._comparison, self._layer
        if comparison is None or layer is None or self.mix is None:
            return
        turn = comparison.look.second if second is None else second
        comparison.look = CompareLook(self.mix, self.where, turn)
        layer.refresh(extent=False, thumbnail=False, highlight=False)

    def _alternate(self) -> None:
        if self._comparison is not None:
            self._look(second=not self._comparison.look.second)

    # --- moving by hand

    def move(self, nudge: Nudge) -> None:
        """Move the series that is compared so far, from where it was aligned; Undo takes it back."""
        if self.series is None or nudge == self.nudge:
            return
        self._undo.append(dict(self._nudges))
        self._nudges[self.series] = nudge
        self._place()

    def undo(self) -> None:
        """As it was before the last movement."""
        if self._undo:
            self._nudges = self._undo.pop()
            self._place()

    def _place(self) -> None:
        found, series = self.acquired, self.series
        if found is not None and series is not None and self._comparison is not None:
            self._comparison.place(self._rigid(found, series))
            self._look()
            self._figures.start()
        self.changed.emit()

    def _rigid(self, found: Acquired, series: Modality) -> Rigid:
        """Where the reference's points lie in the series, with what was moved by hand."""
        rigid, nudge = found.prepared.rigids[series], self._nudges.get(series)
        if nudge is None or nudge.nothing:
            return rigid
        grid = found.prepared.grid
        return nudge.applied(rigid, grid.to_world((np.array(grid.shape) - 1) / 2), patient_axes(grid))

    def _measure(self) -> None:
        """The figures of the place where the series lies now."""
        found, series = self.acquired, self.series
        if found is None or series is None or found.reference is None or self.mix is None:
            return
        reference, volume, rigid = found.reference, found.volumes[series], self._rigid(found, series)

        def work() -> Quality:
            from brainseg_engine.prepare import quality

            return quality.measure(volume, reference, rigid)

        self._asked = asked = object()

        def done(quality: Quality) -> None:
            if self._asked is asked and self.mix is not None:
                self.quality = quality
                self.changed.emit()

        self._context.run(work, done)

    # --- using it

    def use(self) -> None:
        """Prepare the study with the series where they were moved to."""
        self._ask(registered=None)

    def register(self) -> None:
        """Register the series that is compared anew, beginning where it lies now."""
        self._ask(registered=self.series)

    def _ask(self, registered: Modality | None) -> None:
        found = self.acquired
        if found is None or self._session.job is not None:
            return
        rigids = {m: self._rigid(found, m).matrix for m in self.others}
        placed = {m: matrix for m, matrix in rigids.items() if m is not registered}
        starts = {registered: rigids[registered]} if registered is not None else {}
        self.check(None)
        self._session.placing_requested.emit(Placing(placed, starts))

    # --- reading on the series as acquired

    def show(self, series: Modality | None) -> None:
        """Show that series on its own voxels, with the answer carried over; None: all on the grid of 1 mm again."""
        found = self.acquired
        if series is self.shown or (series is not None and (found is None or series not in found.volumes)):
            return
        here = self._point(found)
        self._end_shown()
        if series is None or found is None:
            if found is not None and here is not None:
                planes.go_to_voxel(self._viewer, found.prepared.grid, found.prepared.grid.to_index(here))
            self.changed.emit()
            return
        self._end_check()
        self.shown = series
        self._hide()
        volume, labels = found.volumes[series], self._context.labels
        with self._context.own_changes():
            own = [x for x in self._made.get(series, ()) if x in self._viewer.layers]
            if not own:
                name = f"{series.title} as acquired"
                own = [acquired.add_series(self._viewer, volume, name, _window(found, series))]
            self._made[series] = own
            own[0].visible = True
            self._viewer.layers.selection.active = own[0]
        planes.set_plane(self._viewer, acquired.plane_of_series(volume.grid))
        if here is not None:
            there = found.prepared.rigids[series].apply(here)
            planes.go_to_voxel(self._viewer, volume.grid, np.round(volume.grid.to_index(there)))
        acquired.step_by_slices(self._viewer, volume.grid)
        if labels is not None:
            self._carry()
        self.changed.emit()

    def _point(self, found: Acquired | None) -> np.ndarray | None:
        """What is in the middle of the view, in RAS mm of the reference."""
        if found is None or self._viewer.dims.ndim != 3:
            return None
        world = np.array(self._viewer.dims.point)
        if self.shown is None:
            return found.prepared.grid.to_world(acquired.voxel_at(found.prepared.grid, world))
        grid = found.volumes[self.shown].grid
        return found.prepared.rigids[self.shown].inverse.apply(grid.to_world(acquired.voxel_at(grid, world)))

    def _carry(self) -> None:
        """Bring the labels onto the series that is shown."""
        found, series, labels = self.acquired, self.shown, self._context.labels
        if found is None or series is None or labels is None:
            return
        answer = self._session.answer
        probabilities = answer.probabilities if answer is not None else None
        segmentation = layers.snapshot(labels)

        def done(view: np.ndarray) -> None:
            if self.shown is series and self.acquired is found:
                with self._context.own_changes():
                    grid, own = found.volumes[series].grid, self._made[series]
                    self._made[series] = acquired.show_labels(self._viewer, own, view, grid, labels)

        self._context.run(lambda: acquired.display_of(found.prepared.back(segmentation, series, probabilities)), done)

    def _carry_again(self) -> None:
        if self.shown is not None:
            self._hide()
            self._carry()

    def _hide(self) -> None:
        """Hide the layers of the study; which were seen is known for later."""
        current = self._session.study
        for layer in self._viewer.layers if current is not None else ():
            if layers.layer_study_id(layer) == current.study.id and layer.visible:  # type: ignore[union-attr]
                self._hidden.append(layer)
                layer.visible = False

    def _end_shown(self) -> None:
        """The layers are kept, hidden, for the next time: napari takes a second to remove one."""
        if self.shown is None:
            return
        own, self.shown = self._made.get(self.shown, []), None
        hidden, self._hidden = self._hidden, []
        for layer in own:
            layer.visible = False
        for layer in hidden:
            layer.visible = True
        if (found := self.acquired) is not None:
            acquired.step_by_slices(self._viewer, found.prepared.grid)
        if self._context.labels is not None:
            self._viewer.layers.selection.active = self._context.labels

    # --- what happens elsewhere

    def _follow(self) -> None:
        """Another study is open, or none."""
        current = self._session.study
        token = current.token if current is not None else ""
        if token != self._token:
            self._token, self._nudges, self._undo, self.series = token, {}, [], None
            self._hidden = []
            self._end_check()
            self._remove_made()
        self.changed.emit()

    def _remove_made(self) -> None:
        self.shown = None
        made, self._made = [x for own in self._made.values() for x in own], {}
        with self._context.own_changes():
            for layer in made:
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)

    def _follow_labels(self) -> None:
        if self.shown is not None:
            self._again.start()

    def _on_active(self, event: object = None) -> None:
        """Who takes a tool paints on the grid of 1 mm: its labels are the active layer then."""
        labels = self._context.labels
        if self.shown is None or self._context.changing_layers or labels is None:
            return
        if self._viewer.layers.selection.active is labels:
            self.show(None)
            self._session.say(
                "Painting is done on the aligned images; the mask is carried back when it is saved.", Kind.INFO
            )

    def _on_dimensions(self, event: object = None) -> None:
        if self._viewer.dims.ndisplay == 3 and (self.mix is not None or self.shown is not None):
            self._end_check()
            self._end_shown()
            self.changed.emit()

    def close(self) -> None:
        """Take what was added off the canvas."""
        steps: tuple[Callable[[], None], ...] = (self._end_check, self._end_shown, self._remove_made)
        for step in steps:
            step()


def _window(found: Acquired, series: Modality) -> Window:
    """From black to white as the brain alone says: a bright scalp would leave it dark."""
    return brain_window(found.prepared.study.volumes[series].data, modality=series)


def patient_axes(grid: Grid) -> np.ndarray:
    """The axes of the grid that run most to the patient's left, back and head, as unit columns (3, 3) in RAS."""
    order = axis_order(grid.affine)
    columns = []
    for axis, k, sign in ((0, order[2], -1.0), (1, order[1], -1.0), (2, order[0], 1.0)):
        direction = grid.affine[:3, k] / np.linalg.norm(grid.affine[:3, k])
        columns.append(direction * sign * np.sign(direction[axis]))
    return np.stack(columns, axis=1)


def changed_by(nudge: Nudge, what: str, axis: int, value: float) -> Nudge:
    """The same movement with another number in one of its six places (``what``: "shift_mm" or "turn_deg")."""
    numbers = list(getattr(nudge, what))
    numbers[axis] = value
    return replace(nudge, **{what: tuple(numbers)})
