"""A series read on its own voxels, as it was acquired, with the labels carried onto it, and painted there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from brainseg_engine.core.study import Modality
from napari_brainseg.display import layers, planes
from napari_brainseg.display.acquired import (
    add_series,
    plane_of_series,
    show_labels,
    step_by_slices,
    voxel_at,
    window_of,
)
from napari_brainseg.display.history import in_stroke
from napari_brainseg.display.region_layer import PARKED, apply_region_view, region_view, set_visible
from napari_brainseg.display.tools import Tool
from napari_brainseg.features.alignment.painting import CarriedView, PaintingAsAcquired
from napari_brainseg.features.context import Context
from napari_brainseg.session import Acquired

if TYPE_CHECKING:
    from napari.layers import Layer

QUIET_S = 0.5
"""The labels are carried over anew when they were left alone for that long."""


class ReadingAsAcquired:
    """Shows one series as acquired; what is painted there counts. ``shown``: which (None: all are on the grid of 1 mm)."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.shown: Modality | None = None
        self.painting = PaintingAsAcquired(context)
        self._made: dict[Modality, list[Layer]] = {}
        self._hidden: list[Layer] = []
        self._tool: Tool | None = None
        self._leave_images: list[Callable[[], None]] = []
        self._leave_look: Callable[[], None] = lambda: None
        self._again = context.later(QUIET_S, self._carry_again)
        context.follow(context.session.segmentation_changed, self._follow_labels)
        context.follow(context.labels_edited, self._follow_labels)
        context.follow(context.labels_changed, self._follow_look)
        context.follow(context.aligned_wanted, lambda: self.show(None))
        context.follow(context.viewer.layers.selection.events.active, self._on_active)

    def show(self, series: Modality | None) -> None:
        """Show that series on its own voxels, with the answer carried over; None: all on the grid of 1 mm again."""
        acquired = self._session.aligned_from
        if series is self.shown or (series is not None and (acquired is None or series not in acquired.volumes)):
            return
        here, self._tool = (
            self._point(acquired),
            self._context.brush.tool,
        )  # napari takes it from a layer that is hidden
        self.end()
        if series is None or acquired is None:
            if acquired is not None and here is not None:
                planes.go_to_voxel(self._viewer, acquired.prepared.grid, acquired.prepared.grid.to_index(here))
            self.changed.emit()
            return
        self.shown = series
        self._hide()
        volume = acquired.volumes[series]
        with self._context.own_changes():
            own = [x for x in self._made.get(series, ()) if x in self._viewer.layers]
            if not own:
                name = f"{series.title} as acquired"
                own = [add_series(self._viewer, volume, name, window_of(acquired.prepared.study, series))]
            self._made[series] = own
            own[0].visible = True
            self._viewer.layers.selection.active = own[0]
        self._context.read_as_acquired = (series, own[0])
        self._follow_images(acquired)
        planes.set_plane(self._viewer, plane_of_series(volume.grid))
        if here is not None:
            there = acquired.prepared.rigids[series].apply(here)
            planes.go_to_voxel(self._viewer, volume.grid, np.round(volume.grid.to_index(there)))
        step_by_slices(self._viewer, volume.grid)
        self._carry_again()
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

    def _carry_again(self) -> None:
        """The labels over the series that is shown are those of the study as they are now."""
        acquired, series = self._session.aligned_from, self.shown
        if acquired is None or series is None:
            return
        self._hide()
        own = self._made[series]
        if len(own) > 1 and self.painting.up_to_date(series):
            set_visible(own[1], region_view(self._context.labels).visible)
            self._paint_on(acquired, series)
            return
        work = self.painting.carrying(acquired, series)
        if work is None:
            self.painting.end()
            for layer in own[1:]:
                set_visible(layer, False)
        else:
            self._context.run(work, lambda carried: self._carried(acquired, series, carried))

    def _carried(self, acquired: Acquired, series: Modality, carried: CarriedView) -> None:
        labels = self._context.labels
        if self.shown is not series or self._session.aligned_from is not acquired or labels is None:
            return
        own = self._made[series]
        painting = any(in_stroke(x) for x in own[1:])
        if carried.version != self.painting.version or painting:  # something was painted meanwhile, and is not in there
            self._again.start()
            return
        with self._context.own_changes():
            image, layer = show_labels(self._viewer, own, carried.view, acquired.volumes[series], labels)
        self._made[series] = [image, layer]
        self.painting.show(series, layer, carried)
        self._paint_on(acquired, series)

    def _paint_on(self, acquired: Acquired, series: Modality) -> None:
        with self._context.own_changes():
            self._viewer.layers.selection.active = self._made[series][1]
            self.painting.begin(acquired, series, self._tool)

    def _hide(self) -> None:
        """Hide the layers of the study; which were seen is known for later, and of its labels their view tells it."""
        current, labels = self._session.study, self._context.labels
        with self._context.own_changes():
            for layer in self._viewer.layers if current is not None else ():
                if layers.layer_study_id(layer) == current.study.id and layer.visible:  # type: ignore[union-attr]
                    if layer is not labels:
                        self._hidden.append(layer)
                    layer.visible = False
        if labels is not None:
            labels.metadata[PARKED] = True

    def _unhide(self) -> None:
        hidden, self._hidden = self._hidden, []
        with self._context.own_changes():
            for layer in hidden:
                layer.visible = True
        labels = self._context.labels
        if labels is not None and labels.metadata.pop(PARKED, False):
            set_visible(labels, region_view(labels).visible)

    def _follow_images(self, acquired: Acquired) -> None:
        """Who has a series of the study shown, by a button or a key, has it shown as acquired, too."""
        images = layers.image_layers(self._viewer, acquired.prepared.study.id)

        def follow(series: Modality, layer: Layer) -> Callable[[], None]:
            def shown(event: object = None) -> None:
                if layer.visible and not self._context.changing_layers:
                    self._hidden = [x for x in self._hidden if x not in images.values()] + [layer]
                    self.show(series)
                    self._hide()

            return self._context.follow(layer.events.visible, shown)

        self._leave_images = [follow(series, layer) for series, layer in images.items()]

    def end(self) -> None:
        """All on the grid of 1 mm again. The layers are kept, hidden, for the next time: napari takes a second to remove one."""
        if self.shown is None:
            return
        own, self.shown = self._made.get(self.shown, []), None
        self._context.read_as_acquired = None
        for leave in self._leave_images:
            leave()
        self._unhide()
        with self._context.own_changes():
            self.painting.end()
        for layer in own:
            layer.visible = False
        if (acquired := self._session.aligned_from) is not None:
            step_by_slices(self._viewer, acquired.prepared.grid)
        if self._context.labels is not None:
            self._viewer.layers.selection.active = self._context.labels

    def forget(self) -> None:
        """Another study is open, or none: take the layers away."""
        self.shown, self._hidden, self._context.read_as_acquired = None, [], None
        for leave in self._leave_images:
            leave()
        self.painting.forget()
        made, self._made = [x for own in self._made.values() for x in own], {}
        with self._context.own_changes():
            for layer in made:
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)

    def _follow_labels(self) -> None:
        if self.shown is not None:
            self._again.start()

    def _follow_look(self) -> None:
        """Other labels are open: the labels over the series are shown as those."""
        labels = self._context.labels
        self._leave_look()
        self._leave_look = (
            self._context.follow(labels.events.colormap, self._on_look) if labels is not None else lambda: None
        )

    def _on_look(self, event: object = None) -> None:
        """The regions are shown otherwise: so are those over the series."""
        labels, own = self._context.labels, self._made.get(self.shown, []) if self.shown is not None else []
        if labels is not None and len(own) > 1:
            apply_region_view(own[1], region_view(labels))

    def _on_active(self, event: object = None) -> None:
        """Who takes the labels of the study in hand means the grid of 1 mm."""
        labels = self._context.labels
        if self.shown is None or self._context.changing_layers or labels is None:
            return
        if self._viewer.layers.selection.active is labels:
            self.show(None)
