"""Correcting the labels by hand and by 3D tools."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine import edits
from brainseg_engine.core.labels import LABEL_NAMES, Label, LabelArray, Region
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.edits import Guard, Target
from napari_brainseg.display import axes, history, layers, planes
from napari_brainseg.display.history import UndoStep
from napari_brainseg.display.pointing import Index, Pointer, index_at, index_at_cursor
from napari_brainseg.display.tools import Tool
from napari_brainseg.display.windows import brain_window
from napari_brainseg.features.context import Context
from napari_brainseg.features.paint.clicking import Clicking
from napari_brainseg.features.paint.labels_edit import LabelsEdit, named
from napari_brainseg.session import BY_HAND, Answer, Kind

if TYPE_CHECKING:
    from napari.layers import Labels

_TARGETS: tuple[Target, ...] = (Region.WT, Region.TC, Region.ET)
_CLASSES: tuple[Target, ...] = (Label.NCR, Label.ED, Label.ET)
_BRIGHT = {Region.ET: Modality.T1CE, Label.ET: Modality.T1CE, Region.TC: Modality.T1CE, Label.NCR: Modality.T1CE}
"""Target → the series one sees it in; the oedema in FLAIR."""


@dataclass(frozen=True)
class RegionSource:
    """Another segmentation of the open study that a region can be taken from."""

    name: str
    labels: Callable[[], LabelArray]
    """Its labels, in the layer's axis order."""


class PaintVerbs:
    """What the buttons of the paint section mean."""

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.brush = context.brush
        self.pointer = Pointer(context.viewer)
        self._edit = LabelsEdit(context)
        self.clicking = Clicking(context, self._edit)
        context.follow(context.session.study_changed, self._follow)
        context.follow(context.labels_changed, self._follow)
        context.follow(context.easel_changed, self._follow)

    def close(self) -> None:
        """Take the hands off the canvas: napari's tools are plain again."""
        self.pointer.drop()
        self.clicking.close()
        self.brush.close()

    # --- what to correct

    def _follow(self) -> None:
        """Hold the tools of the layer that is painted on to the settings: the open study's, or that of a series as acquired."""
        current, layer, easel = self._session.study, self._context.labels, self._context.easel
        if easel is not None:
            self.brush.follow(easel.layer, easel.study, easel.brain, easel.reach)
            return
        self.brush.follow(layer, current.study if current is not None else None)
        if layer is None:
            self.pointer.drop()
        elif self.brush.settings.inside:
            self._context.run(self.brush.brain, lambda _: None)  # the first dab need not wait for it

    def new_mask(self) -> None:
        """Begin a segmentation of the open study from nothing."""
        current = self._session.study
        if current is None:
            self._session.say("Open a study first.", Kind.WARNING)
            return
        if self._session.segmentation is not None:
            self._session.say("There is a segmentation already; erase the whole tumour to begin anew.", Kind.WARNING)
            return
        grid = current.study.reference.grid
        coding = current.study.coding or "brats2023"
        empty = Segmentation(np.zeros(grid.shape, dtype=np.uint8), grid, coding, BY_HAND)
        self._session.deliver(Answer.of(empty))
        self._session.say("An empty mask: choose a region and paint. Ctrl+Z takes back.")

    # --- how to paint

    def choose_tool(self, tool: Tool) -> None:
        """Take a tool; in 3D, where nothing can be painted, the plane that one came from is shown."""
        if self._viewer.dims.ndisplay == 3 and tool is not Tool.MOVE:
            planes.set_3d(self._viewer, False)
        self.brush.choose(tool)

    def change_brush(self, **what: Any) -> None:
        """Change some of the :class:`~napari_brainseg.display.tools.BrushSettings`."""
        self.brush.settings = replace(self.brush.settings, **what)

    def set_brush_size(self, size: int) -> None:
        """The brush's diameter in voxels."""
        if self.brush.layer is not None:
            self.brush.layer.brush_size = size

    def next_target(self, step: int = 1) -> None:
        """The next target of the scheme in use, from the outside in."""
        targets = _TARGETS if isinstance(self.brush.settings.target, Region) else _CLASSES
        here = targets.index(self.brush.settings.target) if self.brush.settings.target in targets else 0
        self.change_brush(target=targets[(here + step) % len(targets)])

    @property
    def threshold_series(self) -> Modality | None:
        """The series that the threshold brush looks at, or would: the one chosen, else the one that shows the target best."""
        settings = self.brush.settings
        if settings.modality is not None:
            return settings.modality
        wanted = _BRIGHT.get(settings.target, Modality.FLAIR)
        return wanted if wanted in self.brush.images else next(iter(self.brush.images), None)

    def switch_threshold(self, on: bool) -> None:
        """The threshold brush, on the series that shows the target best unless one was chosen; its upper half at first."""
        settings = self.brush.settings
        if on and settings.modality is None:
            modality = self.threshold_series
            if modality is None:
                self._session.say(
                    "No series lies on the grid of these labels: there is nothing to threshold.", Kind.WARNING
                )
                return
            self.change_brush(threshold=True, modality=modality, limits=self._first_limits(modality))
            return
        self.change_brush(threshold=on)

    def toggle_threshold(self) -> None:
        """The threshold brush, or the plain one."""
        if self.brush.layer is not None:
            self.switch_threshold(not self.brush.settings.threshold)

    def choose_threshold_series(self, modality: Modality) -> None:
        """Threshold another series."""
        if modality in self.brush.images:
            self.change_brush(modality=modality, limits=self._first_limits(modality))

    def _first_limits(self, modality: Modality) -> tuple[float, float]:
        image = self.brush.images[modality]
        black, white = brain_window(image, modality=modality)
        return (black + white) / 2, max(float(image.max()), white)

    # --- undo

    def undo(self) -> None:
        """Take the last step back."""
        self._step("undo")

    def redo(self) -> None:
        """Take the last undone step again."""
        self._step("redo")

    def _step(self, what: str) -> None:
        layer = self._stepped(what)
        if layer is not None and not history.in_stroke(layer):
            getattr(layer, what)()

    def _stepped(self, what: str) -> Labels | None:
        """The layer whose step is next: the one painted on; where that has none, the labels of the open study."""
        layer = self.brush.layer
        if layer is not None and not _steps(layer, what) and self._context.labels is not None:
            return self._context.labels
        return layer

    def steps(self, what: str) -> list[UndoStep]:
        """What "undo" or "redo" would take, the next one last; none in mid-stroke."""
        layer = self._stepped(what)
        return _steps(layer, what) if layer is not None and not history.in_stroke(layer) else []

    # --- 3D tools

    @property
    def works(self) -> Mapping[str, Callable[[float | None], None]]:
        """Name of a button of :data:`.works.WORKS` → what it does, given its number."""
        return {
            "interpolate": lambda number: self.interpolate(int(number or 20)),
            "grow": lambda number: self.grow(number or 20.0),
            "smooth": lambda number: self.smooth(number or 1.0),
            "islands": lambda number: self.remove_islands(number or 0.1),
            "holes": lambda _: self.fill_holes(),
            "holes_flat": lambda _: self.fill_holes(flat=True),
            "relabel": lambda _: self.relabel(),
            "erase_part": lambda _: self.erase_component(),
        }

    def interpolate(self, most_apart: int = 20) -> None:
        """Fill in between the slices of the plane shown that were painted, else between those that hold the target."""
        layer = self.brush.layer
        if layer is None:
            return
        plane = planes.plane_of(self._viewer) or planes.Plane.AXIAL
        axis = planes.ORDERS[plane][0]
        marked = self.brush.painted_slices(axis)
        slices = marked if len(marked) > 1 else None
        where = f"between {len(marked)} painted {plane.value} slices" if slices else f"between {plane.value} slices"
        target, guard = self._target_and_guard()
        self._edit.run(
            "interpolate",
            f"interpolated {where}",
            lambda x: edits.interpolate(
                x, target, axis, layer.scale, slices=slices, most_apart=most_apart, guard=guard
            ),
            f"no two {plane.value} slices with {named(target)} and a gap of at most {most_apart} slices between them; "
            "paint two, then interpolate",
        )

    def smooth(self, sigma_mm: float = 1.0) -> None:
        """Smooth the target's surface; its volume stays."""
        layer = self.brush.layer
        if layer is not None:
            target, guard = self._target_and_guard()
            spacing = tuple(layer.scale)
            self._edit.run("smooth", "smoothed", lambda x: edits.smooth(x, target, sigma_mm, spacing, guard))

    def fill_holes(self, flat: bool = False) -> None:
        """Fill what the target encloses: in 3D, or in every slice of the plane shown."""
        target, guard = self._target_and_guard()
        plane = planes.plane_of(self._viewer) or planes.Plane.AXIAL
        axis = planes.ORDERS[plane][0] if flat else None
        self._edit.run("fill holes", "holes filled", lambda x: edits.fill_holes(x, target, guard, axis))

    def remove_islands(self, below_ml: float = 0.1) -> None:
        """Erase the target's components below that volume."""
        info = layers.layer_info(self.brush.layer) if self.brush.layer is not None else None
        if info is not None:
            target, guard = self._target_and_guard()
            ml = info.grid.voxel_ml or 1e-3  # not known: a thousand voxels to the millilitre
            words = f"freed of islands below {below_ml:g} mL"
            self._edit.run("remove islands", words, lambda x: edits.remove_islands(x, target, below_ml, ml, guard))

    def take(self, source: RegionSource) -> None:
        """The target becomes what it is in another segmentation."""
        target, guard = self._target_and_guard()
        self._edit.run("take", f"taken from {source.name}",
                  lambda x: edits.take_region(x, source.labels(), target, guard))  # fmt: skip

    @property
    def sources(self) -> list[RegionSource]:
        """The segmentations that a region can be taken from."""
        current, layer = self._session.study, self.brush.layer
        info = layers.layer_info(layer) if layer is not None else None
        if current is None or layer is None or info is None:
            return []
        sources: list[RegionSource] = []
        delivered = self._session.segmentation
        for segmentation, name in ((delivered, _origin(delivered)), (current.truth, "the study's own mask")):
            if segmentation is not None and segmentation.grid.same_as(info.grid):
                sources.append(RegionSource(name, partial(_shown, segmentation)))
        for name, answer in self._session.answers.items():
            if answer.segmentation.grid.same_as(info.grid) and answer is not self._session.answer:
                sources.append(RegionSource(f"the answer of {name}", partial(_shown, answer.segmentation)))
        for other in layers.labels_layers(self._viewer, current.study.id):
            other_info = layers.layer_info(other)
            if other is not layer and other_info is not None and other_info.grid.same_as(info.grid):
                sources.append(RegionSource(f"layer '{other.name}'", partial(_copy, other)))
        return sources

    # --- tools at a point

    def grow(self, reach_mm: float = 20.0, here: bool = False) -> None:
        """Grow the target from a click (``here``: from under the mouse) through what is as bright: within the threshold
        while that is on, else like the voxel's surroundings.
        """
        self._at("grow from", partial(self._grow, reach_mm), here)

    def _grow(self, reach_mm: float, index: Index) -> None:
        layer, settings = self.brush.layer, self.brush.settings
        modality = settings.modality if settings.threshold else self._shown_series()
        if layer is None or modality is None:
            self._session.say("No series is shown that lies on the grid of these labels.", Kind.WARNING)
            return
        image = self.brush.images[modality]
        by_eye = settings.limits if settings.threshold else None
        limits = by_eye or edits.limits_like(image, index, self._usual(image))
        target, guard = self._target_and_guard()
        spacing = tuple(layer.scale)
        words = f"grown through {modality.title} {_between(limits)}"
        self._edit.run("grow", words,
                  lambda x: edits.grow(x, target, image, index, limits, reach_mm, spacing, guard))  # fmt: skip

    def _usual(self, image: NDArray[Any]) -> float:
        """The median intensity of the brain, from every fourth voxel along each axis."""
        few = (slice(None, None, 4),) * 3
        brain = self.brush.brain()
        values = image[few][brain[few]] if brain is not None else image[few]
        return float(np.median(values)) if values.size else 0.0

    def relabel(self, here: bool = False) -> None:
        """Give the component clicked on (``here``: under the mouse) the class of the target."""
        target, guard = self._target_and_guard()
        to = edits.stroke(edits.Action.PAINT, target).label
        words = f"component is {LABEL_NAMES[to]} now"
        self._at("relabel", lambda i: self._edit.run("relabel", words,
                                               lambda x: edits.relabel_component(x, i, to, guard)), here)  # fmt: skip

    def erase_component(self, here: bool = False) -> None:
        """Erase the target's component clicked on (``here``: under the mouse)."""
        target, guard = self._target_and_guard()
        self._at("erase", lambda i: self._edit.run("erase component", "component erased",
                                             lambda x: edits.erase_component(x, i, target, guard)), here)  # fmt: skip

    def _at(self, verb: str, then: Callable[[Index], None], here: bool) -> None:
        layer = self.brush.layer
        if layer is None:
            return
        if here:
            index = index_at_cursor(self._viewer, layer)
            if index is not None:
                then(index)
            return

        def clicked(world: Any) -> None:
            index = index_at(layer, world) if self.brush.layer is layer else None
            self._session.say("")
            if index is not None:
                then(index)
            self.brush.changed.emit()

        if self._viewer.dims.ndisplay == 3:
            planes.set_3d(self._viewer, False)
        self.pointer.ask(clicked)
        self._session.say(f"Click on the image what to {verb}.")

    def _shown_series(self) -> Modality | None:
        """The topmost visible series on the labels' grid."""
        images = layers.image_layers(self._viewer, self._session.study.study.id if self._session.study else None)
        shown = [m for m, layer in images.items() if layer.visible and m in self.brush.images]
        own = next(iter(self.brush.images), None) if self._context.easel is not None else None
        return max(shown, key=lambda m: self._viewer.layers.index(images[m]), default=own)

    # --- doing it

    def _target_and_guard(self) -> tuple[Target, Guard]:
        return self.brush.settings.target, self.brush.guard()


def _steps(layer: Labels, what: str) -> list[UndoStep]:
    steps = history.history_of(layer)
    return steps.done if what == "undo" else steps.undone


def _between(limits: tuple[float, float]) -> str:
    low, high = limits
    if math.isinf(high):
        return f"above {low:.0f}"
    return f"below {high:.0f}" if math.isinf(low) else f"{low:.0f}–{high:.0f}"


def _origin(segmentation: Segmentation | None) -> str:
    if segmentation is None or segmentation.path is not None or not segmentation.made_by:
        return "the mask as it was opened"
    return f"{segmentation.made_by}'s answer" if segmentation.made_by != BY_HAND else "the empty mask"


def _shown(segmentation: Segmentation) -> LabelArray:
    return axes.to_display(segmentation.labels, segmentation.grid.affine)[0]


def _copy(layer: Labels) -> LabelArray:
    return np.array(layer.data, dtype=np.uint8)
