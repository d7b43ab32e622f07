"""A series and the reference in one picture, and the series moved by hand until they lie on each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality
from napari_brainseg.display import planes
from napari_brainseg.display.acquired import window_of
from napari_brainseg.display.axes import axis_order, placement
from napari_brainseg.display.compare import ComparedSeries, CompareLook, Mix
from napari_brainseg.features.context import Context, Newest
from napari_brainseg.session import Acquired

if TYPE_CHECKING:
    from napari.layers import Image

    from brainseg_engine.prepare.nudge import Nudge
    from brainseg_engine.prepare.quality import Quality
    from brainseg_engine.prepare.rigid import Rigid

MARGIN_MM = 20
"""What is shown around the brain: skull and scalp tell most of an alignment."""
BLINK_S, FIGURES_S = 0.8, 0.4


class Comparing:
    """Compares a series with the reference, and moves it.

    ``mix``: how ``series`` is compared (None: it is not); ``where``: the line of the swipe; ``quality``: of the place where the
    series lies now.
    """

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.mix: Mix | None = None
        self.series: Modality | None = None
        self.where = 0.5
        self.quality: Quality | None = None
        self._nudges: dict[Modality, Nudge] = {}
        self._undo: list[dict[Modality, Nudge]] = []
        self._comparison: ComparedSeries | None = None
        self._layer: Image | None = None
        self._measuring = Newest()
        self._blink = context.later(BLINK_S, self._alternate, True)
        self._figures = context.later(FIGURES_S, self._measure)

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

    # --- the picture

    def compare(self, mix: Mix, series: Modality | None = None) -> None:
        """Show the two together in that way: ``series``, else the one that was compared last, else the first."""
        acquired = self._session.aligned_from
        if acquired is None:
            return
        if series is not None and series is not self.series:
            self.end()
            self.series = series
        self.mix = mix
        if self.series not in acquired.others:
            self.series = acquired.others[0]
        if self._layer is None:
            self._begin()
        self._look(second=False)
        (self._blink.start if mix is Mix.ALTERNATE else self._blink.stop)()
        self.changed.emit()

    def swipe(self, where: float) -> None:
        """The line of the swipe (0 left … 1 right)."""
        self.where = min(max(where, 0.0), 1.0)
        self._look()

    def _begin(self) -> None:
        from napari.layers import Image

        acquired, series = self._session.aligned_from, self.series
        if acquired is None or series is None or acquired.reference is None:
            return
        if self._viewer.dims.ndisplay == 3:
            planes.set_3d(self._viewer, False)
        grid = _grid_around(acquired)
        windows = {m: window_of(acquired.prepared.study, m) for m in (acquired.prepared.reference, series)}
        self._comparison = ComparedSeries(
            grid, acquired.reference, acquired.volumes[series], self.rigid(acquired, series), windows
        )
        name = f"{acquired.prepared.reference.title} | {series.title}"
        layer = Image(self._comparison, rgb=True, name=name, **placement(grid))
        with self._context.own_changes():
            labels = self._context.labels
            at = self._viewer.layers.index(labels) if labels is not None else len(self._viewer.layers)
            self._viewer.layers.insert(at, layer)
            if labels is not None:
                self._viewer.layers.selection.active = labels
        self._layer = layer
        self._figures.start(0)

    def end(self) -> None:
        """Take the comparison off the canvas; what was moved stays moved."""
        self._blink.stop()
        self.mix, self.quality, self._comparison = None, None, None
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            with self._context.own_changes():
                self._viewer.layers.remove(layer)

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
        acquired, series = self._session.aligned_from, self.series
        if acquired is not None and series is not None and self._comparison is not None:
            self._comparison.place(self.rigid(acquired, series))
            self._look()
            self._figures.start()
        self.changed.emit()

    def rigid(self, acquired: Acquired, series: Modality) -> Rigid:
        """Where the reference's points lie in the series, with what was moved by hand."""
        rigid, nudge = acquired.prepared.rigids[series], self._nudges.get(series)
        if nudge is None or nudge.nothing:
            return rigid
        grid = acquired.prepared.grid
        return nudge.applied(rigid, grid.to_world((np.array(grid.shape) - 1) / 2), patient_axes(grid))

    def _measure(self) -> None:
        """The figures of the place where the series lies now."""
        acquired, series = self._session.aligned_from, self.series
        if acquired is None or series is None or acquired.reference is None or self.mix is None:
            return
        reference, volume, rigid = acquired.reference, acquired.volumes[series], self.rigid(acquired, series)

        def work() -> Quality:
            from brainseg_engine.prepare import quality

            return quality.measure(volume, reference, rigid)

        def done(quality: Quality) -> None:
            if self.mix is not None:
                self.quality = quality
                self.changed.emit()

        self._context.run(work, done, current=self._measuring.next())

    def forget(self) -> None:
        """Another study is open, or none: nothing is compared, and nothing moved."""
        self._nudges, self._undo, self.series = {}, [], None
        self.end()


def _grid_around(acquired: Acquired) -> Grid:
    """That of 1 mm, with some of the head around the brain."""
    n = (MARGIN_MM,) * 3
    x, y, z = acquired.prepared.grid.shape
    return acquired.prepared.grid.crop((-n[0], -n[1], -n[2]), (x + 2 * n[0], y + 2 * n[1], z + 2 * n[2]))


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
