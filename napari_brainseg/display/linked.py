"""Axial, coronal, sagittal and 3D beside each other: one point, one zoom, one set of layers on several canvases.

napari's own canvas shows one plane, two more canvases the other two, and a fourth the surfaces. The point is the one of
napari's sliders; each canvas follows it across its own plane only, so that a step through one plane slices one plane.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_brainseg.display.crosshair import Crosshair
from napari_brainseg.display.linked_cameras import LinkedCameras
from napari_brainseg.display.mirrors import Painting
from napari_brainseg.display.panes import FlatPane, SolidPane, canvas_of
from napari_brainseg.display.planes import ORDERS, Box, Plane, bring_in_sight, plane_of
from napari_brainseg.display.pointing import in_hand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

_STILL_PX = 3
"""A click moves the mouse no further than that."""


class LinkedPlanes:
    """The canvases beside napari's own, as long as it is not closed.

    ``soon()`` has :meth:`refresh` called a moment later; ``turned(plane)`` is called when a canvas is double-clicked (None:
    the one of 3D).
    """

    def __init__(
        self,
        viewer: Any,
        painting: Painting,
        background: Callable[..., None],
        soon: Callable[[], None],
        turned: Callable[[Plane | None], None],
    ) -> None:
        self._viewer, self._soon, self._turned = viewer, soon, turned
        self._painting, self._background = painting, background
        self.flat: list[FlatPane] = []
        self.solid: SolidPane | None = None
        self._begun: FlatPane | SolidPane | None = None
        self._own = Crosshair(canvas_of(viewer))
        self.crosshair, self.live = True, False
        self.cameras = LinkedCameras()
        self._busy = False
        self._dirty: set[Layer] = set()
        self._seen: dict[Layer, tuple[Any, ...]] = {}
        self._followed = ExitStack()
        self._layers_followed: set[Layer] = set()
        self._connect()
        for layer in viewer.layers:
            self._follow_layer(layer)

    # --- what is shown

    def begin(self) -> bool:
        """Begin one more canvas: the other planes, then 3D. False: all are there. One takes some tenths of a second, so
        :meth:`grow` does the rest."""
        if len(self.flat) < 2:
            there = {plane_of(self._viewer), *(pane.plane for pane in self.flat)}
            self._begun = FlatPane(self._viewer, next(plane for plane in Plane if plane not in there), self._painting)
        elif self.solid is None:
            self._begun = SolidPane(self._viewer, self._background)
        return self._begun is not None

    def grow(self) -> bool:
        """Make the canvas that was begun whole. False: none was."""
        pane, self._begun = self._begun, None
        if isinstance(pane, FlatPane):
            pane.dress()
            self.flat.append(pane)
            self._follow_flat(pane)
        elif pane is not None:
            pane.dress()
            self.solid = pane
            self._call(pane.model.mouse_double_click_callbacks, lambda model, event: self._turned(None))
        return pane is not None

    def settle(self) -> None:
        """Give the canvas that was made last its layers, while it is out of sight."""
        if self.flat and self.solid is None:
            with self._quiet():
                self.flat[-1].arrange()
                self.flat[-1].tell()

    @property
    def panes(self) -> list[FlatPane | SolidPane]:
        """The canvases beside napari's own."""
        return [*self.flat, *([self.solid] if self.solid is not None else [])]

    @property
    def natives(self) -> list[Any]:
        """The widgets: napari's own canvas, the other planes, 3D."""
        return [canvas_of(self._viewer).native, *(pane.native for pane in self.panes)]

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing is drawn while canvases are moved: each would draw itself at once, again and again."""
        with ExitStack() as all_canvases:
            for canvas in (canvas_of(self._viewer), *(pane.canvas for pane in self.panes)):
                all_canvases.enter_context(canvas._scene_canvas.events.draw.blocker())
            yield
        for native in self.natives:
            native.update()

    @property
    def planes(self) -> list[Plane | None]:
        """The planes shown, napari's own canvas first; None where that shows none."""
        return [plane_of(self._viewer), *(pane.plane for pane in self.flat)]

    def show(self, on: bool) -> None:
        """Whether the canvases are in sight: out of sight they cost nothing."""
        self.live = on
        if on:
            for pane in self.panes:
                pane.suit()
            self._arrange()
        self._cross()

    def set_crosshair(self, on: bool) -> None:
        """Whether lines show where the planes cut each other, and a click moves all of them."""
        self.crosshair = on
        self._cross()

    def set_linked(self, on: bool) -> None:
        """Whether all planes have one zoom, and one centre."""
        self.cameras.linked = on
        self._link_from(self._viewer)

    def fit(self, box: Box | None) -> None:
        """Have that box fill every canvas: at one scale, where they are linked and of one size."""
        if box is None:
            return
        with self._quiet():
            self.cameras.fit(self._models, box)
        if self.solid is not None:
            self.solid.fit(box)

    def show_solid(self, labels: Labels | None, brain: Image | None) -> None:
        """Whose surfaces 3D shows."""
        if self.solid is not None:
            self.solid.surfaces.follow(labels, brain)

    @property
    def _models(self) -> list[ViewerModel]:
        return [self._viewer, *(pane.model for pane in self.flat)]

    # --- following

    def _connect(self) -> None:
        viewer = self._viewer
        self._follow(viewer.dims.events.point, self._on_point)
        self._follow(viewer.dims.events.range, self._on_layers)
        self._follow(viewer.dims.events.order, self._on_order)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed, viewer.layers.events.reordered):
            self._follow(event, self._on_layers)
        self._follow(viewer.layers.selection.events.active, self._on_active)
        self._follow(viewer.events.theme, self._on_theme)
        self._mouse(viewer, None)
        self._link(viewer)

    def _follow_flat(self, pane: FlatPane) -> None:
        self._follow(pane.model.dims.events.point, self._from_pane(pane))
        self._follow(pane.model.cursor.events.position, self._cursor_from(pane))
        self._mouse(pane.model, pane)
        self._link(pane.model)

    def _link(self, model: ViewerModel) -> None:
        for event in (model.scene.camera.events.zoom, model.scene.camera.events.center):
            self._follow(event, self._linker(model))

    def _follow(self, event: Any, slot: Callable[..., object]) -> None:
        event.connect(slot)
        self._followed.callback(event.disconnect, slot)

    def _call(self, callbacks: list[Any], mine: Callable[..., object]) -> None:
        callbacks.append(mine)
        self._followed.callback(lambda: callbacks.remove(mine) if mine in callbacks else None)

    def _mouse(self, model: ViewerModel, pane: FlatPane | None) -> None:
        def double_click(model: ViewerModel, event: Any) -> None:
            plane = pane.plane if pane is not None else plane_of(self._viewer)
            if plane is not None and self._moving:
                self._turned(plane)

        self._call(model.mouse_double_click_callbacks, double_click)
        self._call(model.mouse_drag_callbacks, self._click)
        self._call(model.mouse_move_callbacks, self._point_along)
        if pane is None:
            napari = [c for c in model.mouse_double_click_callbacks if c.__name__ == "double_click_to_zoom"]
            for callback in napari:
                model.mouse_double_click_callbacks.remove(callback)
            self._followed.callback(model.mouse_double_click_callbacks.extend, napari)

    def _follow_layer(self, layer: Layer) -> None:
        if layer not in self._layers_followed:
            self._layers_followed.add(layer)
            layer.events.connect(self._on_layer)

    def _leave_layer(self, layer: Layer) -> None:
        self._layers_followed.discard(layer)
        self._dirty.discard(layer)
        self._seen.pop(layer, None)
        layer.events.disconnect(self._on_layer)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """What happens in here is our own doing."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    # --- layers

    def _on_layers(self, event: Any = None) -> None:
        for layer in [x for x in self._layers_followed if x not in self._viewer.layers]:
            self._leave_layer(layer)
        for layer in self._viewer.layers:
            self._follow_layer(layer)
        self._arrange()

    def _arrange(self) -> None:
        if not self.live:
            return
        with self._quiet():
            for pane in self.flat:
                pane.arrange()
                pane.tell()
        self._cross()

    def _on_active(self, event: Any = None) -> None:
        for pane in self.flat:
            pane.choose()

    def _on_theme(self, event: Any = None) -> None:
        for pane in self.panes:
            pane.model.theme = self._viewer.theme

    def _on_layer(self, event: Any) -> None:
        """One connection a layer, for all that happens to it."""
        layer, name = event.source, event.type
        if name == "set_data":
            dims = self._viewer.dims
            now = (dims.point, dims.order, dims.ndisplay)
            if self._seen.get(layer) == now:  # it was not napari's slider: the array holds something else
                self._mark(layer)
            self._seen[layer] = now
        elif name in ("paint", "labels_update", "data"):
            self._mark(layer)
        if name == "visible" and layer.visible and any(layer not in pane.mirrors for pane in self.flat):
            self._arrange()
        for pane in self.flat:
            mirror = pane.mirrors.get(layer)
            if mirror is not None:
                mirror.follow(name)
        if name == "mode":
            self._on_active()

    def _mark(self, layer: Layer) -> None:
        if not self._dirty:
            self._soon()
        self._dirty.add(layer)

    def refresh(self) -> None:
        """Show what has come into the arrays since."""
        dirty, self._dirty = self._dirty, set()
        anew = False
        for pane in self.flat:
            for layer in dirty:
                mirror = pane.mirrors.get(layer)
                if mirror is None:
                    continue
                if mirror.copied:
                    mirror.refresh()
                else:
                    pane.drop(layer)
                    anew = True
        if anew:
            self._arrange()

    # --- the point

    def _on_point(self, event: Any = None) -> None:
        if not self.live:
            return
        with self._quiet():
            for pane in self.flat:
                pane.follow_point()
                bring_in_sight(pane.model, self._viewer.dims.point)
                pane.tell()
        self._cross()

    def _from_pane(self, pane: FlatPane) -> Callable[..., None]:
        def moved(event: Any = None) -> None:
            if not self._busy and self.live and pane.model.dims.ndim == 3:
                self._viewer.dims.set_point(pane.axis, float(pane.model.dims.point[pane.axis]))

        return moved

    def _cursor_from(self, pane: FlatPane) -> Callable[..., None]:
        def moved(event: Any = None) -> None:
            self._viewer.cursor.position = pane.model.cursor.position

        return moved

    def _on_order(self, event: Any = None) -> None:
        """Another plane on napari's own canvas: the canvas that had it takes the one that is not shown any more."""
        shown = plane_of(self._viewer)
        other = next((pane for pane in self.flat if pane.plane is shown), None)
        if other is not None:
            there = {shown, *(pane.plane for pane in self.flat if pane is not other)}
            other.plane = next(plane for plane in Plane if plane not in there)
            with self._quiet():
                other.place()
                other.tell()
            self._link_from(self._viewer)
        self._cross()

    def _cross(self) -> None:
        point = self._viewer.dims.point
        pairs: list[tuple[ViewerModel, Crosshair]] = [(self._viewer, self._own)]
        pairs += [(pane.model, pane.crosshair) for pane in self.flat]
        for model, crosshair in pairs:
            plane = plane_of(model)
            if self.crosshair and self.live and plane is not None and len(point) == 3:
                down, right = ORDERS[plane][1:]
                crosshair.show(float(point[down]), float(point[right]))
            else:
                crosshair.hide()

    @property
    def _moving(self) -> bool:
        """True while the left button paints and draws nothing."""
        if in_hand(self._viewer):
            return False
        active = self._viewer.layers.selection.active
        return active is None or str(getattr(active, "mode", "pan_zoom")) == "pan_zoom"

    def _click(self, model: ViewerModel, event: Any) -> Generator[None, None, None]:
        """A click moves the crosshair; a drag moves the image, as ever."""
        if event.button != 1 or event.modifiers or event.handled or not self._points(model) or not self._moving:
            return
        start, at = np.asarray(event.pos), tuple(event.position)
        yield
        while event.type == "mouse_move":
            if np.abs(np.asarray(event.pos) - start).max() > _STILL_PX:
                return
            yield
        self._viewer.dims.point = at

    def _point_along(self, model: ViewerModel, event: Any) -> None:
        """With Shift the crosshair follows the mouse, whatever tool is in hand."""
        if "Shift" in event.modifiers and not event.buttons and self._points(model):
            self._viewer.dims.point = tuple(event.position)

    def _points(self, model: ViewerModel) -> bool:
        return self.crosshair and self.live and plane_of(model) is not None

    # --- the cameras

    def _linker(self, model: ViewerModel) -> Callable[..., None]:
        def moved(event: Any = None) -> None:
            if self.live and not self._busy:
                self._link_from(model)

        return moved

    def _link_from(self, model: ViewerModel) -> None:
        if self.cameras.linked:
            with self._quiet():
                self.cameras.link(self._models, model)

    def close(self) -> None:
        """Take the canvases down, and follow nothing more."""
        self.live = False
        self._followed.close()
        for layer in list(self._layers_followed):
            self._leave_layer(layer)
        self._own.close()
        for pane in (*self.panes, *filter(None, [self._begun])):
            pane.close()
        self._begun = None
