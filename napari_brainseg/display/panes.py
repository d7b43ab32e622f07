"""A canvas beside napari's own: a viewer model and a vispy canvas, without the lists and controls of a second viewer.

napari has no second canvas in its public interface. What of its private one is needed stands here and in
:mod:`napari_brainseg.display.mirrors` (napari 0.9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_brainseg.display.caption import Caption, short_place_of
from napari_brainseg.display.crosshair import Crosshair
from napari_brainseg.display.gestures import drag_image, drag_window, shown_image, turn_wheel
from napari_brainseg.display.mirrors import Mirror, Painting
from napari_brainseg.display.planes import ORDERS, SMALL_PX, Box, Marks, Plane, fit_box
from napari_brainseg.display.pointing import point_elsewhere
from napari_brainseg.display.surfaces import SurfaceManager

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


def canvas_of(viewer: Any) -> Any:
    """The vispy side of napari's own canvas; None for a viewer without a window."""
    qt = getattr(getattr(viewer, "window", None), "_qt_viewer", None)
    return qt.canvas if qt is not None else None


def letters() -> Any:
    """What draws letters on one canvas (they are textures of its own). What they look like is worked out once for all canvases:
    it takes 10 ms each.
    """
    from napari._vispy.utils.qt_font import QtFontManager
    from vispy.visuals.text.text import SDFRendererCPU

    class Remembering(SDFRendererCPU):  # type: ignore[misc]
        def render_to_texture(self, data: Any, texture: Any, offset: Any, size: Any) -> None:
            x, y = offset
            there = np.s_[y : y + size[1], x : x + size[0], :]
            key = (data.tobytes(), tuple(size))
            if key not in _LETTERS:
                seen = _Pixels()
                super().render_to_texture(data, seen, offset, size)
                _LETTERS[key] = seen.pixels
            texture[there] = _LETTERS[key]

    made = QtFontManager()
    made._renderer = Remembering()
    return made


class _Pixels:
    """Takes what would be written into a texture."""

    pixels: NDArray[np.uint8]

    def __setitem__(self, key: object, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels


_LETTERS: dict[tuple[bytes, tuple[int, ...]], NDArray[np.uint8]] = {}


class Pane:
    """One more canvas. ``native`` is its widget, a sibling of napari's own; ``close`` releases everything."""

    has_bar = True
    """Whether there is a scale bar."""

    def __init__(self, viewer: Any) -> None:
        from napari._vispy.canvas import VispyCanvas
        from napari.components import ViewerModel
        from napari.settings import get_settings

        qt, settings = viewer.window._qt_viewer, get_settings()
        self.model: ViewerModel = ViewerModel(title="")
        self.model.theme = viewer.theme
        self.model._layer_slicer._force_sync = True  # what draws late slices is a part of napari's own viewer
        for callbacks, name in (
            (self.model.mouse_wheel_callbacks, "dims_scroll"),
            (self.model.mouse_double_click_callbacks, "double_click_to_zoom"),
        ):
            callbacks[:] = [c for c in callbacks if c.__name__ != name]
        self.canvas: Any = VispyCanvas(
            viewer=self.model,
            parent=qt.canvas.native.parentWidget(),
            font_manager=letters(),
            font_family=qt._overlay_font,
            key_map_handler=qt._key_map_handler,
            size=(200, 200),
            dpi=qt.canvas._scene_canvas.dpi,  # else vispy asks another program for it, each time
            autoswap=settings.experimental.autoswap_buffers,
            config={"samples": 4 if settings.advanced.multisampling else 0},
        )
        self.model.layers.events.inserted.connect(self._draw_layer)
        self.small = False
        self._worn: list[Marks | Caption | Crosshair] = []

    def dress(self) -> None:
        """Letters and words on it: in a turn of the event loop of their own, since the canvas alone takes a tenth of a second."""
        self.marks = Marks(self.model, bar=self.has_bar, canvas=self.canvas)
        self.caption = Caption(self.model, small=True, canvas=self.canvas)
        self._worn = [self.caption, self.marks]

    @property
    def native(self) -> Any:
        """The widget."""
        return self.canvas.native

    def suit(self) -> None:
        """Marks that suit the size of the canvas."""
        self.small = self.native.width() < SMALL_PX
        self.marks.suit(self.small)

    def _draw_layer(self, event: Any) -> None:
        from napari._vispy.utils.visual import create_vispy_layer

        made = create_vispy_layer(event.value, font_info=self.canvas.font_info())
        self.canvas.add_layer_visual_mapping(event.value, made)
        self._arrange_depth()

    def _arrange_depth(self) -> None:
        """As deep as napari has its own camera, or surfaces are cut off."""
        extent = self.model.layers.extent
        far = float(np.linalg.norm(extent.world[1] - extent.world[0] + extent.step))
        self.canvas.camera._3D_camera.depth_value = min(128 * far, 2.0 / (10.0 * np.finfo(np.float32).eps))

    def close(self) -> None:
        """Take the canvas down, and follow nothing more."""
        self.canvas.native.hide()
        self.canvas._pause_scene_graph = True  # else napari collects garbage, and draws, at each layer that goes
        self.model.layers.events.end_batch.disconnect(self.canvas._resume_scene_graph_update)
        self.model.layers.clear()
        self.model.layers.events.inserted.disconnect(self._draw_layer)
        self.canvas._disconnect_events()
        for worn in self._worn:
            worn.close()
        self.canvas._scene_canvas.close()
        self.canvas.delete()


class FlatPane(Pane):
    """A plane: mirrors of the layers that are visible in napari's viewer."""

    def __init__(self, viewer: Any, plane: Plane, painting: Painting) -> None:
        super().__init__(viewer)
        self._viewer, self._painting = viewer, painting
        self.plane = plane
        self.mirrors: dict[Layer, Mirror] = {}
        self.model.mouse_drag_callbacks += [point_elsewhere(viewer), drag_window, drag_image]
        self.model.mouse_wheel_callbacks.append(turn_wheel)

    def dress(self) -> None:
        """See :class:`Pane`."""
        super().dress()
        self.crosshair = Crosshair(self.canvas)
        self._worn.append(self.crosshair)

    @property
    def axis(self) -> int:
        """The world axis across the plane."""
        return ORDERS[self.plane][0]

    def arrange(self) -> None:
        """Have a mirror of each visible layer, in the order of the sources; those of layers that are gone go."""
        model, there = self.model, self._viewer.layers
        for source in [s for s in self.mirrors if s not in there]:
            self.drop(source)
        for source in there:
            if source.visible and source.ndim == 3 and source not in self.mirrors:
                self.mirrors[source] = made = Mirror(source, model.dims, self._painting)
                at = sum(1 for s in there[: there.index(source)] if s in self.mirrors)
                model.layers.insert(at, made.layer)
                made.settle()
        wanted = [self.mirrors[s].layer for s in there if s in self.mirrors]
        for i, layer in enumerate(wanted):
            if model.layers[i] is not layer:
                model.layers.move(model.layers.index(layer), i)
        self.choose()
        self.place()

    def choose(self) -> None:
        """The layer that tools work on: the labels or the shapes, where they are chosen in napari's viewer."""
        active = self._viewer.layers.selection.active
        mirror = self.mirrors.get(active) if active is not None else None
        self.model.layers.selection.active = mirror.layer if mirror is not None and mirror.in_hand else None

    def drop(self, source: Layer) -> None:
        """Mirror that layer no longer."""
        mirror = self.mirrors.pop(source)
        mirror.close()
        self.model.layers.remove(mirror.layer)

    def place(self) -> None:
        """The plane, and the slice of napari's viewer."""
        dims, own = self._viewer.dims, self.model.dims
        if not len(self.model.layers) or dims.ndim != 3:
            return
        if tuple(own.range) != tuple(dims.range):
            own.range = dims.range
        if tuple(own.order) != ORDERS[self.plane]:
            own.order = ORDERS[self.plane]
        self.follow_point()

    def follow_point(self) -> None:
        """The slice of napari's viewer across this plane. The other axes are left alone: napari would slice anew for nothing."""
        if self.model.dims.ndim != 3:
            return
        value = float(self._viewer.dims.point[self.axis])
        if self.model.dims.point[self.axis] != value:
            self.model.dims.set_point(self.axis, value)

    def tell(self) -> None:
        """Say which slice this is."""
        image = shown_image(self.model)
        words = short_place_of(self.model, image, total=not self.small) if image is not None else ""
        self.caption.show(words, "")

    def close(self) -> None:
        """See :class:`Pane`."""
        for mirror in self.mirrors.values():
            mirror.close()
        super().close()
        self.mirrors.clear()


class SolidPane(Pane):
    """3D: the surfaces of the regions in the brain's."""

    has_bar = False

    def __init__(self, viewer: Any, background: Callable[..., None]) -> None:
        super().__init__(viewer)
        self.model.dims.ndisplay = 3
        self.surfaces = SurfaceManager(self.model, background=background)
        self._box: Box | None = None
        self.model.layers.events.inserted.connect(self._on_first, position="last")

    def fit(self, box: Box) -> None:
        """The patient from the front; the box fills the canvas."""
        self._box = box
        fit_box(self.model, box)

    def _on_first(self, event: object = None) -> None:
        """napari has a view of its own of the first layer that comes."""
        if len(self.model.layers) == 1 and self._box is not None:
            fit_box(self.model, self._box)

    def close(self) -> None:
        """See :class:`Pane`."""
        self.canvas._pause_scene_graph = True
        self.model.layers.events.inserted.disconnect(self._on_first)
        self.surfaces.close()
        super().close()
