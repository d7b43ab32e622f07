"""The brush that knows the anatomy: napari's own brush, eraser, fill and polygon, held to nesting, protection, brain and
threshold; and what follows every stroke (voxel counts, records, undo).

Two private methods of one labels layer are replaced, through which all four tools write (napari 0.9; a test paints with
each). What code writes by ``apply_edit`` goes past them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from brainseg_engine.core.labels import Label, LabelArray, Mask, Region
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.edits import Action, Edit, Guard, Range, Stroke, Target, enclosed, stroke, target_name
from napari_brainseg.display.axes import to_display
from napari_brainseg.display.history import Box, History, Moved, UndoStep, history_of
from napari_brainseg.display.layers import layer_info
from napari_brainseg.display.planes import ORDERS, show_part
from napari_brainseg.display.preview import Preview
from napari_brainseg.display.tools import HAND_TOOLS, MODES, BrushSettings, Tool
from napari_brainseg.display.windows import foreground

if TYPE_CHECKING:
    from napari.components import Dims, ViewerModel
    from napari.layers import Labels


_PLANE_OF_AXIS = {order[0]: plane for plane, order in ORDERS.items()}
_TARGET_OF_LABEL = {Label.ED: Region.WT, Label.NCR: Region.TC, Label.ET: Region.ET}


class Brush:
    """Holds the painting tools of the labels layer that it follows to the settings. ``close`` releases it."""

    changed = Signal()
    """Settings, tool or brush size are others now."""
    counted = Signal()
    """The voxel counts are others now, also in mid-stroke."""
    edited = Signal(object)
    """An :class:`Edit` was made, undone or redone."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._settings = BrushSettings()
        self._layer: Labels | None = None
        self._study: Study | None = None
        self._images: dict[Modality, NDArray[Any]] = {}
        self._inside: Mask | None = None
        self._reach: Mask | None = None
        self._hooked: WeakSet[Labels] = WeakSet()
        self._stroke: Stroke | None = None
        self._elsewhere: Dims | None = None
        self._dims: Dims = viewer.dims
        self._closed = False
        self._clicking = False  # the click tool is in hand: napari has no mode for it
        self._by_hand = False  # something was painted since the last commit
        self._settled = np.zeros(256, dtype=np.int64)
        self._open = np.zeros(256, dtype=np.int64)
        self._preview = Preview(viewer)
        viewer.dims.events.ndisplay.connect(self._show_preview)

    # --- which layer

    @property
    def layer(self) -> Labels | None:
        """The labels layer that is painted on."""
        return self._layer

    @property
    def history(self) -> History | None:
        """The undo history of the labels layer."""
        return history_of(self._layer) if self._layer is not None else None

    def follow(
        self, layer: Labels | None, study: Study | None, brain: Mask | None = None, reach: Mask | None = None
    ) -> None:
        """Hold this layer's tools to the settings from now on; ``study`` gives the brain and the thresholds' images.

        ``brain``, in the layer's axis order, where the images alone do not tell it; nothing is painted outside ``reach``.
        """
        if layer is self._layer and study is self._study and reach is self._reach:
            return
        if layer is not self._layer:
            self._release()
            self._layer = layer
            if layer is not None:
                self._take(layer)
        if study is not self._study or layer is None:
            self._inside = brain
        self._study, self._reach = study, reach
        self._images = self._on_grid(study) if layer is not None and study is not None else {}
        if self._settings.modality not in self._images:
            self._settings = replace(self._settings, threshold=False, modality=None, limits=None)
        self._show_preview()
        self.changed.emit()
        self.counted.emit()

    @contextmanager
    def painting(self, dims: Dims) -> Iterator[None]:
        """What is painted in here is painted in the slice that those dims show, on another canvas than napari's own."""
        self._elsewhere = dims
        try:
            yield
        finally:
            self._elsewhere = None

    def close(self) -> None:
        """Follow nothing; napari's tools are plain again."""
        if not self._closed:
            self._closed = True
            self._viewer.dims.events.ndisplay.disconnect(self._show_preview)
            self._release()
            self._layer = None
            self._preview.close()

    def _take(self, layer: Labels) -> None:
        history = history_of(layer)
        history.listeners.append(self._on_step)
        history.describe = self._describe
        layer.events.mode.connect(self._on_mode)
        layer.events.selected_label.connect(self._on_selected_label)
        layer.events.brush_size.connect(self._on_mode)
        layer.events.data.connect(self._recount)
        if layer not in self._hooked:
            self._hook(layer)
            self._hooked.add(layer)
        self._apply_settings()
        self._recount()

    def _release(self) -> None:
        layer = self._layer
        if layer is None:
            return
        history_of(layer).listeners.remove(self._on_step)
        layer.events.mode.disconnect(self._on_mode)
        layer.events.selected_label.disconnect(self._on_selected_label)
        layer.events.brush_size.disconnect(self._on_mode)
        layer.events.data.disconnect(self._recount)

    def _on_grid(self, study: Study) -> dict[Modality, NDArray[Any]]:
        """The images on the labels' grid, in the layer's axis order."""
        info = layer_info(self._layer) if self._layer is not None else None
        if info is None:
            return {}
        return {m: to_display(v.data, v.grid.affine)[0] for m, v in study.volumes.items() if v.grid.same_as(info.grid)}

    # --- settings and tools

    @property
    def settings(self) -> BrushSettings:
        """What is painted, and where it may be."""
        return self._settings

    @settings.setter
    def settings(self, value: BrushSettings) -> None:
        if value != self._settings:
            self._settings = value
            self._apply_settings()
            self._show_preview()
            self.changed.emit()

    @property
    def tool(self) -> Tool | None:
        """The tool in hand; None for one of napari's that the panel does not have."""
        mode = str(self._layer.mode) if self._layer is not None else ""
        if self._clicking and mode == MODES[Tool.CLICK]:
            return Tool.CLICK
        return next((tool for tool, name in MODES.items() if name == mode), None)

    def choose(self, tool: Tool) -> None:
        """Take a tool, and make the labels the active layer: only its tools paint."""
        if self._layer is not None:
            self._viewer.layers.selection.active = self._layer
            before, self._clicking = self.tool, tool is Tool.CLICK
            self._layer.mode = MODES[tool]
            self._apply_settings()
            if self.tool is not before:
                self.changed.emit()

    @property
    def images(self) -> dict[Modality, NDArray[Any]]:
        """The images that a threshold can be of, in the layer's axis order."""
        return self._images

    def guard(self, threshold: bool = False) -> Guard:
        """What the settings forbid, for arrays in the layer's axis order; with the threshold's range if asked for."""
        s = self._settings
        within = None
        if threshold and s.threshold and s.modality in self._images and s.limits is not None:
            within = Range(self._images[s.modality], *s.limits)
        inside = self.brain() if s.inside else None
        if self._reach is not None:
            inside = self._reach if inside is None else inside & self._reach
        return Guard(s.protect, inside, within)

    def brain(self) -> Mask | None:
        """The brain in the layer's axis order; None where no image lies on the labels' grid."""
        if self._inside is None and self._images:
            inside = np.logical_or.reduce([foreground(image) for image in self._images.values()])
            self._inside = inside | enclosed(inside)
        return self._inside

    def _apply_settings(self) -> None:
        layer = self._layer
        if layer is not None:
            label = int(stroke(Action.PAINT, self._settings.target).label)
            if layer.selected_label != label:
                layer.selected_label = label
            flat = not self._settings.through or self.tool is Tool.POLYGON
            layer.n_edit_dimensions = 2 if flat else 3

    def _on_mode(self, event: Any = None) -> None:
        if self._layer is not None and str(self._layer.mode) != MODES[Tool.CLICK]:
            self._clicking = False
        self._apply_settings()
        self.changed.emit()

    def _on_selected_label(self, event: Any = None) -> None:
        """A label chosen by napari's own control is a target chosen; one that is no class is not taken."""
        layer, target = self._layer, self._settings.target
        chosen = int(layer.selected_label) if layer is not None else 0
        if chosen == 0 or chosen == stroke(Action.PAINT, target).label:
            return
        if chosen in set(Label):
            nested = _TARGET_OF_LABEL.get(Label(chosen)) if isinstance(target, Region) else None
            self.settings = replace(self._settings, target=nested or Label(chosen))
        else:
            self._apply_settings()

    # --- the hooks

    def _hook(self, layer: Labels) -> None:
        paint_inner, apply_inner = layer._paint_region_with_mask, layer._apply_mask_to_data

        def paint_region(key: Box, mask: Mask, label: int, *rest: Any, **named: Any) -> None:
            if layer is not self._layer:
                paint_inner(key, mask, label, *rest, **named)
                return
            self._dims = self._elsewhere or self._viewer.dims
            self._stroke = done = self._meant(label)
            if done is not None:
                paint_inner(key, mask, int(done.label), *rest, **named)

        def apply_mask(region: LabelArray, mask: Mask, label: int, key: Box) -> Mask | None:
            done = self._stroke
            if layer is self._layer and done is not None:
                mask = self._allowed(region, mask, key, done)
                self._count(region[mask], done.label)
            before, self._by_hand = self._by_hand, True  # a polygon is committed in there
            painted: Mask | None = apply_inner(region, mask, label, key)
            if painted is None:
                self._by_hand = before
            return painted

        layer._paint_region_with_mask = paint_region
        layer._apply_mask_to_data = apply_mask

    def _meant(self, label: int) -> Stroke | None:
        """What writing that label means: the background erases the target, its own label paints it, another paints that
        class; None for what is no class.
        """
        target = self._settings.target
        if label == 0:
            return _stroke(Action.ERASE, target)
        if label == _stroke(Action.PAINT, target).label:
            return _stroke(Action.PAINT, target)
        return _stroke(Action.PAINT, Label(label)) if label in set(Label) else None

    def _allowed(self, region: LabelArray, mask: Mask, key: Box, done: Stroke) -> Mask:
        return mask & done.table[region] & self.guard(threshold=True).allows(region, key)

    # --- what follows a stroke

    @property
    def counts(self) -> NDArray[np.int64]:
        """Label → voxels (256,), of the labels as they are, an open stroke included."""
        return self._settled + self._open

    def _count(self, before: LabelArray, label: Label) -> None:
        if len(before):
            self._open -= np.bincount(before, minlength=256)
            self._open[label] += len(before)
            self.counted.emit()

    def _recount(self, event: Any = None) -> None:
        if self._layer is not None:
            data = np.asarray(self._layer.data, dtype=np.uint8)
            self._settled = np.bincount(data[data > 0], minlength=256)  # most is background, and counted in no time
            self._settled[0] = data.size - self._settled.sum()
            self._open[:] = 0
            self.counted.emit()

    def _describe(self, box: Box) -> tuple[str, str, int | None, int | None]:
        """By which tool, on which target, in which slice: of what napari commits."""
        by_hand, self._by_hand = self._by_hand, False
        if not by_hand:
            return "result", "", None, None
        dims = self._dims
        axis = int(dims.order[0]) if dims.ndisplay == 2 else None
        if axis is None or box[axis].stop - box[axis].start != 1:
            return str(self.tool or Tool.BRUSH), target_name(self._settings.target), None, None
        return str(self.tool or Tool.BRUSH), target_name(self._settings.target), axis, box[axis].start

    def _on_step(self, step: UndoStep, moved: Moved) -> None:
        changed = step.changed(moved)
        for label, voxels in changed.items():
            self._settled[label] += voxels
        self._open[:] = 0
        tool = step.tool if moved is Moved.DONE else moved.value
        if moved is not Moved.DONE and self._layer is not None:
            show_part(self._viewer, self._layer, step.box, step.mask)
        if step.axis is None or step.index is None:
            edit = Edit(tool, step.target, changed)
        else:
            edit = Edit(tool, step.target, changed, _PLANE_OF_AXIS[step.axis].value, step.index)
        self._preview.refresh()
        self.counted.emit()
        self.edited.emit(edit)

    @contextmanager
    def naming(self, tool: str) -> Iterator[None]:
        """What is written by ``apply_edit`` in here was done by that tool, on the target."""
        history = self.history
        if history is None:
            yield
            return
        with history.naming(tool, target_name(self._settings.target)):
            yield

    def painted_slices(self, axis: int) -> list[int]:
        """The slices across that axis of the layer that were painted by hand since the last interpolation."""
        slices: set[int] = set()
        for step in reversed(self.history.done if self.history is not None else []):
            if step.tool == "interpolate":
                break
            if step.axis == axis and step.index is not None and step.tool in HAND_TOOLS:
                slices.add(step.index)
        return sorted(slices)

    # --- the preview

    def _show_preview(self, event: Any = None) -> None:
        s = self._settings
        wanted = s.threshold and s.preview and self._layer is not None and self._viewer.dims.ndisplay == 2
        if not wanted or self._layer is None:
            self._preview.hide()
            return
        done = _stroke(Action.PAINT, s.target)
        guard, layer = self.guard(threshold=True), self._layer

        def allowed(key: Any) -> Mask:
            labels: LabelArray = layer.data[key]
            return np.asarray(done.table[labels] & guard.allows(labels, key))

        self._preview.show(layer, allowed)


@lru_cache(maxsize=64)
def _stroke(action: Action, target: Target) -> Stroke:
    return stroke(action, target)
