"""The 3D view: a smooth surface per region over a translucent brain, following the labels.

Volume rendering of labels costs 25 times more per frame than surfaces and looks worse, so in 3D the labels and images of
our studies hide, and come back as they were in 2D. Meshes are made in a background thread; their layers are made and
changed on the GUI thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.morphology import Mesh
from napari_brainseg.display.hidden_volumes import HiddenVolumes
from napari_brainseg.display.history import announce_edits
from napari_brainseg.display.layers import SURFACE, layer_info
from napari_brainseg.display.meshes import Built, Key, brain_mesh, build
from napari_brainseg.display.planes import face_the_patient
from napari_brainseg.display.region_layer import region_view, set_visible
from napari_brainseg.display.region_style import (
    DEPTHS,
    ITEMS,
    Scheme,
    item_labels,
    item_name,
    surface_opacity,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Surface

Background = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""``background(work, done)`` runs ``work()`` elsewhere and then ``done(its result)`` on the GUI thread."""

BRAIN_COLOUR = (0.80, 0.78, 0.74)
BRAIN_OPACITY = 0.25
_POLL_S = 0.05


@dataclass(frozen=True)
class SurfaceInfo:
    """What a surface layer of ours shows: of which study, and which item ("WT", "NCR", … or "brain")."""

    study_id: str
    item: str


def in_thread(work: Callable[[], Any], done: Callable[[Any], None]) -> None:
    """The :data:`Background` of a real napari window: a worker of napari's own thread pool."""
    from napari.qt.threading import create_worker

    create_worker(work, _connect={"returned": done})


class SurfaceManager:
    """Keeps the 3D view of one segmentation (and the brain around it) right.

    ``follow`` says which. Entering 3D (by our key or napari's button) resets the axes' order, hides our labels and
    images and shows the surfaces; leaving it restores what was visible. In 3D edits are followed ``quiet_s`` after the
    last one, and only the regions that changed are made anew. Keep a reference as long as it should work, and ``close``
    it.
    """

    def __init__(self, viewer: ViewerModel, *, background: Background = in_thread, quiet_s: float = 0.3) -> None:
        self._viewer = viewer
        self._background = background
        self._quiet_s = quiet_s
        self._labels: Labels | None = None
        self._brain: Image | None = None
        self._brain_image: Any = None  # the layer may be given another study's
        self._surfaces: dict[Key, Surface] = {}
        self._brain_surface: Surface | None = None
        self._meshed: LabelArray | None = None
        self._current: frozenset[Key] = frozenset()  # those whose surface (or lack of one) is that of _meshed
        self._volumes = HiddenVolumes(viewer)
        self._busy = self._again = self._closed = False
        self._last_edit = 0.0
        self._faced = False
        self._flat_order: tuple[int, ...] = tuple(viewer.dims.order)
        self._synced = viewer.scene.camera.synced
        viewer.scene.camera.synced = False  # 2D and 3D each keep their camera, and 3D does not move the slice
        viewer.dims.events.ndisplay.connect(self._on_ndisplay, position="first")
        viewer.dims.events.ndisplay.connect(self._after_ndisplay, position="last")
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.events.inserted.connect(self._on_inserted)

    # --- what is shown

    @property
    def surfaces(self) -> dict[str, Surface]:
        """Item of the scheme in use → its surface layer; "brain" → the brain. Items without a voxel are absent."""
        shown = {item: self._surfaces[key] for key, item in _keys(self._scheme()).items() if key in self._surfaces}
        return {**shown, **({"brain": self._brain_surface} if self._brain_surface is not None else {})}

    @property
    def busy(self) -> bool:
        """True while meshes are being made."""
        return self._busy

    def follow(self, labels: Labels | None, brain: Image | None = None) -> None:
        """Show this labels layer in 3D from now on, over the brain in this image layer (None: nothing)."""
        image = brain.data if brain is not None else None
        if labels is self._labels and brain is self._brain and image is self._brain_image:
            return
        self._disconnect()
        self._drop_surfaces()
        self._labels, self._brain, self._brain_image = labels, brain, image
        if labels is not None:
            announce_edits(labels).connect(self._on_edit)
            labels.events.colormap.connect(self._on_view)
        if self._in_3d:
            self._volumes.hide(self._labels)
            self._request()

    def close(self) -> None:
        """Take the surfaces away, show again what was hidden, and follow nothing more."""
        if self._closed:
            return
        self._closed = True
        self._viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)
        self._viewer.dims.events.ndisplay.disconnect(self._after_ndisplay)
        self._viewer.scene.camera.synced = self._synced
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._disconnect()
        self._drop_surfaces()
        self._volumes.restore(self._labels)

    # --- events

    @property
    def _in_3d(self) -> bool:
        return bool(self._viewer.dims.ndisplay == 3)

    def _on_ndisplay(self, event: object = None) -> None:
        if self._in_3d:
            self._flat_order = tuple(self._viewer.dims.order)
            with self._viewer.layers.batched_update():
                self._volumes.hide(self._labels)  # before napari slices them in 3D, which takes seconds
            if tuple(self._viewer.dims.order) != (0, 1, 2):
                self._viewer.dims.order = (0, 1, 2)
            self._request()  # what comes of it shows the surfaces: in a turn of the event loop of its own
        else:
            with self._viewer.layers.batched_update():
                self._style()
                self._volumes.restore(self._labels)

    def _after_ndisplay(self, event: object = None) -> None:
        """Back in another plane than before 3D, napari's camera would stand where that one was looked at."""
        if not self._in_3d and tuple(self._viewer.dims.order) != self._flat_order:
            self._viewer.fit_to_view()

    def _on_edit(self, event: object = None) -> None:
        self._last_edit = time.monotonic()
        if self._in_3d:
            self._request()

    def _on_view(self, event: object = None) -> None:
        self._style()
        if self._in_3d:
            self._request()

    def _on_inserted(self, event: Any) -> None:
        if self._in_3d and layer_info(event.value) is not None:
            self._volumes.hide(self._labels)

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        self._volumes.forget(layer)
        if layer is self._labels:
            self.follow(None, None)
        elif layer is self._brain:
            self._brain = None
        elif layer is self._brain_surface:
            self._brain_surface = None
        for key in [k for k, surface in self._surfaces.items() if surface is layer]:
            del self._surfaces[key]
            self._current -= {key}

    def _disconnect(self) -> None:
        if self._labels is not None:
            announce_edits(self._labels).disconnect(self._on_edit)
            self._labels.events.colormap.disconnect(self._on_view)

    # --- meshes

    def _scheme(self) -> Scheme:
        return region_view(self._labels).scheme if self._labels is not None else Scheme.REGIONS

    def _request(self) -> None:
        """Have made what is missing or out of date; while something is being made, once more afterwards."""
        if self._closed or (self._labels is None and self._brain is None):
            return
        if self._busy:
            self._again = True
            return
        self._busy, self._again = True, False
        labels, brain, image = self._labels, self._brain, self._brain_image
        missing_brain = brain if self._brain_surface is None else None
        wanted, current, before = _keys(self._scheme()).keys(), self._current, self._meshed

        def work() -> tuple[Built | None, Mesh | None] | Exception:
            try:
                built = self._build(labels, wanted, current, before) if labels is not None else None
                info = layer_info(missing_brain) if missing_brain is not None else None
                return built, brain_mesh(missing_brain.data, info.grid) if missing_brain is not None and info else None
            except Exception as e:  # brought to the GUI thread, so that the next request is not waited for in vain
                return e

        def still_wanted() -> bool:
            return labels is self._labels and brain is self._brain and image is self._brain_image

        def done(result: tuple[Built | None, Mesh | None] | Exception) -> None:
            if isinstance(result, Exception):
                self._busy = False
                raise result
            one_by_one(self._deliver(*result) if still_wanted() and not self._closed else iter(()))

        def one_by_one(steps: Iterator[None]) -> None:
            """One surface, then the next in another turn of the event loop."""
            if not self._closed and still_wanted() and next(steps, self) is not self:
                self._background(lambda: None, lambda _: one_by_one(steps))
                return
            self._busy = False
            self._again |= not still_wanted()
            if self._again and self._in_3d:
                self._request()

        self._background(work, done)

    def _build(self, layer: Labels, wanted: Set[Key], current: Set[Key], before: LabelArray | None) -> Built | None:
        """In the background: wait for a pause in the editing, then mesh what changed."""
        while before is not None and time.monotonic() - self._last_edit < self._quiet_s and not self._closed:
            time.sleep(_POLL_S)
        info = layer_info(layer)
        return build(np.array(layer.data, dtype=np.uint8), info.grid, wanted, current, before) if info else None

    def _deliver(self, built: Built | None, brain: Mesh | None) -> Iterator[None]:
        """On the GUI thread: bring the surface layers in line with what was made, one after the other, and show them."""
        if built is not None:
            self._meshed = built.labels
            self._current -= built.outdated
            for key, made in built.meshes.items():
                self._put(key, made)
                self._current |= {key}
                yield
        if brain is not None and self._brain is not None and self._brain_surface is None:
            self._brain_surface = self._add_surface(
                brain, "Brain surface", "brain", blending="additive", opacity=BRAIN_OPACITY
            )
            _paint(self._brain_surface, BRAIN_COLOUR)
            if not self._faced and self._in_3d:
                self._faced = True  # once: afterwards the camera is the user's
                face_the_patient(self._viewer, brain[0].min(axis=0), brain[0].max(axis=0))
        with self._viewer.layers.batched_update():  # else napari arranges all layers anew for each that is shown
            self._style()

    def _put(self, key: Key, made: Mesh | None) -> None:
        old = self._surfaces.get(key)
        if made is None:
            if old is not None:
                del self._surfaces[key]
                self._viewer.layers.remove(old)
        elif old is not None:
            old.data = (made[0], made[1], np.ones(len(made[0]), dtype=np.float32))
        else:
            item = _keys(self._scheme())[key]
            name = f"{item} surface ({item_name(self._scheme(), item)})"
            self._surfaces[key] = self._add_surface(made, name, item, blending="translucent", opacity=1.0)

    def _add_surface(self, made: Mesh, name: str, item: str, *, blending: str, opacity: float) -> Surface:
        from napari.layers import Surface

        owner = self._labels if self._labels is not None else self._brain
        info = layer_info(owner) if owner is not None else None
        layer = Surface(
            (made[0], made[1], np.ones(len(made[0]), dtype=np.float32)),
            name=name,
            shading="smooth",
            blending=blending,
            opacity=opacity,
            visible=False,
            units=("mm",) * 3,
            metadata={SURFACE: SurfaceInfo(info.study_id if info else "", item)},
        )
        selected, active = set(self._viewer.layers.selection), self._viewer.layers.selection.active
        self._viewer.layers.insert(self._position(item), layer)
        self._viewer.layers.selection = selected  # a surface must not take the brush away from the labels
        self._viewer.layers.selection.active = active
        return layer

    def _position(self, item: str) -> int:
        """Where in the layer list a new surface goes: below those further out, which are drawn later, over it."""
        layers = list(self._viewer.layers)
        outer = [s for s in self._surfaces.values() if DEPTHS[s.metadata[SURFACE].item] < DEPTHS[item]]
        if self._brain_surface is not None:
            outer.append(self._brain_surface)
        return min((layers.index(s) for s in outer), default=len(layers))

    def _style(self) -> None:
        """Visibility, colour and opacity of every surface from the view; the innermost drawn first, so that it is seen
        through the outer ones.
        """
        if self._labels is not None:
            view = region_view(self._labels)
            items = _keys(view.scheme)
            for key, layer in self._surfaces.items():
                item = items.get(key)
                if item is not None:
                    shown = view.items[item]
                    _paint(layer, shown.colour)
                    layer.opacity = surface_opacity(view, item)
                set_visible(layer, self._in_3d and item is not None and view.items[item].visible and view.visible)
        if self._brain_surface is not None:
            set_visible(self._brain_surface, self._in_3d)

    def _drop_surfaces(self) -> None:
        layers = [*self._surfaces.values(), *([self._brain_surface] if self._brain_surface is not None else [])]
        self._surfaces.clear()
        self._brain_surface = self._meshed = None
        self._current = frozenset()
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)


def _paint(layer: Surface, colour: tuple[float, float, float]) -> None:
    from napari.utils.colormaps import Colormap

    name = "brainseg " + "-".join(f"{c:.3f}" for c in colour)
    if layer.colormap.name != name:
        layer.colormap = Colormap([[*colour, 1.0], [*colour, 1.0]], name=name)
        layer.contrast_limits = (0.0, 1.0)


def _keys(scheme: Scheme) -> dict[Key, str]:
    """The labels of each item of a scheme → the item."""
    return {item_labels(scheme, item): item for item in ITEMS[scheme]}
