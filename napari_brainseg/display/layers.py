"""Studies and segmentations as napari layers. The only place that knows both axis conventions.

World coordinates of the viewer are (I, P, L) in millimetres, each growing towards inferior, posterior and left: minus
(z, y, x) of the RAS millimetres of :class:`~brainseg_engine.geometry.Grid`. With napari's default camera axial, coronal
and sagittal slices are then in radiological convention and 3D is not mirrored.

Arrays are transposed to that axis order as views; flips are in the layer's affine, the voxel sides in its scale. An
oblique grid is shown straightened about its centre (napari paints into the wrong slice otherwise), and its true affine
stays in the layer's :class:`LayerInfo` for saving.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg_engine.errors import BrainsegError
from brainseg_engine.geometry import Affine, Grid
from brainseg_engine.labels import LabelArray, Region
from brainseg_engine.study import Modality, Segmentation, Study, Volume
from napari_brainseg.display.regions import RegionView, label_styles, outline_of
from napari_brainseg.display.windows import brain_window, full_range

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

AXIS_LABELS = ("inferior", "posterior", "left")
"""Names of the world axes: the direction in which each grows."""

INFO = "brainseg"
"""Key of the :class:`LayerInfo` in a layer's metadata."""

_VIEW = "brainseg_view"
_FIRST_SHOWN = (Modality.T1CE, Modality.FLAIR, Modality.T2, Modality.T1)

LayerTuple = tuple[NDArray[Any], dict[str, Any], str]


@dataclass(frozen=True)
class LayerInfo:
    """What a layer of ours is: of which study, on which (true) grid.

    Images carry their ``volume``. Labels carry what a Segmentation needs beside its array, and the ``reference`` volume
    whose header a saved file takes.
    """

    study_id: str
    grid: Grid
    volume: Volume | None = None
    coding: str = "brats2023"
    made_by: str = ""
    regions: tuple[Region, ...] = tuple(Region)
    reference: Volume | None = None


# --- axes ---------------------------------------------------------------------------------------------------------


def ras_to_world(points: ArrayLike) -> NDArray[np.float64]:
    """RAS mm (..., 3) as (x, y, z) → world mm (..., 3) as (I, P, L)."""
    return -np.asarray(points, dtype=np.float64)[..., ::-1]


def world_to_ras(points: ArrayLike) -> NDArray[np.float64]:
    """World mm (..., 3) as (I, P, L) → RAS mm (..., 3) as (x, y, z)."""
    return -np.asarray(points, dtype=np.float64)[..., ::-1]


def axis_order(affine: Affine) -> tuple[int, int, int]:
    """The file axes that run closest to I–S, P–A and L–R, in that order: the transposition of an array for display."""
    from nibabel.orientations import io_orientation

    towards = io_orientation(affine)[:, 0].astype(int).tolist()
    return towards.index(2), towards.index(1), towards.index(0)


def to_display(data: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Affine]:
    """An array (X, Y, Z) in file order with its RAS affine → (view in I, P, L order, 4×4 affine index → world).

    The affine is diagonal: exact for a straight grid, straightened about the grid's centre for an oblique one.
    """
    order = axis_order(affine)
    return np.transpose(data, order), display_affine(Grid(data.shape, affine))


def display_affine(grid: Grid) -> Affine:
    """The 4×4 diagonal affine from indices of the transposed array to world mm."""
    order = axis_order(grid.affine)
    linear = ras_to_world(grid.affine[:3, :3].T).T[:, list(order)]  # columns: the transposed axes, in world mm
    sides = np.sqrt((linear**2).sum(axis=0)) * np.sign(np.diag(linear))
    centre = (np.array(grid.shape) - 1) / 2
    out = np.eye(4)
    out[:3, :3] = np.diag(sides)
    out[:3, 3] = ras_to_world(grid.to_world(centre)) - sides * centre[list(order)]
    return out


def voxel_to_world(grid: Grid, index: ArrayLike) -> NDArray[np.float64]:
    """Voxel indices (..., 3) in file order → the world mm where they are shown (straightened, for an oblique grid)."""
    affine = display_affine(grid)
    shown = np.asarray(index, dtype=np.float64)[..., list(axis_order(grid.affine))]
    return np.asarray(shown * np.diag(affine)[:3] + affine[:3, 3])


def world_to_voxel(grid: Grid, world: ArrayLike) -> NDArray[np.float64]:
    """World mm (..., 3) → fractional voxel indices (..., 3) in file order, the inverse of :func:`voxel_to_world`."""
    affine = display_affine(grid)
    shown = (np.asarray(world, dtype=np.float64) - affine[:3, 3]) / np.diag(affine)[:3]
    out = np.empty_like(shown)
    out[..., list(axis_order(grid.affine))] = shown
    return out


def placement(grid: Grid) -> dict[str, Any]:
    """The keyword arguments that put a layer on a grid: scale (mm), affine (flips, position), units, axis labels."""
    affine = display_affine(grid)
    scale = np.abs(np.diag(affine)[:3])
    flips = affine.copy()
    flips[:3, :3] = np.diag(np.sign(np.diag(affine)[:3]))
    return {"scale": scale, "affine": flips, "units": ("mm",) * 3, "axis_labels": AXIS_LABELS}


# --- putting in ---------------------------------------------------------------------------------------------------


def image_tuples(study: Study) -> list[LayerTuple]:
    """The layers of a study's images as napari's (data, keywords, type), in the order to add them.

    The one to look at first (T1ce, else FLAIR, …) is visible; the others are hidden below it.
    """
    first = next(m for m in _FIRST_SHOWN if m in study.volumes)
    layers: list[LayerTuple] = []
    for modality in (*(m for m in Modality if m in study.volumes and m is not first), first):
        volume = study.volumes[modality]
        view, _ = to_display(volume.data, volume.grid.affine)
        info = LayerInfo(study.id, volume.grid, volume=volume)
        keywords = {
            "name": modality.title,
            "colormap": "gray",
            "contrast_limits": brain_window(view, modality=modality),
            "visible": modality is first,
            "metadata": {INFO: info},
            **placement(volume.grid),
        }
        layers.append((view, keywords, "image"))
    return layers


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
        "metadata": {INFO: info, _VIEW: shown},
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
    found: dict[Modality, Image] = {}
    for layer in reversed(list(viewer.layers)):
        modality = layer_modality(layer)
        study_id = study_id or (layer_study_id(layer) if modality else None)
        if modality and layer_study_id(layer) == study_id:
            found.setdefault(modality, layer)
    return {m: found[m] for m in Modality if m in found}


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
    volumes = {m: info.volume for m, layer in layers.items() if (info := layer_info(layer)) and info.volume}
    if not volumes:
        return None
    first = next(iter(volumes.values()))
    folder = first.path.parent if first.path else None
    coding = next((info.coding for seg in labels_layers(viewer, study_id) if (info := layer_info(seg))), "")
    return Study(str(layer_study_id(next(iter(layers.values())))), volumes, coding=coding, folder=folder)


def labels_of(layer: Labels) -> LabelArray:
    """The layer's labels (X, Y, Z) in file order, uint8, contiguous: a copy."""
    info = _own(layer)
    inverse = np.argsort(axis_order(info.grid.affine))
    return np.array(np.transpose(layer.data, inverse), dtype=np.uint8, order="C")


def segmentation_of(layer: Labels) -> Segmentation:
    """The layer's content as a Segmentation on its true grid: a copy."""
    info = _own(layer)
    return Segmentation(labels_of(layer), info.grid, coding=info.coding, made_by=info.made_by, regions=info.regions)


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
    if not changed.any():
        return
    key = tuple(_span(changed.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3))
    _apply_edit(layer, key, changed[key], new[key])


def set_segmentation(layer: Labels, segmentation: Segmentation) -> None:
    """``set_labels``, and the layer takes over who made it, its coding and which regions were measured."""
    set_labels(layer, segmentation.labels)
    info = replace(
        _own(layer), coding=segmentation.coding, made_by=segmentation.made_by, regions=segmentation.regions
    )
    layer.metadata = {**layer.metadata, INFO: info}


def in_stroke(layer: Labels) -> bool:
    """True while the mouse is painting: wait with results until the stroke is over."""
    return bool(layer._block_history)


def _span(hit: NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(hit)
    return slice(int(where[0]), int(where[-1]) + 1)


def _apply_edit(layer: Labels, key: tuple[slice, ...], mask: NDArray[np.bool_], values: LabelArray) -> None:
    """Write ``values[mask]`` into ``layer.data[key]`` as one item of the undo history.

    napari's public ``data_setitem`` keeps index arrays, six times the memory of its own masked atoms, which are private;
    a test holds this to what napari does.
    """
    from napari.layers.labels.labels import _MaskedPaintAtom

    view = layer.data[key]
    with layer.block_history():  # so that the paint event comes after the write
        layer._save_history(_MaskedPaintAtom(key, mask, view[mask], values[mask]))
        view[mask] = values[mask]
    layer.refresh(extent=False)


# --- how regions are shown ----------------------------------------------------------------------------------------


def region_view(layer: Labels) -> RegionView:
    """The view last applied to the layer, else the default one."""
    view = layer.metadata.get(_VIEW)
    return view if isinstance(view, RegionView) else RegionView()


def colormap_of(view: RegionView) -> Any:
    """The view as a napari DirectLabelColormap: RGBA per label, everything else transparent."""
    from napari.utils.colormaps import DirectLabelColormap

    styles = label_styles(view)
    colours: dict[int | None, Any] = {None: (0.0, 0.0, 0.0, 0.0), 0: (0.0, 0.0, 0.0, 0.0)}
    for label, style in styles.items():
        # A line is thin: it is drawn nearly opaque where an area of that opacity would let the image through.
        alpha = min(1.0, 0.35 + style.opacity) if view.outline else style.opacity
        colours[int(label)] = (*style.colour, alpha)
    return DirectLabelColormap(color_dict=colours)


def apply_region_view(layer: Labels, view: RegionView) -> None:
    """Show the layer as the view says. The layer's own opacity and visibility stay the user's, except that
    ``view.visible`` sets the latter in 2D.
    """
    layer.metadata = {**layer.metadata, _VIEW: view}
    _outline_by_region(layer)
    layer.contour = 1 if view.outline else 0
    layer.colormap = colormap_of(view)  # last: its event tells surfaces and panels that the view changed


def _outline_by_region(layer: Labels) -> None:
    """Make the layer's contours follow the regions shown, not every border between labels.

    Replaces a private method of this one layer: napari outlines each label by itself, which would draw the border of a
    hidden core inside the whole tumour.
    """
    if "_calculate_contour" in vars(layer):
        return
    background = 0

    def contour(labels: NDArray[np.integer], data_slice: tuple[slice, ...]) -> NDArray[np.integer] | None:
        if layer.contour < 1 or labels.ndim > 2:
            return None
        ranks = np.zeros(256, dtype=np.uint8)
        for label, style in label_styles(region_view(layer)).items():
            ranks[int(label)] = style.rank
        halo = tuple(slice(max(s.start - layer.contour, 0), s.stop + layer.contour) for s in data_slice)
        around = labels[halo]
        drawn = np.where(outline_of(around, ranks, layer.contour), around, background).astype(labels.dtype)
        inner = tuple(slice(s.start - h.start, s.stop - h.start) for s, h in zip(data_slice, halo, strict=True))
        return drawn[inner]

    layer._calculate_contour = contour


def _own(layer: Labels) -> LayerInfo:
    info = layer_info(layer)
    if info is None:
        raise BrainsegError(f"The layer '{layer.name}' is not one of a brain study.")
    return info
