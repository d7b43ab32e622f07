"""The canvas as a radiologist knows it: planes, orientation marks, going to a point, windows, values at the cursor."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.morphology import bounding_box
from brainseg_engine.core.study import Modality, Study
from napari_brainseg.display.axes import ras_to_world, voxel_to_world
from napari_brainseg.display.head import SmallHead
from napari_brainseg.display.layers import SURFACE, image_layers, layer_info, layer_modality
from napari_brainseg.display.windows import PRESETS, brain_window, foreground, sampling

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels


class Plane(StrEnum):
    """The three anatomical planes."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


ORDERS: Mapping[Plane, tuple[int, int, int]] = {
    Plane.AXIAL: (0, 1, 2),
    Plane.CORONAL: (1, 0, 2),
    Plane.SAGITTAL: (2, 0, 1),
}
"""Plane → order of the world axes (I, P, L): the sliced one, then down, then right on the canvas."""

MARKS: Mapping[tuple[int, int, int], tuple[str, str, str, str]] = {
    (0, 1, 2): ("A", "P", "R", "L"),
    (1, 0, 2): ("S", "I", "R", "L"),
    (2, 0, 1): ("S", "I", "A", "P"),
}
"""Order → letters at the top, bottom, left and right edge."""

WINDOW_PRESETS: tuple[str, ...] = tuple(PRESETS)


def plane_of(viewer: ViewerModel) -> Plane | None:
    """The plane shown; None in 3D or for an order of axes that is none of the three."""
    if viewer.dims.ndisplay != 2:
        return None
    return next((p for p, order in ORDERS.items() if tuple(viewer.dims.order) == order), None)


Box = tuple[NDArray[np.float64], NDArray[np.float64]]
"""The lowest and the highest corner, in world mm."""

SMALL_PX = 280
"""A canvas that is narrower is a small one."""
_EDGE_PX = 30
"""Kept free for the letters at the edges."""
_heads: list[tuple[Box, list[weakref.ref[Any]]]] = []
"""A box, and the images (weakly) that it was found in."""


def head_box(study: Study) -> Box:
    """The box around what is no air in any series of the study; around the grid where there is nothing else.

    That of the study asked about last is remembered: several ask when one is opened.
    """
    arrays = [v.data for v in study.volumes.values()]
    for known, of in list(_heads):
        if len(of) == len(arrays) and all(ref() is a for ref, a in zip(of, arrays, strict=True)):
            return known
    corners = []
    for volume in study.volumes.values():
        step = sampling(volume.data.shape)
        inside = foreground(volume.data[tuple(slice(None, None, n) for n in step)])
        box = bounding_box(inside) or tuple(slice(0, n) for n in inside.shape)
        low = [s.start * n for s, n in zip(box, step, strict=True)]
        high = [min((s.stop - 1) * n, m - 1) for s, n, m in zip(box, step, volume.data.shape, strict=True)]
        corners += [voxel_to_world(volume.grid, low), voxel_to_world(volume.grid, high)]
    head = np.min(corners, axis=0), np.max(corners, axis=0)
    _heads[:] = [(head, [weakref.ref(a) for a in arrays])]
    return head


def fit(viewer: ViewerModel, box: Box) -> None:
    """Have that box fill the canvas. In 2D the slice is brought into it, too."""
    if viewer.dims.ndisplay == 2:
        _bring_inside(viewer, box, viewer.dims.order[0])
    fit_box(viewer, box)


def fit_box(viewer: ViewerModel, box: Box) -> None:
    """Have that box fill the canvas, whichever slice is shown."""
    low, high = box
    if viewer.dims.ndisplay == 3:
        face_the_patient(viewer, low, high)
        return
    axes = list(viewer.dims.order[1:])
    room = np.maximum(np.array(_canvas_size(viewer)) - 2 * _EDGE_PX, 10)
    middle = (low[axes] + high[axes]) / 2
    viewer.scene.camera.center = (0.0, float(middle[0]), float(middle[1]))
    viewer.scene.camera.zoom = float((room / np.maximum(high[axes] - low[axes], 1.0)).min())


def _bring_inside(viewer: ViewerModel, box: Box, axis: int) -> None:
    """Move the slice across that axis to the middle of the box, unless it lies in there."""
    if not box[0][axis] <= viewer.dims.point[axis] <= box[1][axis]:
        viewer.dims.set_point(axis, float(box[0][axis] + box[1][axis]) / 2)


def set_plane(viewer: ViewerModel, plane: Plane | str, at: ArrayLike | None = None, within: Box | None = None) -> None:
    """Show the plane through ``at`` (world mm, such as :func:`cursor_point`), or through the current slices for None.

    A point in view stays where it is on the canvas, at the same zoom; without one the new plane fills the canvas. A
    point outside the data, or outside the box ``within``, counts as none; and no plane outside that box is shown.
    """
    order = ORDERS[Plane(plane)]
    if viewer.dims.ndim != 3 or (viewer.dims.ndisplay == 2 and tuple(viewer.dims.order) == order and at is None):
        return
    point = np.asarray(at, dtype=np.float64) if at is not None and _in_data(viewer, at) else None
    if point is not None and within is not None and not ((within[0] <= point) & (point <= within[1])).all():
        if viewer.dims.ndisplay == 2 and tuple(viewer.dims.order) == order:
            return
        point = None
    camera = viewer.scene.camera
    if point is None or viewer.dims.ndisplay == 3:
        if point is not None:
            viewer.dims.point = tuple(float(p) for p in point)
        viewer.dims.order = order
        viewer.dims.ndisplay = 2
        if within is not None:
            fit(viewer, within)
        return
    offset, zoom = point[list(viewer.dims.order[1:])] - np.array(camera.center)[-2:], camera.zoom
    viewer.dims.point = tuple(float(p) for p in point)
    viewer.dims.order = order  # napari fits the view to the data here
    centre = point[list(order[1:])] - offset
    camera.zoom = zoom
    camera.center = (0.0, float(centre[0]), float(centre[1]))


def set_3d(viewer: ViewerModel, on: bool = True) -> None:
    """Go to 3D, or back to 2D. The axes return to (0, 1, 2) first: in another order napari draws surfaces and volumes
    apart.
    """
    if on == (viewer.dims.ndisplay == 3):
        return
    if on:
        viewer.dims.order = ORDERS[Plane.AXIAL]
    viewer.dims.ndisplay = 3 if on else 2


def face_the_patient(viewer: ViewerModel, low: ArrayLike, high: ArrayLike) -> None:
    """Turn the 3D camera so that the patient is seen from the front, slightly from above and from the right; superior
    is up and the patient's right on the viewer's left. The box from ``low`` to ``high`` (world mm) fills the canvas.
    """
    camera = viewer.scene.camera
    camera.set_view_direction((0.30, 1.0, 0.45), (-1.0, 0.0, 0.0))
    middle = (np.asarray(low, dtype=np.float64) + np.asarray(high, dtype=np.float64)) / 2
    camera.center = (float(middle[0]), float(middle[1]), float(middle[2]))
    camera.zoom = 1.25 * min(_canvas_size(viewer)) / float(np.linalg.norm(np.asarray(high) - np.asarray(low)))


def go_to(viewer: ViewerModel, ras_point: ArrayLike) -> None:
    """Show the slices through a point in RAS mm; the canvas moves only where the point would be out of sight."""
    go_to_world(viewer, ras_to_world(ras_point))


def go_to_voxel(viewer: ViewerModel, grid: Grid, index: ArrayLike) -> None:
    """``go_to`` for a voxel (i, j, k) in file order: the right slice for oblique grids too."""
    go_to_world(viewer, voxel_to_world(grid, index))


def go_to_world(viewer: ViewerModel, world: ArrayLike) -> None:
    """``go_to`` in world mm."""
    viewer.dims.point = tuple(float(p) for p in np.asarray(world, dtype=np.float64))
    bring_in_sight(viewer, world)


def bring_in_sight(viewer: ViewerModel, world: ArrayLike) -> None:
    """Move the canvas so that the point (world mm) is in its middle, where it would be out of sight; nothing in 3D."""
    point = np.asarray(world, dtype=np.float64)
    if viewer.dims.ndisplay != 2 or len(viewer.dims.order) != len(point):
        return
    camera = viewer.scene.camera
    offset = (point[list(viewer.dims.order[1:])] - np.array(camera.center)[-2:]) * camera.zoom
    if (np.abs(offset) > 0.45 * np.array(_canvas_size(viewer))).any():
        centre = point[list(viewer.dims.order[1:])]
        camera.center = (0.0, float(centre[0]), float(centre[1]))


def show_part(viewer: ViewerModel, layer: Labels, box: tuple[slice, ...], mask: Mask) -> None:
    """Go to a slice in which something of that box (slices of the layer's data) lies where ``mask`` holds, unless one is
    shown; nothing in 3D."""
    dims = viewer.dims
    if dims.ndisplay != 2:
        return
    axis = int(dims.order[0])
    here = np.asarray(layer.world_to_data(dims.point), dtype=np.float64)
    if box[axis].start <= round(float(here[axis])) < box[axis].stop:
        return
    areas = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
    here[axis] = box[axis].start + int(np.argmax(areas))
    dims.set_point(axis, float(layer.data_to_world(here)[axis]))


def cursor_point(viewer: ViewerModel) -> NDArray[np.float64] | None:
    """The cursor in world mm; None where it is not over the data, and in 3D, where it has no depth."""
    point = np.asarray(viewer.cursor.position, dtype=np.float64)
    return point if viewer.dims.ndisplay == 2 and _in_data(viewer, point) else None


def values_at_cursor(
    viewer: ViewerModel, study_id: str | None = None, images: Mapping[Modality, Image] | None = None
) -> dict[Modality, float]:
    """Modality → intensity at the cursor of the topmost (or the named) study, hidden images included; else of ``images``.

    Modalities whose grid does not reach the point are absent; in 3D nothing is under the cursor.
    """
    point = cursor_point(viewer)
    if point is None:
        return {}
    values: dict[Modality, float] = {}
    for modality, layer in (images or image_layers(viewer, study_id)).items():
        index = np.round(np.asarray(layer.world_to_data(point))).astype(int)
        if (index >= 0).all() and (index < layer.data.shape).all():
            values[modality] = float(layer.data[tuple(index)])
    return values


def apply_window(layer: Image, preset: str) -> None:
    """Set the layer's window to a preset of :data:`WINDOW_PRESETS`, from the percentiles of its brain."""
    set_window(layer, brain_window(layer.data, preset, layer_modality(layer)))


def set_window(layer: Image, window: tuple[float, float]) -> None:
    """Set the values that the layer shows black and white; napari's slider is widened where it does not reach them."""
    low, high = window
    reach = layer.contrast_limits_range
    layer.contrast_limits_range = (min(low, reach[0]), max(high, reach[1]))
    layer.contrast_limits = (low, high)


def letters_in_3d(viewer: ViewerModel) -> tuple[str, str, str, str]:
    """The patient's sides that lie most towards the top, bottom, left and right of the canvas."""
    camera = viewer.scene.camera
    up = np.asarray(camera.up_direction, dtype=np.float64)
    right = np.cross(np.asarray(camera.view_direction, dtype=np.float64), up)

    def side(direction: NDArray[np.float64]) -> str:
        axis = int(np.argmax(np.abs(direction)))
        return ("SI", "AP", "RL")[axis][int(direction[axis] > 0)]

    return side(up), side(-up), side(-right), side(right)


class Marks:
    """R/L/A/P/S/I at the edges of the canvas, following the plane, and the camera in 3D; a small head beside them there (where
    ``canvas``, its vispy side, is given); and a scale bar in mm.

    The marks stand as long as the object is not closed; a second one on the same viewer takes the first one's place.
    """

    _EDGES = ("top_center", "bottom_center", "middle_left", "middle_right")

    def __init__(self, viewer: ViewerModel, bar: bool = True, canvas: Any = None) -> None:
        from napari.components.overlays import TextOverlay

        self._viewer = viewer
        self.head = SmallHead(canvas) if canvas is not None else None
        self._overlays: list[Any] = []
        for edge in self._EDGES:
            overlay = TextOverlay(text="", position=edge, font_size=16, box=False, color="#f5d76e", gridded=True)
            viewer.canvas.overlays[f"brainseg_{edge}"] = overlay
            self._overlays.append(overlay)
        self._canvas_colour = viewer.canvas.background_color_override
        viewer.canvas.background_color_override = "black"  # images are read on black, in a light theme too
        circle = viewer.canvas.overlays["_brush_circle"]
        self._circle_had_box, circle.box = circle.box, False  # napari leaves it on the image where the brush went away
        scale = viewer.canvas.overlays["scale_bar"]
        self._had_bar, scale.visible = scale.visible, bar
        self._sizes_known, self._bar, self._small = True, bar, False
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._update_bar)
        self._update_bar()
        viewer.dims.events.order.connect(self._update)
        viewer.dims.events.ndisplay.connect(self._update)
        viewer.scene.camera.events.angles.connect(self._update)
        self._update()

    @property
    def letters(self) -> tuple[str, ...]:
        """What is shown at the top, bottom, left and right."""
        return tuple(o.text for o in self._overlays) if any(o.visible for o in self._overlays) else ()

    def suit(self, small: bool) -> None:
        """Smaller letters, and no scale bar, on a small canvas."""
        if small == self._small:
            return
        self._small = small
        for overlay in self._overlays:
            overlay.font_size = 11 if small else 16
        self._viewer.canvas.overlays["scale_bar"].visible = self._bar and self._sizes_known and not small

    def _update(self, event: object = None) -> None:
        dims = self._viewer.dims
        letters = MARKS.get(tuple(dims.order)) if dims.ndisplay == 2 and dims.ndim == 3 else None
        if (
            dims.ndisplay == 3
            and dims.ndim == 3
            and any(layer_info(x) is not None or SURFACE in x.metadata for x in self._viewer.layers)
        ):
            letters = letters_in_3d(self._viewer)
        for i, overlay in enumerate(self._overlays):
            overlay.visible = letters is not None
            if letters is not None:
                overlay.text = letters[i]
        if self.head is not None:
            if letters is not None and dims.ndisplay == 3:
                self.head.show(self._viewer)
            else:
                self.head.hide()

    def _update_bar(self, event: object = None) -> None:
        """No millimetres over images that tell no voxel size; otherwise the bar is left as the user has it."""
        infos = [info for layer in self._viewer.layers if (info := layer_info(layer)) is not None]
        known = all(info.grid.calibrated for info in infos)
        for layer in self._viewer.layers if infos else ():
            if layer_info(layer) is None and all(str(u) == "pixel" for u in layer.units):
                layer.units = ("mm",) * layer.ndim  # it says none, and lies in the millimetres of the study
        if known != self._sizes_known and self._bar:
            self._sizes_known = self._viewer.canvas.overlays["scale_bar"].visible = known

    def close(self) -> None:
        """Take the marks away."""
        for event in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            event.disconnect(self._update_bar)
        self._viewer.dims.events.order.disconnect(self._update)
        self._viewer.dims.events.ndisplay.disconnect(self._update)
        self._viewer.scene.camera.events.angles.disconnect(self._update)
        if self.head is not None:
            self.head.close()
        self._viewer.canvas.overlays["scale_bar"].visible = self._had_bar
        self._viewer.canvas.overlays["_brush_circle"].box = self._circle_had_box
        self._viewer.canvas.background_color_override = self._canvas_colour
        for edge, overlay in zip(self._EDGES, self._overlays, strict=True):
            if self._viewer.canvas.overlays.get(f"brainseg_{edge}") is overlay:
                del self._viewer.canvas.overlays[f"brainseg_{edge}"]


def _in_data(viewer: ViewerModel, point: ArrayLike) -> bool:
    """True where a point in world mm lies in the box around all layers."""
    if not len(viewer.layers) or np.shape(point) != (3,):
        return False
    low, high = viewer.layers.extent.world
    return bool((np.asarray(point) >= low).all() and (np.asarray(point) <= high).all())


def _canvas_size(viewer: ViewerModel) -> tuple[float, float]:
    """(height, width) of the canvas in pixels."""
    height, width = viewer.canvas.size
    return float(height), float(width)
