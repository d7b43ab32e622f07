"""A segmentation over its images in three planes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.brain import brain
from brainseg_engine.core.errors import GeometryError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LABEL_NAMES, REGION_NAMES, Label, Region, region_mask
from brainseg_engine.core.palette import LABEL_COLOURS
from brainseg_engine.core.study import Segmentation, Study, Volume
from brainseg_engine.figures.canvas import FAINT, GROUND, TEXT, dark_figure, save

OPACITY = 0.5
NOTE = "For research use only, not for diagnosis."
_MARGIN_MM = 6.0


@dataclass(frozen=True)
class PagePlane:
    """A radiological plane. ``across``: the RAS axis it is cut across; ``right`` and ``down``: which way the page runs.

    A way is (RAS axis, sign): (0, -1) runs towards the patient's left.
    """

    name: str
    across: int
    right: tuple[int, int]
    down: tuple[int, int]

    @property
    def marks(self) -> tuple[str, str, str, str]:
        """The patient's sides at the left, right, top and bottom of the page."""
        (x, to_right), (y, to_bottom) = self.right, self.down
        return _side(x, -to_right), _side(x, to_right), _side(y, -to_bottom), _side(y, to_bottom)

    def cut(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        """The slice of an array whose axes run along R, A, S, as (rows, columns) of the page."""
        flat = array.take(index, self.across)
        if self.down[0] > self.right[0]:
            flat = flat.T
        page: NDArray[Any] = flat[:: self.down[1], :: self.right[1]]
        return page

    def size_mm(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[float, float]:
        """Width and height of such a slice in mm."""
        x, y = self.right[0], self.down[0]
        return shape[x] * spacing[x], shape[y] * spacing[y]


# The radiological convention: the patient's right on the viewer's left; seen from the side, the face to the left.
AXIAL = PagePlane("axial", 2, (0, -1), (1, -1))
PLANES = (AXIAL, PagePlane("coronal", 1, (0, -1), (2, -1)), PagePlane("sagittal", 0, (1, -1), (2, -1)))


def overlay_figure(
    study: Study,
    segmentation: Segmentation,
    path: Path,
    truth: Segmentation | None = None,
    *,
    dice: Mapping[Region, float] | None = None,
) -> None:
    """A PNG: the segmentation over the reference series in three planes, the other series, and the volumes.

    Each plane is that in which the tumour is largest; the patient's right is on the viewer's left. ``truth`` is drawn as
    white outlines of the whole tumour and of its core; ``dice`` adds a column to the volumes. Grids of any orientation
    will do (an oblique one is shown along its nearest axes). Raises GeometryError when a mask is not on the grid of the
    study's reference series, OutputError when nothing can be written.
    """
    for mask in (segmentation, truth):
        if mask is not None and not mask.grid.same_as(study.reference.grid):
            raise GeometryError(
                f"The mask and the images of '{study.id}' lie on different grids, so no picture can be drawn. "
                "Resample the mask onto the grid of the images."
            )
    view = View(study.reference)
    view.crop_to(brain(study.reference.data))
    labels = view(segmentation.labels)
    expected = None if truth is None else view(truth.labels)
    at = _largest_slices(labels, expected)

    sizes = [plane.size_mm(labels.shape, view.spacing) for plane in PLANES]
    figure, cells, strip, panel = _layout(sizes)
    for plane, ax in zip(PLANES, cells, strict=True):
        index = at[plane.across]
        _draw_image(ax, plane, view, study.reference, index, marks=True)
        _draw_labels(ax, plane, view, labels, index)
        if expected is not None:
            _draw_outlines(ax, plane, view, expected, index)
    on_grid = [v for v in study.volumes.values() if v.grid.same_as(study.reference.grid)]
    for ax, volume in zip(strip, on_grid, strict=False):
        _draw_image(ax, AXIAL, view, volume, at[AXIAL.across], marks=False)
    _draw_table(panel, segmentation, dice)
    _draw_caption(figure, study, segmentation, truth is not None)
    save(figure, path)


class View:
    """Turns arrays on one grid so that their axes run along R, A, S (the nearest axes), and crops them."""

    def __init__(self, reference: Volume) -> None:
        from nibabel.orientations import io_orientation

        ends = io_orientation(reference.grid.affine)
        self._order = [int(np.flatnonzero(ends[:, 0] == world)[0]) for world in range(3)]
        self._flips = tuple(slice(None, None, int(ends[axis, 1])) for axis in self._order)
        self._crop = (slice(None), slice(None), slice(None))
        self.spacing = tuple(reference.grid.spacing[axis] for axis in self._order)

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array (file order) turned and cropped; a view."""
        return array.transpose(self._order)[self._flips][self._crop]

    def index_of(self, grid: Grid, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places (..., 3) in RAS mm → fractional indices (..., 3) of the turned and cropped array; ``grid`` is the files'."""
        index = grid.to_index(world)[..., self._order]
        for axis, (flip, crop) in enumerate(zip(self._flips, self._crop, strict=True)):
            if flip.step == -1:
                index[..., axis] = grid.shape[self._order[axis]] - 1 - index[..., axis]
            index[..., axis] -= crop.start or 0
        return index

    def crop_to(self, mask: NDArray[np.bool_]) -> None:
        """Show the box of ``mask`` (file order) and a margin from here on; an empty mask changes nothing."""
        upright = self(mask)
        crop = []
        for axis in range(3):
            hit = np.flatnonzero(upright.any(axis=tuple(a for a in range(3) if a != axis)))
            if not len(hit):
                return
            margin = round(_MARGIN_MM / self.spacing[axis])
            crop.append(slice(max(int(hit[0]) - margin, 0), int(hit[-1]) + margin + 1))
        self._crop = (crop[0], crop[1], crop[2])


def _side(axis: int, sign: int) -> str:
    return "RAS"[axis] if sign > 0 else "LPI"[axis]


def _largest_slices(labels: NDArray[np.uint8], truth: NDArray[np.uint8] | None) -> tuple[int, int, int]:
    """Per axis the slice that holds most tumour: of the labels, else of the truth, else the middle."""
    for mask in (labels, truth):
        if mask is not None and mask.any():
            largest = [int((mask > 0).sum(axis=tuple(a for a in range(3) if a != axis)).argmax()) for axis in range(3)]
            return largest[0], largest[1], largest[2]
    return labels.shape[0] // 2, labels.shape[1] // 2, labels.shape[2] // 2


def _layout(sizes: list[tuple[float, float]]) -> tuple[Any, list[Any], list[Any], Any]:
    """Figure, three large cells at one scale, four small ones below, and a panel for the table."""
    gap, top, bottom, thumb = 0.12, 0.42, 0.34, 2.05
    scale = 11.6 / sum(width for width, _ in sizes)  # inches per mm
    large = max(height for _, height in sizes) * scale
    total_w, total_h = 11.6 + 4 * gap, top + large + gap + thumb + bottom
    figure = dark_figure(total_w, total_h)

    def cell(x: float, y: float, width: float, height: float) -> Any:
        ax = figure.add_axes((x / total_w, y / total_h, width / total_w, height / total_h), facecolor=GROUND)
        ax.set_axis_off()
        return ax

    cells, x = [], gap
    for width, height in sizes:
        y = bottom + thumb + gap + (large - height * scale) / 2
        cells.append(cell(x, y, width * scale, height * scale))
        x += width * scale + gap
    small = thumb * sizes[0][0] / sizes[0][1]
    strip = [cell(gap + i * (small + gap), bottom, small, thumb) for i in range(4)]
    left = gap + 4 * (small + gap) + 0.25
    return figure, cells, strip, cell(left, bottom, total_w - left - gap, thumb)


def _draw_image(ax: Any, plane: PagePlane, view: View, volume: Volume, index: int, *, marks: bool) -> None:
    low, high = grey_window(volume.data)
    flat = plane.cut(view(volume.data), index)
    ax.imshow(
        flat,
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=_extent(plane, view, flat),
        interpolation="bilinear",
        aspect="auto",
    )
    name = volume.modality.title
    ax.text(0.015, 0.985, f"{name}, {plane.name}" if marks else name, **_lettering(ax, 9 if marks else 8), va="top")
    if marks:
        left, right, top, bottom = plane.marks
        for letter, x, y in ((left, 0.02, 0.5), (right, 0.98, 0.5), (top, 0.5, 0.975), (bottom, 0.5, 0.025)):
            ax.text(x, y, letter, **_lettering(ax, 11), ha="center", va="center", fontweight="bold")


def _draw_labels(ax: Any, plane: PagePlane, view: View, labels: NDArray[np.uint8], index: int) -> None:
    flat = plane.cut(labels, index)
    rgba = np.zeros((*flat.shape, 4))
    for label, colour in LABEL_COLOURS.items():
        rgba[flat == label] = (*colour, OPACITY)
    ax.imshow(rgba, extent=_extent(plane, view, flat), interpolation="nearest", aspect="auto")


def _draw_outlines(ax: Any, plane: PagePlane, view: View, truth: NDArray[np.uint8], index: int) -> None:
    flat = plane.cut(truth, index)
    width, height = _extent(plane, view, flat)[1:3]
    y, x = ((np.arange(n) + 0.5) * mm / n for n, mm in zip(flat.shape, (height, width), strict=True))
    for region, style in ((Region.WT, "solid"), (Region.TC, "dotted")):
        mask = region_mask(flat, region)
        if mask.any() and min(mask.shape) > 1:
            ax.contour(x, y, mask.astype(float), levels=[0.5], colors="white", linewidths=0.9, linestyles=style)


def _draw_table(ax: Any, segmentation: Segmentation, dice: Mapping[Region, float] | None) -> None:
    """Regions and classes with colour, volume and, where known, Dice."""
    grid, labels = segmentation.grid, segmentation.labels
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 8.2)
    unit = "mL" if grid.calibrated else "voxels"
    columns = {unit: 0.78, "Dice": 0.98} if dice else {unit: 0.98}
    for name, x in columns.items():
        ax.text(x, 7.7, name, color=FAINT, fontsize=9, ha="right", va="center")
    rows: list[tuple[str, Any, str, str]] = []
    for region in Region:
        measured = region in segmentation.regions
        volume = _amount(int(region_mask(labels, region).sum()), grid) if measured else "–"
        score = f"{dice[region]:.3f}" if dice and region in dice else "–"
        rows.append((f"{region}  {REGION_NAMES[region]}", None, volume, score))
    counts = np.bincount(labels.ravel(), minlength=len(Label))
    for label, colour in LABEL_COLOURS.items():
        if counts[label] or label in (Label.NCR, Label.ED, Label.ET):
            rows.append((LABEL_NAMES[label], colour, _amount(int(counts[label]), grid), ""))
    y = 6.7
    for i, (name, colour, volume, score) in enumerate(rows):
        y -= 0.35 if i == len(Region) else 0
        if colour is not None:
            ax.plot([0.012], [y], marker="s", markersize=8, color=colour, clip_on=False)
        ax.text(0.045 if colour is not None else 0, y, name, color=TEXT, fontsize=10, va="center")
        ax.text(columns[unit], y, volume, color=TEXT, fontsize=10, ha="right", va="center")
        if "Dice" in columns:
            ax.text(columns["Dice"], y, score, color=TEXT, fontsize=10, ha="right", va="center")
        y -= 1.05


def _amount(voxels: int, grid: Grid) -> str:
    return f"{voxels:,}" if grid.voxel_ml is None else f"{voxels * grid.voxel_ml:.1f}"


def _draw_caption(figure: Any, study: Study, segmentation: Segmentation, with_truth: bool) -> None:
    height = figure.get_size_inches()[1]
    made_by = f"   segmented by {segmentation.made_by}" if segmentation.made_by else ""
    figure.text(0.012, 1 - 0.2 / height, study.id, color=TEXT, fontsize=13, fontweight="bold", va="center")
    figure.text(0.988, 1 - 0.2 / height, made_by, color=FAINT, fontsize=9, va="center", ha="right")
    outlines = "White outlines: the truth (line: whole tumour; dots: core). " if with_truth else ""
    figure.text(0.012, 0.16 / height, f"{outlines}Patient's right on the left.", color=FAINT, fontsize=8.5, va="center")
    figure.text(0.988, 0.16 / height, NOTE, color=FAINT, fontsize=8.5, va="center", ha="right")


def _extent(plane: PagePlane, view: View, flat: NDArray[Any]) -> tuple[float, float, float, float]:
    """matplotlib's extent (left, right, bottom, top) in mm, the origin at the top left."""
    return 0.0, flat.shape[1] * view.spacing[plane.right[0]], flat.shape[0] * view.spacing[plane.down[0]], 0.0


def _lettering(ax: Any, size: float) -> dict[str, Any]:
    from matplotlib.patheffects import withStroke

    effect = [withStroke(linewidth=2, foreground="black")]
    return {"transform": ax.transAxes, "color": TEXT, "fontsize": size, "path_effects": effect}


def grey_window(data: NDArray[Any]) -> tuple[float, float]:
    """Grey values for black and white: from the brain."""
    sample = data[::2, ::2, ::2]
    values = sample[brain(sample) & np.isfinite(sample)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.7)))
    return min(low, 0.6 * low), max(high, low + 1e-6)
