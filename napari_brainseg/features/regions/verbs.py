"""The regions: the labels layer shows the session's labels, their numbers follow the brush, surfaces show them in 3D."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Modality, Segmentation
from napari_brainseg.display import axes, history, layers, planes, region_layer
from napari_brainseg.display.region_style import RegionView, Scheme, item_labels, item_name
from napari_brainseg.display.replacement import Replacement, replacement
from napari_brainseg.display.surfaces import SurfaceManager
from napari_brainseg.features.context import Context
from napari_brainseg.features.regions.measuring import measure, members_mask, sizes
from napari_brainseg.features.regions.trust import Trust
from napari_brainseg.session import ItemStats, Measures

if TYPE_CHECKING:
    from napari.layers import Labels

QUIET_S = 0.3
"""How long the labels must have been left alone before they are measured."""
STROKE_S = 0.15
"""How long to wait with a result while a brush stroke is open."""
FOLLOW_S = 0.1
"""How often the sizes follow a stroke."""


class RegionVerbs:
    """What the regions section shows and asks for."""

    view_changed = Signal()
    """How regions are shown has changed."""
    sizes_changed = Signal()
    """The sizes are others while someone paints; parts and Dice follow when the brush rests."""

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self._view = RegionView()
        self.trust = Trust(context.session)
        self.surfaces = SurfaceManager(context.viewer, background=lambda work, done: context.run(work, done))
        self._quiet = context.later(QUIET_S, self.measure)
        self._again = context.later(STROKE_S, self.show)
        self._soon = context.later(FOLLOW_S, self.sizes_changed.emit)
        self._lesion = -1  # the one gone to last
        self._arrived = False  # an answer came that has not been gone to
        context.follow(context.session.segmentation_changed, self._on_answer)
        self._drop_colormap: Callable[[], None] = lambda: None
        context.follow(context.session.segmentation_changed, self.show)
        context.follow(context.session.study_changed, self._follow)
        context.follow(context.labels_changed, self._follow)
        context.follow(context.labels_edited, self._on_edit)
        context.follow(context.brush.counted, self._on_count)

    def _on_answer(self) -> None:
        self._lesion, self._arrived = -1, True

    # --- the labels layer

    def show(self) -> None:
        """Bring the labels layer in line with the session's labels, as one step that can be undone."""
        current, segmentation, layer = self._session.study, self._session.segmentation, self._context.labels
        if current is None or segmentation is None:
            self._quiet.start(0)
        elif layer is None:
            with self._context.own_changes():
                layers.add_segmentation(
                    self._viewer, segmentation, study_id=current.study.id, reference=current.study.reference
                )
            self._quiet.start(0)
        else:
            ready = self._context.prepared
            if ready is not None and ready.layer is layer and ready.segmentation is segmentation:
                self._replace(layer, segmentation, ready)
            else:
                done = partial(self._replace, layer, segmentation)
                self._context.run(partial(replacement, layer, segmentation), done)

    def _replace(self, layer: Labels, segmentation: Segmentation, change: Replacement) -> None:
        if self._context.labels is not layer or self._session.segmentation is not segmentation:
            return
        if history.in_stroke(layer):  # the result would join the undo step of the stroke
            self._again.start()
            return
        with self._context.own_changes():
            if change.edit is not None:
                history.apply_edit(layer, *change.edit)
            layers.set_segmentation(layer, segmentation)  # who made it, and what was painted in this very moment
        self._quiet.start(0)

    def _follow(self) -> None:
        """Follow the labels layer of the study that is open, in 3D too."""
        layer = self._context.labels
        self._drop_colormap()
        self._drop_colormap = lambda: None
        if layer is not None:
            if region_layer.region_view(layer) != self._view:
                region_layer.apply_region_view(layer, self._view)
            self._drop_colormap = self._context.follow(layer.events.colormap, self._on_view)
        current = self._session.study
        images = layers.image_layers(self._viewer, current.study.id) if current is not None else {}
        series = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
        self.surfaces.follow(layer, next((images[m] for m in series if m in images), None))

    def _on_edit(self) -> None:
        if not self._context.changing_layers:
            self._session.dirty = True
        self._quiet.start()

    # --- numbers

    def measure(self) -> None:
        """Measure the labels as they are now."""
        current, layer = self._session.study, self._context.labels
        if current is None or layer is None:
            self._session.measures = None
            return

        def work() -> Measures:
            segmentation = layers.segmentation_of(layer)
            return measure(segmentation.labels, segmentation.grid, segmentation.regions, current.truth)

        def done(measures: Measures) -> None:
            if self._session.study is current and self._context.labels is layer:
                self._session.measures = measures
                if self._arrived:
                    self._arrived = False
                    self.visit()

        self._context.run(work, done)

    @property
    def sizes(self) -> dict[str, ItemStats]:
        """Item of the scheme in use → its numbers, sizes as they are in this moment; empty where nothing is measured."""
        measures, brush = self._session.measures, self._context.brush
        info = layers.layer_info(brush.layer) if brush.layer is not None else None
        if measures is None or info is None or brush.layer is not self._context.labels:
            return {}
        return sizes(measures, self._view.scheme, brush.counts, info.grid.voxel_ml)

    def _on_count(self) -> None:
        if not self._soon.active:
            self._soon.start()

    # --- how they are shown

    @property
    def view(self) -> RegionView:
        """How regions are shown."""
        return self._view

    @view.setter
    def view(self, value: RegionView) -> None:
        labels = self._context.labels
        if labels is not None and region_layer.region_view(labels) != value:
            region_layer.apply_region_view(labels, value)
        if value != self._view:
            self._view = value
            self.view_changed.emit()

    def _on_view(self, event: Any = None) -> None:
        if self._context.labels is not None:
            self.view = region_layer.region_view(self._context.labels)

    def change_item(self, item: str, what: dict[str, Any]) -> None:
        """Show one region or class otherwise: ``visible``, ``colour`` or ``opacity``."""
        self.view = self._view.with_item(item, **what)

    def choose_scheme(self, scheme: Scheme | str) -> None:
        """Nested regions, or classes."""
        self.view = self._view.with_scheme(scheme)

    def choose_outline(self, on: bool) -> None:
        """Outlines, or filled areas."""
        self.view = self._view.with_outline(bool(on))

    def toggle_outline(self) -> None:
        """Outlines instead of filled areas, or the other way."""
        if self._context.labels is not None:
            self.choose_outline(not self._view.outline)

    def toggle_visible(self) -> None:
        """Hide the segmentation (its surfaces in 3D), or show it."""
        layer = self._context.labels
        if layer is not None:
            parked = region_layer.PARKED in layer.metadata
            shown = region_layer.region_view(layer).visible if parked else layer.visible
            region_layer.apply_region_view(layer, region_layer.region_view(layer).with_visible(not shown))
            if not parked:
                region_layer.set_visible(layer, not shown)  # also where the eye button had it otherwise than the view

    def visit(self) -> None:
        """Show the slice of the plane shown in which the whole tumour is largest; nothing in 3D, and where there is none."""
        layer = self._context.seen_labels
        if layer is None or self._viewer.dims.ndisplay != 2:
            return
        axis = int(self._viewer.dims.order[0])

        def work() -> NDArray[np.float64] | None:
            mask = np.asarray(layer.data) > 0
            areas = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
            return _world_of(layer, _inside(mask, axis, int(areas.argmax()))) if areas.any() else None

        self._context.run(work, partial(self._go, layer))

    def step_lesion(self, step: int = 1) -> None:
        """Show the next lesion (-1: the one before), from the largest to the smallest; a lesion is a part of the whole tumour
        (26-connected)."""
        from brainseg_engine.core.morphology import components

        layer = self._context.seen_labels
        if layer is None:
            self._session.say("Segment the study, or open a mask, to go from lesion to lesion.")
            return

        def work() -> tuple[NDArray[np.float64], int, int] | None:
            parts, count = components(np.asarray(layer.data) > 0)
            if not count:
                return None
            sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
            order = np.argsort(-sizes, kind="stable")
            place = (self._lesion + step) % count if self._lesion >= 0 else (0 if step > 0 else count - 1)
            mask = parts == order[place] + 1
            axis = int(self._viewer.dims.order[0])
            areas = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
            return _world_of(layer, _inside(mask, axis, int(areas.argmax()))), place, count

        def done(place: tuple[NDArray[np.float64], int, int] | None) -> None:
            if place is None:
                self._session.say("There is no lesion in this segmentation.")
                return
            self._lesion = place[1]
            self._go(layer, place[0])
            self._session.say(f"Lesion {place[1] + 1} of {place[2]}, the largest first.")

        self._context.run(work, done)

    def _go(self, layer: Labels, world: NDArray[np.float64] | None) -> None:
        if world is not None and layer in self._viewer.layers:
            planes.go_to_world(self._viewer, world)

    def jump(self, item: str) -> None:
        """Show the axial slice in which that region or class is largest."""
        from brainseg_engine.scores.volumes import largest_axial_slice

        layer, scheme = self._context.seen_labels, self._view.scheme
        if layer is None:
            return

        def work() -> NDArray[np.float64] | None:
            segmentation = layers.segmentation_of(layer)
            mask = members_mask(segmentation.labels, item_labels(scheme, item))
            largest = largest_axial_slice(mask, segmentation.grid)
            return axes.voxel_to_world(segmentation.grid, _inside(mask, *largest)) if largest is not None else None

        def done(world: NDArray[np.float64] | None) -> None:
            if world is None:
                self._session.say(f"There is no {item_name(scheme, item)} in this segmentation.")
            elif layer in self._viewer.layers:
                planes.set_plane(self._viewer, planes.Plane.AXIAL, at=world)
                planes.go_to_world(self._viewer, world)

        self._context.run(work, done)


def _world_of(layer: Labels, index: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(layer.data_to_world(index), dtype=np.float64)


def _inside(mask: Mask, axis: int, index: int) -> NDArray[Any]:
    """The voxel of the mask's slice that is closest to the slice's centre of mass."""
    flat = np.argwhere(np.take(mask, index, axis=axis))
    nearest = flat[np.argmin(((flat - flat.mean(axis=0)) ** 2).sum(axis=1))]
    return np.insert(nearest, axis, index)
