"""A series read on its own voxels, as it was acquired, with the labels carried onto it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from brainseg_engine.core.study import Modality
from napari_brainseg.display import layers, planes
from napari_brainseg.display.acquired import (
    add_series,
    display_of,
    plane_of_series,
    show_labels,
    step_by_slices,
    voxel_at,
    window_of,
)
from napari_brainseg.features.context import Context
from napari_brainseg.session import Acquired, Kind

if TYPE_CHECKING:
    from napari.layers import Layer

QUIET_S = 0.5
"""The labels are carried over anew when they were left alone for that long."""


class ReadingAsAcquired:
    """Shows one series as acquired. ``shown``: which (None: all are on the grid of 1 mm)."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.shown: Modality | None = None
        self._made: dict[Modality, list[Layer]] = {}
        self._hidden: list[Layer] = []
        self._again = context.later(QUIET_S, self._carry_again)
        context.follow(context.session.segmentation_changed, self._follow_labels)
        context.follow(context.labels_edited, self._follow_labels)
        context.follow(context.viewer.layers.selection.events.active, self._on_active)

    def show(self, series: Modality | None) -> None:
        """Show that series on its own voxels, with the answer carried over; None: all on the grid of 1 mm again."""
        acquired = self._session.aligned_from
        if series is self.shown or (series is not None and (acquired is None or series not in acquired.volumes)):
            return
        here = self._point(acquired)
        self.end()
        if series is None or acquired is None:
            if acquired is not None and here is not None:
                planes.go_to_voxel(self._viewer, acquired.prepared.grid, acquired.prepared.grid.to_index(here))
            self.changed.emit()
            return
        self.shown = series
        self._hide()
        volume, labels = acquired.volumes[series], self._context.labels
        with self._context.own_changes():
            own = [x for x in self._made.get(series, ()) if x in self._viewer.layers]
            if not own:
                name = f"{series.title} as acquired"
                own = [add_series(self._viewer, volume, name, window_of(acquired.prepared.study, series))]
            self._made[series] = own
            own[0].visible = True
            self._viewer.layers.selection.active = own[0]
        planes.set_plane(self._viewer, plane_of_series(volume.grid))
        if here is not None:
            there = acquired.prepared.rigids[series].apply(here)
            planes.go_to_voxel(self._viewer, volume.grid, np.round(volume.grid.to_index(there)))
        step_by_slices(self._viewer, volume.grid)
        if labels is not None:
            self._carry()
        self.changed.emit()

    def _point(self, acquired: Acquired | None) -> np.ndarray | None:
        """What is in the middle of the view, in RAS mm of the reference."""
        if acquired is None or self._viewer.dims.ndim != 3:
            return None
        world = np.array(self._viewer.dims.point)
        if self.shown is None:
            return acquired.prepared.grid.to_world(voxel_at(acquired.prepared.grid, world))
        grid = acquired.volumes[self.shown].grid
        return acquired.prepared.rigids[self.shown].inverse.apply(grid.to_world(voxel_at(grid, world)))

    def _carry(self) -> None:
        """Bring the labels onto the series that is shown."""
        acquired, series, labels = self._session.aligned_from, self.shown, self._context.labels
        if acquired is None or series is None or labels is None:
            return
        answer = self._session.answer
        probabilities = answer.probabilities if answer is not None else None
        segmentation = layers.snapshot(labels)

        def done(view: np.ndarray) -> None:
            if self.shown is series and self._session.aligned_from is acquired:
                with self._context.own_changes():
                    grid, own = acquired.volumes[series].grid, self._made[series]
                    self._made[series] = show_labels(self._viewer, own, view, grid, labels)

        self._context.run(lambda: display_of(acquired.prepared.back(segmentation, series, probabilities)), done)

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

    def end(self) -> None:
        """All on the grid of 1 mm again. The layers are kept, hidden, for the next time: napari takes a second to remove one."""
        if self.shown is None:
            return
        own, self.shown = self._made.get(self.shown, []), None
        hidden, self._hidden = self._hidden, []
        for layer in own:
            layer.visible = False
        for layer in hidden:
            layer.visible = True
        if (acquired := self._session.aligned_from) is not None:
            step_by_slices(self._viewer, acquired.prepared.grid)
        if self._context.labels is not None:
            self._viewer.layers.selection.active = self._context.labels

    def forget(self) -> None:
        """Another study is open, or none: take the layers away."""
        self.shown, self._hidden = None, []
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
