"""The labels: showing, measuring, going to a region, saving."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask
from napari_brainseg.display import axes, history, layers, planes, region_layer
from napari_brainseg.display.region_style import RegionView, item_labels, item_name
from napari_brainseg.features.context import Base
from napari_brainseg.features.regions.measuring import measure, members_mask, report
from napari_brainseg.features.replacing import Change, prepare
from napari_brainseg.features.study import reading
from napari_brainseg.session import Kind, Measures


class Labelling(Base):
    """The verbs of the regions and save sections."""

    def show_segmentation(self, shown: Callable[[bool], None] = lambda _: None) -> None:
        """Bring the labels layer in line with the session's segmentation, as one step that can be undone.

        ``shown(True)`` follows when it is; ``shown(False)`` when a brush stroke was open, whose undo step the result would
        have joined: ask again a moment later.
        """
        current, segmentation, layer = self.session.study, self.session.segmentation, self.labels
        if current is None or segmentation is None:
            shown(True)
        elif layer is None:
            reference = current.study.reference
            with self._changing_layers():
                layer = layers.add_segmentation(
                    self.viewer, segmentation, study_id=current.study.id, reference=reference
                )
                if self._view != region_layer.region_view(layer):
                    region_layer.apply_region_view(layer, self._view)
            shown(True)
        else:

            def apply(change: Change) -> None:
                if self.labels is not layer or self.session.segmentation is not segmentation:
                    return
                if history.in_stroke(layer):
                    shown(False)
                    return
                with self._changing_layers():
                    if change.edit is not None:
                        history.apply_edit(layer, *change.edit)
                    layers.set_segmentation(
                        layer, segmentation
                    )  # who made it, and what was painted in this very moment
                shown(True)

            ready, self._ready = self._ready, None
            if ready is not None and ready.layer is layer and ready.segmentation is segmentation:
                apply(ready)
            else:
                self._background(partial(prepare, layer, segmentation), apply, self._failed)

    def measure(self) -> None:
        """Measure the labels as they are now."""
        current, layer = self.session.study, self.labels
        if current is None or layer is None:
            self.session.measures = None
            return

        def work() -> Measures:
            segmentation = layers.segmentation_of(layer)
            return measure(segmentation.labels, segmentation.grid, segmentation.regions, current.truth)

        def done(measures: Measures) -> None:
            if self.session.study is current and self.labels is layer:
                self.session.measures = measures

        self._background(work, done, self._failed)

    @property
    def view(self) -> RegionView:
        """How regions are shown."""
        return self._view

    @view.setter
    def view(self, value: RegionView) -> None:
        if self.labels is not None and region_layer.region_view(self.labels) != value:
            region_layer.apply_region_view(self.labels, value)
        if value != self._view:
            self._view = value
            self.view_changed.emit()

    def jump(self, item: str) -> None:
        """Show the axial slice in which that region or class is largest."""
        from brainseg_engine.scores.volumes import largest_axial_slice

        layer, scheme = self.labels, self._view.scheme
        if layer is None:
            return

        def work() -> NDArray[np.float64] | None:
            segmentation = layers.segmentation_of(layer)
            mask = members_mask(segmentation.labels, item_labels(scheme, item))
            found = largest_axial_slice(mask, segmentation.grid)
            return axes.voxel_to_world(segmentation.grid, _inside(mask, *found)) if found is not None else None

        def done(world: NDArray[np.float64] | None) -> None:
            if world is None:
                self.session.say(f"There is no {item_name(scheme, item)} in this segmentation.")
            elif layer in self.viewer.layers:
                planes.set_plane(self.viewer, planes.Plane.AXIAL, at=world)
                planes.go_to_world(self.viewer, world)

        self._background(work, done, self._failed)

    def suggestion(self) -> Path | None:
        """A name to save under that overwrites nothing: in the study's folder, else the current one."""
        current = self.session.study
        if current is None:
            return None
        folder = current.study.folder or Path.cwd()
        names = (f"{current.study.id}_seg{n}.nii.gz" for n in ("", *(f"_{i}" for i in range(2, 1000))))
        return next((folder / name for name in names if not (folder / name).exists()), None)

    def save(self, path: Path, coding: str | None = None) -> None:
        """Write the labels as they are now, with the header of the reference series."""
        from brainseg_engine.io import save_segmentation

        current, layer = self.session.study, self.labels
        if current is None or layer is None:
            self.session.say("There is nothing to save yet: segment the study, or open a mask.", Kind.WARNING)
            return
        delivered, notes = self.session.segmentation, self._notes

        def work() -> int:
            segmentation = layers.segmentation_of(layer)
            digest = reading.checksum(segmentation.labels)
            before = bool(notes.get("edited"))  # it was put away, or restored, with edits in it
            edited = before or delivered is None or digest != reading.checksum(delivered.labels)
            beside = report(current.study, segmentation, edited, notes)
            save_segmentation(segmentation, path, reference=current.study.reference, coding=coding, sidecar=beside)
            return digest

        def done(digest: int) -> None:
            if self.session.study is current:
                self.session.saved(digest)
            self.session.say(f"Saved {path}", Kind.GOOD)

        self._background(work, done, self._failed)


def _inside(mask: Mask, axis: int, index: int) -> NDArray[Any]:
    """The voxel of the mask's slice that is closest to the slice's centre of mass."""
    flat = np.argwhere(np.take(mask, index, axis=axis))
    nearest = flat[np.argmin(((flat - flat.mean(axis=0)) ** 2).sum(axis=1))]
    return np.insert(nearest, axis, index)
