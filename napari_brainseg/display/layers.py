"""Studies and segmentations as napari layers, and back. The axes are those of :mod:`napari_brainseg.display.axes`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.core.labels import LabelArray, Region
from brainseg_engine.core.morphology import bounding_box
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from napari_brainseg.display.axes import placement, to_display, to_file
from napari_brainseg.display.history import apply_edit, in_stroke
from napari_brainseg.display.region_layer import VIEW, apply_region_view, colormap_of, set_visible
from napari_brainseg.display.region_style import RegionView
from napari_brainseg.display.windows import brain_window, full_range

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

INFO = "brainseg"
"""Key of the :class:`LayerInfo` in a layer's metadata."""

ACQUIRED = "brainseg_acquired"
"""Key of the modality of a series that is shown as acquired, in its layer's metadata."""

SURFACE = "brainseg_surface"
"""Key of what a surface layer of ours shows, in its metadata."""

_FIRST_SHOWN = (Modality.T1CE, Modality.FLAIR, Modality.T2, Modality.T1)

_NUMBERED = re.compile(r" \[\d+\]$")

LayerTuple = tuple[NDArray[Any], dict[str, Any], str]


@dataclass(frozen=True)
class LayerInfo:
    """What a layer of ours is: of which study, on which (true) grid.

    Images carry their ``volume``, and the study's ``folder`` where there is one. Labels carry what a Segmentation needs
    beside its array, and the ``reference`` volume whose header a saved file takes.
    """

    study_id: str
    grid: Grid
    volume: Volume | None = None
    coding: str = "brats2023"
    made_by: str = ""
    regions: tuple[Region, ...] = tuple(Region)
    reference: Volume | None = None
    folder: Path | None = None


# --- putting in ---------------------------------------------------------------------------------------------------


def image_tuple(
    volume: Volume, *, study_id: str, name: str = "", visible: bool = True, folder: Path | None = None
) -> LayerTuple:
    """One series as napari's (data, keywords, type), grey, its window from the brain."""
    view, _ = to_display(volume.data, volume.grid.affine)
    keywords = {
        "name": name or volume.modality.title,
        "colormap": "gray",
        "interpolation2d": "linear",
        "contrast_limits": brain_window(view, modality=volume.modality),
        "visible": visible,
        "metadata": {INFO: LayerInfo(study_id, volume.grid, volume=volume, folder=folder)},
        **placement(volume.grid),
    }
    return view, keywords, "image"


def plain_tuple(data: NDArray[Any], affine: Affine, *, study_id: str, name: str) -> LayerTuple:
    """An image whose modality is not known, the right way round, as napari's (data, keywords, type)."""
    grid = Grid(data.shape, affine)
    view, _ = to_display(data, affine)
    info = LayerInfo(study_id, grid)
    keywords = {"name": name, "colormap": "gray", "contrast_limits": brain_window(view), "metadata": {INFO: info}}
    return view, {**keywords, **placement(grid)}, "image"


def image_tuples(study: Study) -> list[LayerTuple]:
    """The images of a study, in the order to add them: the one to look at first (T1ce, else FLAIR, …) is visible and
    on top, the others hidden below it.
    """
    first = next(m for m in _FIRST_SHOWN if m in study.volumes)
    order = (*(m for m in Modality if m in study.volumes and m is not first), first)
    return [image_tuple(study.volumes[m], study_id=study.id, visible=m is first, folder=study.folder) for m in order]


def study_tuples(study: Study) -> list[LayerTuple]:
    """The images of a study, and its mask on top where it has one."""
    layers = image_tuples(study)
    if study.segmentation is not None:
        layers.append(labels_tuple(study.segmentation, study_id=study.id, reference=_reference(study)))
    return layers


def _reference(study: Study) -> Volume | None:
    """The series whose header the mask takes: the study's reference, or the one that the mask lies on."""
    grid = study.segmentation.grid if study.segmentation is not None else study.reference.grid
    volumes = (study.reference, *study.volumes.values())
    return next((v for v in volumes if v.grid.same_as(grid)), None)


def labels_tuple(
    segmentation: Segmentation, *, study_id: str, name: str = "Segmentation", reference: Volume | None = None
) -> LayerTuple:
    """The labels layer of a segmentation as napari's (data, keywords, type). The array is a writable copy."""
    view, _ = to_display(segmentation.labels, segmentation.grid.affine)
    info = LayerInfo(
        study_id,
        segmentation.grid,
        coding=segmentation.coding,
        made_by=segmentation.made_by,
        regions=segmentation.regions,
        reference=reference,
    )
    shown = RegionView()
    keywords = {
        "name": name,
        "colormap": colormap_of(shown),
        "opacity": 1.0,  # transparency is each region's own
        "metadata": {INFO: info, VIEW: shown},
        **placement(segmentation.grid),
    }
    return np.array(view, order="C"), keywords, "labels"


def add_study(viewer: ViewerModel, study: Study) -> dict[Modality, Image]:
    """Add a study's images, one visible, and return modality → layer. The camera and slice go to the study if it is
    the first thing in the viewer.
    """
    from napari.layers import Image

    layers: dict[Modality, Image] = {}
    for data, keywords, _ in image_tuples(study):
        layer = Image(data, **keywords)
        layer.contrast_limits_range = full_range(data)
        layers[keywords["metadata"][INFO].volume.modality] = layer
        viewer.add_layer(layer)
    return layers


def show_study(viewer: ViewerModel, study: Study, tuples: list[LayerTuple] | None = None) -> dict[Modality, Image]:
    """As :func:`add_study`, in the image layers of ours that are there: making and removing one costs napari half a second.
    ``tuples``: what :func:`image_tuples` gives for the study, where that is known already.

    Layers of series that the study lacks go; window, place and slice are those of the new study.
    """
    from napari.layers import Image

    there = [layer for layer in viewer.layers if isinstance(layer, Image) and layer_modality(layer)]
    if not there or viewer.dims.ndisplay == 3:  # in 3D they are parked
        for layer in there:
            viewer.layers.remove(layer)
        return add_study(viewer, study)
    shown: dict[Modality, Image] = {}
    tuples = image_tuples(study) if tuples is None else tuples
    for layer in there[len(tuples) :]:
        viewer.layers.remove(layer)
    moved = not study.reference.grid.same_as(_own(there[0]).grid)
    for layer, (data, keywords, _) in zip(there, tuples, strict=False):
        _show_in(layer, data, keywords)
        shown[keywords["metadata"][INFO].volume.modality] = layer
    for data, keywords, _ in tuples[len(there) :]:
        layer = Image(data, **keywords)
        viewer.layers.insert(viewer.layers.index(there[-1]) + 1, layer)
        shown[keywords["metadata"][INFO].volume.modality] = layer
    settle(shown.values())
    if moved:
        middle = viewer.layers.extent.world.mean(axis=0)
        viewer.dims.point = tuple(float(p) for p in middle)
    return shown


def _show_in(layer: Image, data: NDArray[Any], keywords: Mapping[str, Any]) -> None:
    """Show another series in the layer. It is hidden meanwhile, so that nothing half changed is sliced and drawn."""
    set_visible(layer, False)
    layer.name = keywords["name"]
    layer.metadata = keywords["metadata"]
    low, high = keywords["contrast_limits"]
    reach = layer.contrast_limits_range
    layer.data = data
    if not np.array_equal(layer.scale, keywords["scale"]):
        layer.scale = keywords["scale"]
    if not np.array_equal(layer.affine.affine_matrix, keywords["affine"]):
        layer.affine = keywords["affine"]
    layer.contrast_limits_range = (min(low, reach[0]), max(high, reach[1]))
    layer.contrast_limits = (low, high)
    set_visible(layer, keywords["visible"])


def settle(images: Iterable[Layer]) -> None:
    """Names without napari's number for a second of that name, and windows that can be widened."""
    from napari.layers import Image

    for layer in images:
        layer.name = _NUMBERED.sub("", layer.name)
        if isinstance(layer, Image):
            low, high = full_range(layer.data)
            now = layer.contrast_limits
            layer.contrast_limits_range = (min(low, now[0]), max(high, now[1]))


def add_segmentation(
    viewer: ViewerModel,
    segmentation: Segmentation,
    *,
    study_id: str,
    name: str = "Segmentation",
    reference: Volume | None = None,
) -> Labels:
    """Add a segmentation as a writable copy on top of the images, in the default view. ``reference``: see LayerInfo."""
    from napari.layers import Labels

    data, keywords, _ = labels_tuple(segmentation, study_id=study_id, name=name, reference=reference)
    layer = Labels(data, **keywords)
    apply_region_view(layer, RegionView())
    viewer.add_layer(layer)
    return layer


# --- reading back -------------------------------------------------------------------------------------------------


def layer_info(layer: Layer) -> LayerInfo | None:
    """What the layer is, or None where it is not ours."""
    info = layer.metadata.get(INFO)
    return info if isinstance(info, LayerInfo) else None


def layer_study_id(layer: Layer) -> str | None:
    """The id of the study the layer belongs to, or None where it is not ours."""
    info = layer_info(layer)
    return info.study_id if info else None


def layer_modality(layer: Layer) -> Modality | None:
    """The modality that an image layer shows, or None where it is none of ours."""
    info = layer_info(layer)
    return info.volume.modality if info and info.volume else None


def image_layers(viewer: ViewerModel, study_id: str | None = None) -> dict[Modality, Image]:
    """Modality → image layer of that study (of the topmost study when None), in the order T1, T1ce, T2, FLAIR."""
    images: dict[Modality, Image] = {}
    for layer in reversed(list(viewer.layers)):
        modality = layer_modality(layer)
        study_id = study_id or (layer_study_id(layer) if modality else None)
        if modality and layer_study_id(layer) == study_id:
            images.setdefault(modality, layer)
    return {m: images[m] for m in Modality if m in images}


def labels_layers(viewer: ViewerModel, study_id: str | None = None) -> list[Labels]:
    """Our labels layers, topmost first; those of one study only where its id is given."""
    from napari.layers import Labels

    return [
        layer
        for layer in reversed(list(viewer.layers))
        if isinstance(layer, Labels) and layer_info(layer) and study_id in (None, layer_study_id(layer))
    ]


def study_of(viewer: ViewerModel, study_id: str | None = None) -> Study | None:
    """The study whose images are in the viewer (the topmost when no id is given), put together from its layers."""
    layers = image_layers(viewer, study_id)
    infos = {m: info for m, layer in layers.items() if (info := layer_info(layer))}
    volumes = {m: info.volume for m, info in infos.items() if info.volume}
    if not volumes:
        return None
    first = next(iter(volumes.values()))
    folder = first.path.parent if first.path else next((i.folder for i in infos.values() if i.folder), None)
    coding = next((info.coding for seg in labels_layers(viewer, study_id) if (info := layer_info(seg))), "")
    return Study(str(layer_study_id(next(iter(layers.values())))), volumes, coding=coding, folder=folder)


def labels_of(layer: Labels) -> LabelArray:
    """The layer's labels (X, Y, Z) in file order, uint8, contiguous: a copy."""
    info = _own(layer)
    return np.array(to_file(layer.data, info.grid.affine), dtype=np.uint8, order="C")


def segmentation_of(layer: Labels) -> Segmentation:
    """The layer's content as a Segmentation on its true grid: a copy."""
    info = _own(layer)
    return Segmentation(labels_of(layer), info.grid, coding=info.coding, made_by=info.made_by, regions=info.regions)


def snapshot(layer: Labels) -> Segmentation:
    """``segmentation_of`` in the memory order of the canvas: 1 ms for a study of full size, where the other takes 50."""
    info = _own(layer)
    labels = to_file(layer.data.astype(np.uint8), info.grid.affine)
    return Segmentation(labels, info.grid, coding=info.coding, made_by=info.made_by, regions=info.regions)


# --- changing -----------------------------------------------------------------------------------------------------


def set_labels(layer: Labels, labels: LabelArray) -> None:
    """Replace the content with ``labels`` (X, Y, Z) in file order, as one undoable step. Equal content is no step.

    Raises ValueError where the shape does not fit, or in the middle of a brush stroke (see :func:`in_stroke`).
    """
    new, _ = to_display(labels, _own(layer).grid.affine)
    if new.shape != layer.data.shape:
        raise ValueError(f"labels of shape {labels.shape} do not fit the layer")
    if in_stroke(layer):
        raise ValueError("a brush stroke is open; what came now would join its undo step")
    changed = new != layer.data
    box = bounding_box(changed)
    if box is not None:
        apply_edit(layer, box, changed[box], new[box])


def set_segmentation(layer: Labels, segmentation: Segmentation) -> None:
    """``set_labels``, and the layer takes over who made it, its coding and which regions were measured."""
    set_labels(layer, segmentation.labels)
    info = replace(_own(layer), coding=segmentation.coding, made_by=segmentation.made_by, regions=segmentation.regions)
    layer.metadata = {**layer.metadata, INFO: info}


def _own(layer: Labels) -> LayerInfo:
    info = layer_info(layer)
    if info is None:
        raise InputError(f"The layer '{layer.name}' is not one of a brain study.")
    return info
