"""The 3D view: a smooth surface per region over a translucent brain, following the labels.

Volume rendering of labels costs 25 times more per frame than surfaces and looks worse, so in 3D the labels and images of
our studies hide, and come back as they were in 2D. Meshes are made in a background thread; their layers are made and
changed on the GUI thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.geometry import Grid
from brainseg_engine.labels import Label, LabelArray
from brainseg_engine.morphology import Mesh, mesh
from napari_brainseg.display.canvas import face_the_patient
from napari_brainseg.display.layers import INFO, display_affine, layer_info, region_view
from napari_brainseg.display.regions import ITEMS, MAIN_ITEMS, RegionView, Scheme, item_labels, item_name
from napari_brainseg.display.windows import foreground

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer, Surface

Background = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""``background(work, done)`` runs ``work()`` elsewhere and then ``done(its result)`` on the GUI thread."""

SURFACE = "brainseg_surface"
"""Key of the :class:`SurfaceInfo` in a surface layer's metadata."""

BRAIN_COLOUR = (0.80, 0.78, 0.74)
BRAIN_OPACITY = 0.25
_BRAIN_STEP_MM = 2.0
_SMOOTHING_MM = 0.8
_POLL_S = 0.05

Key = frozenset[Label]
"""A surface is known by the labels it encloses: the enhancing tumour is one in both schemes."""


@dataclass(frozen=True)
class SurfaceInfo:
    """What a surface layer of ours shows: of which study, and which item ("WT", "NCR", … or "brain")."""

    study_id: str
    item: str


@dataclass(frozen=True)
class _Built:
    """What the background made: meshes in world mm (None: nothing there), the labels they were made of, and the surfaces
    that these labels put out of date and that are not wanted now.
    """

    meshes: Mapping[Key, Mesh | None]
    labels: LabelArray
    outdated: frozenset[Key]


def in_thread(work: Callable[[], Any], done: Callable[[Any], None]) -> None:
    """The :data:`Background` of a real napari window: a worker of napari's own thread pool."""
    from napari.qt.threading import create_worker

    create_worker(work, _connect={"returned": done})


def world_mesh(mask: NDArray[np.bool_], affine: NDArray[np.float64], sigma_mm: float = _SMOOTHING_MM) -> Mesh | None:
    """The surface of a mask in display order: vertices (n, 3) in world mm and faces wound outwards; None if empty.

    ``affine`` is the diagonal display affine of the mask.
    """
    vertices, faces = mesh(mask, Grid(mask.shape, affine), sigma=sigma_mm)
    if not len(faces):
        return None
    sides = np.diag(affine)[:3]
    placed = (vertices * sides + affine[:3, 3]).astype(np.float32)
    return placed, np.ascontiguousarray(faces[:, ::-1] if np.prod(sides) < 0 else faces)


def brain_mesh(data: NDArray[Any], grid: Grid) -> Mesh | None:
    """The surface of the head or brain in an image in display order on ``grid`` (its true one), at 2 mm or coarser."""
    from scipy.ndimage import binary_closing, binary_fill_holes

    from brainseg_engine.morphology import components

    affine = display_affine(grid)
    steps = [max(1, round(_BRAIN_STEP_MM / abs(s))) for s in np.diag(affine)[:3]]
    inside = binary_fill_holes(binary_closing(np.pad(foreground(data[tuple(slice(None, None, s) for s in steps)]), 2)))
    labelled, n = components(inside)
    if n > 1:
        inside = labelled == 1 + int(np.argmax(np.bincount(labelled.ravel())[1:]))
    coarse = affine.copy()
    coarse[:3, :3] = affine[:3, :3] @ np.diag(steps)
    coarse[:3, 3] -= coarse[:3, :3] @ np.full(3, 2.0)  # the padding
    return world_mesh(inside, coarse, sigma_mm=2.0)


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
        self._surfaces: dict[Key, Surface] = {}
        self._brain_surface: Surface | None = None
        self._meshed: LabelArray | None = None
        self._current: frozenset[Key] = frozenset()  # those whose surface (or lack of one) is that of _meshed
        self._hidden: dict[Layer, bool] = {}
        self._busy = self._again = self._closed = False
        self._last_edit = 0.0
        self._faced = False
        viewer.dims.events.ndisplay.connect(self._on_ndisplay, position="first")
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.events.inserted.connect(self._on_inserted)

    # --- what is shown

    @property
    def surfaces(self) -> dict[str, Surface]:
        """Item of the scheme in use → its surface layer; "brain" → the brain. Items without a voxel are absent."""
        found = {item: self._surfaces[key] for key, item in _keys(self._scheme()).items() if key in self._surfaces}
        return {**found, **({"brain": self._brain_surface} if self._brain_surface is not None else {})}

    @property
    def busy(self) -> bool:
        """True while meshes are being made."""
        return self._busy

    def follow(self, labels: Labels | None, brain: Image | None = None) -> None:
        """Show this labels layer in 3D from now on, over the brain in this image layer (None: nothing)."""
        if labels is self._labels and brain is self._brain:
            return
        self._disconnect()
        self._drop_surfaces()
        self._labels, self._brain = labels, brain
        if labels is not None:
            labels.events.paint.connect(self._on_edit)
            labels.events.set_data.connect(self._on_edit)  # undo and redo tell by this event only
            labels.events.data.connect(self._on_edit)
            labels.events.colormap.connect(self._on_view)
        if self._in_3d:
            self._hide_volumes()
            self._request()

    def close(self) -> None:
        """Take the surfaces away, show again what was hidden, and follow nothing more."""
        if self._closed:
            return
        self._closed = True
        self._viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._disconnect()
        self._drop_surfaces()
        self._restore_volumes()

    # --- events

    @property
    def _in_3d(self) -> bool:
        return bool(self._viewer.dims.ndisplay == 3)

    def _on_ndisplay(self, event: object = None) -> None:
        if self._in_3d:
            self._hide_volumes()  # before napari slices them in 3D, which takes seconds
            if tuple(self._viewer.dims.order) != (0, 1, 2):
                self._viewer.dims.order = (0, 1, 2)
            if not self._faced:
                self._faced = True  # once: afterwards the camera is the user's
                face_the_patient(self._viewer)
            self._style()
            self._request()
        else:
            self._style()
            self._restore_volumes()

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
            self._hide_volumes()

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        self._hidden.pop(layer, None)
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
            events = self._labels.events
            for emitter in (events.paint, events.set_data, events.data):
                emitter.disconnect(self._on_edit)
            events.colormap.disconnect(self._on_view)

    # --- the layers that hide

    def _hide_volumes(self) -> None:
        for layer in self._viewer.layers:
            if INFO in layer.metadata and layer not in self._hidden:
                self._hidden[layer] = layer.visible
                layer.visible = False

    def _restore_volumes(self) -> None:
        for layer, visible in self._hidden.items():
            if layer in self._viewer.layers:
                layer.visible = visible
        self._hidden.clear()

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
        labels, brain = self._labels, self._brain
        missing_brain = brain if self._brain_surface is None else None
        scheme, current, before = self._scheme(), self._current, self._meshed

        def work() -> tuple[_Built | None, Mesh | None]:
            built = self._build(labels, scheme, current, before) if labels is not None else None
            info = layer_info(missing_brain) if missing_brain is not None else None
            return built, brain_mesh(missing_brain.data, info.grid) if missing_brain is not None and info else None

        def done(result: tuple[_Built | None, Mesh | None]) -> None:
            self._busy = False
            if self._closed:
                return
            if labels is self._labels and brain is self._brain:
                self._deliver(*result)
            else:
                self._again = True
            if self._again and self._in_3d:
                self._request()

        self._background(work, done)

    def _build(self, layer: Labels, scheme: Scheme, current: frozenset[Key], before: LabelArray | None) -> _Built | None:
        """In the background: wait for a pause in the editing, then mesh the items whose labels changed."""
        while before is not None and time.monotonic() - self._last_edit < self._quiet_s and not self._closed:
            time.sleep(_POLL_S)
        labels: LabelArray = np.array(layer.data, dtype=np.uint8)
        info = layer_info(layer)
        if info is None:
            return None
        affine = display_affine(info.grid)
        touched = _touched(labels, before)
        wanted = _keys(scheme).keys()
        meshes = {
            key: world_mesh(np.isin(labels, [int(v) for v in key]), affine)
            for key in wanted
            if key not in current or not touched.isdisjoint(key)
        }
        outdated = {key for key in current - wanted if not touched.isdisjoint(key)}
        return _Built(meshes, labels, frozenset(outdated))

    def _deliver(self, built: _Built | None, brain: Mesh | None) -> None:
        """On the GUI thread: bring the surface layers in line with what was made."""
        if built is not None:
            self._meshed = built.labels
            self._current = (self._current - built.outdated) | built.meshes.keys()
            for key, made in built.meshes.items():
                self._put(key, made)
        if brain is not None and self._brain is not None and self._brain_surface is None:
            self._brain_surface = self._add_surface(
                brain, "Brain surface", "brain", blending="additive", opacity=BRAIN_OPACITY
            )
            self._paint(self._brain_surface, BRAIN_COLOUR)
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
        outer = [s for s in self._surfaces.values() if _depth(s.metadata[SURFACE].item) < _depth(item)]
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
                    self._paint(layer, shown.colour)
                    layer.opacity = surface_opacity(view, item)
                layer.visible = self._in_3d and item is not None and view.items[item].visible and view.visible
        if self._brain_surface is not None:
            self._brain_surface.visible = self._in_3d

    @staticmethod
    def _paint(layer: Surface, colour: tuple[float, float, float]) -> None:
        from napari.utils.colormaps import Colormap

        name = "brainseg " + "-".join(f"{c:.3f}" for c in colour)
        if layer.colormap.name != name:
            layer.colormap = Colormap([[*colour, 1.0], [*colour, 1.0]], name=name)
            layer.contrast_limits = (0.0, 1.0)

    def _drop_surfaces(self) -> None:
        layers = [*self._surfaces.values(), *([self._brain_surface] if self._brain_surface is not None else [])]
        self._surfaces.clear()
        self._brain_surface = self._meshed = None
        self._current = frozenset()
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)


def surface_opacity(view: RegionView, item: str) -> float:
    """The opacity of an item's surface in 3D: as set for the outer ones, nearly solid for the innermost that is visible,
    which nothing has to be seen through.
    """
    opacity = view.items[item].opacity
    inside = list(view.items)[list(view.items).index(item) + 1 :]
    covered = any(view.items[i].visible for i in inside if i in MAIN_ITEMS[view.scheme])
    return opacity if covered else opacity**0.25


def _keys(scheme: Scheme) -> dict[Key, str]:
    """The labels of each item of a scheme → the item."""
    return {item_labels(scheme, item): item for item in ITEMS[scheme]}


def _depth(item: str) -> int:
    """How far inside an item lies: the brain -1, the whole tumour or oedema 0, and so on."""
    return max((items.index(item) for items in ITEMS.values() if item in items), default=-1)


def _touched(labels: LabelArray, before: LabelArray | None) -> set[int]:
    """The labels that gained or lost voxels since ``before`` (all present ones when there is none to compare)."""
    if before is None or before.shape != labels.shape:
        return {int(v) for v in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:]) + 1}
    changed = labels != before
    values = np.concatenate([labels[changed], before[changed]])
    return {int(v) for v in np.flatnonzero(np.bincount(values, minlength=256))} - {0}
