"""The key images of a report: slices with the regions' outlines and the diameters, and the tumour in 3D, as PNG.

Regions differ by line as well as by colour (WT dashed, TC dotted, ET solid), so that they can be told apart in grey.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.brain import brain as brain_of
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask, Region, region_mask
from brainseg_engine.core.morphology import bounding_box, mesh
from brainseg_engine.core.palette import REGION_COLOURS
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from brainseg_engine.figures.overlay import PLANES, PagePlane, View, grey_window
from brainseg_engine.scores.diameters import RANO2_TARGETS

LINES: Mapping[Region, tuple[str, float]] = {
    Region.WT: ("dashed", 1.1),
    Region.TC: ("dotted", 1.3),
    Region.ET: ("solid", 1.2),
}
_SIZE_IN, _DPI = 2.6, 200
_MARGIN_MM = 6.0
_SURFACE_MM = {Region.WT: 2.0, Region.TC: 1.5, Region.ET: 1.5}  # the grid on which the 3D view is drawn
_BRAIN_MM = 5.0


@dataclass(frozen=True)
class Picture:
    """A PNG, and what it shows in words."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class _Shot:
    """What one slice picture shows: the plane and its slice (index in the upright view), and the lesions' chords on it."""

    plane: PagePlane
    index: int
    volume: Volume
    title: str
    chords: tuple[tuple[str, Mapping[str, Any]], ...] = ()


def key_images(study: Study, segmentation: Segmentation, record: Mapping[str, Any]) -> list[Picture]:
    """Up to three target lesions of ET with their diameters, the other two planes, and WT's diameters on FLAIR.

    The mask must be on the grid of the study's reference series. ``record`` is what :func:`record.build` gave.
    """
    view = View(study.reference)
    brain = brain_of(study.reference.data)
    view.crop_to(brain if brain.mean() < 0.9 else np.ones_like(brain))
    labels = view(segmentation.labels)
    return [
        _slice_picture(view, segmentation, labels, shot) for shot in _shots(study, segmentation, labels, view, record)
    ]


def _shots(
    study: Study, seg: Segmentation, labels: NDArray[np.uint8], view: View, record: Mapping[str, Any]
) -> Iterator[_Shot]:
    reference = study.reference
    regions = record["regions"]
    main = next(
        (r for r in (Region.ET, Region.TC, Region.WT) if (regions.get(r.value) or {}).get("volume_voxels")), None
    )
    at = _largest(region_mask(labels, main) if main else labels > 0)
    drawn: list[PagePlane] = []
    for number, lesion in enumerate(_pictured(regions.get(main.value) if main else None), 1):
        plane, index = _plane_of(lesion, seg.grid, view)
        title = f"{reference.modality.title}, {plane.name}: {main} lesion {number}"
        drawn.append(plane)
        yield _Shot(plane, index, reference, title, ((str(number), lesion),))
    for plane in PLANES:
        if plane not in drawn:
            yield _Shot(plane, at[plane.across], reference, f"{reference.modality.title}, {plane.name}")
    flair = study.volumes.get(Modality.FLAIR)
    whole = _pictured(regions.get(Region.WT.value))[:1]
    if flair is not None and flair is not reference and flair.grid.same_as(reference.grid) and whole:
        plane, index = _plane_of(whole[0], seg.grid, view)
        yield _Shot(plane, index, flair, f"FLAIR, {plane.name}: WT lesion 1", (("1", whole[0]),))


def _pictured(measured: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The lesions with pictures of their own: the targets, else the largest."""
    lesions = ((measured or {}).get("diameters") or {}).get("lesions") or []
    return [lesion for lesion in lesions if lesion["target_rano2"]][:RANO2_TARGETS] or lesions[:1]


def _plane_of(lesion: Mapping[str, Any], grid: Grid, view: View) -> tuple[PagePlane, int]:
    across = {"R": 0, "L": 0, "A": 1, "P": 1}.get(grid.orientation[lesion["slice_axis"]], 2)
    plane = next(p for p in PLANES if p.across == across)
    index = view.index_of(grid, np.array(lesion["longest"]["ends_ras_mm"]))[0, across]
    return plane, int(np.rint(index))


def _largest(mask: Mask) -> tuple[int, int, int]:
    if not mask.any():
        x, y, z = (n // 2 for n in mask.shape)
    else:
        x, y, z = (int(mask.sum(axis=tuple(a for a in range(3) if a != axis)).argmax()) for axis in range(3))
    return x, y, z


def _slice_picture(view: View, seg: Segmentation, labels: NDArray[np.uint8], shot: _Shot) -> Picture:
    plane, spacing = shot.plane, view.spacing
    flat = plane.cut(view(shot.volume.data), shot.index)
    width, height = flat.shape[1] * spacing[plane.right[0]], flat.shape[0] * spacing[plane.down[0]]
    figure, ax = _figure(_SIZE_IN * width / max(width, height), _SIZE_IN * height / max(width, height), "black")
    low, high = grey_window(shot.volume.data)
    ax.imshow(
        flat, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0), interpolation="bilinear", aspect="auto"
    )
    y, x = ((np.arange(n) + 0.5) * mm / n for n, mm in zip(flat.shape, (height, width), strict=True))
    cut = plane.cut(labels, shot.index)
    for region in seg.regions:
        mask = region_mask(cut, region)
        if mask.any() and min(mask.shape) > 1:
            style, wide = LINES[region]
            ax.contour(
                x, y, mask.astype(float), [0.5], colors=[REGION_COLOURS[region]], linewidths=wide, linestyles=style
            )
    for number, lesion in shot.chords:
        _draw_chords(ax, plane, view, seg.grid, number, lesion, labels.shape)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    left, right, top, bottom = plane.marks
    for letter, u, v in ((left, 0.03, 0.5), (right, 0.97, 0.5), (top, 0.5, 0.965), (bottom, 0.5, 0.035)):
        ax.text(u, v, letter, **_lettering(8), transform=ax.transAxes, ha="center", va="center")
    return Picture(_png(figure), shot.title + _lengths(shot.chords))


def _lengths(chords: tuple[tuple[str, Mapping[str, Any]], ...]) -> str:
    return "".join(f", {c['longest']['mm']:.1f} × {c['perpendicular']['mm']:.1f} mm" for _, c in chords)


def _draw_chords(
    ax: Any, plane: PagePlane, view: View, grid: Grid, number: str, lesion: Mapping[str, Any], shape: tuple[int, ...]
) -> None:
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2.4, foreground="black")]
    ends = None
    for key in ("longest", "perpendicular"):
        index = view.index_of(grid, np.array(lesion[key]["ends_ras_mm"]))
        page = [
            _on_page(index[:, axis], sign, shape[axis]) * view.spacing[axis] for axis, sign in (plane.right, plane.down)
        ]
        ax.plot(*page, color="white", linewidth=1.1, path_effects=edge, solid_capstyle="butt")
        ends = page if ends is None else ends
    if ends is not None:
        ax.annotate(number, (ends[0][0], ends[1][0]), (4, 4), textcoords="offset points", **_lettering(8))


def _on_page(index: NDArray[np.float64], sign: int, size: int) -> NDArray[np.float64]:
    """Voxel indices along an axis → how many voxels right of (or below) the page's edge."""
    return index + 0.5 if sign > 0 else size - 0.5 - index


def view_3d(segmentation: Segmentation, study: Study | None = None) -> Picture | None:
    """The regions' surfaces inside one another, seen from the front left and a little above; None without a tumour.

    Where the images hold a brain and nothing else, its surface is drawn around them.
    """
    figure, ax = _scene(segmentation, study)
    if figure is None:
        return None
    ax.view_init(elev=20, azim=130)  # RAS: +y is the front, −x the patient's left
    return Picture(_png(figure), "3D, from the patient's front left")


def turning(segmentation: Segmentation, study: Study | None = None, frames: int = 24) -> list[bytes]:
    """The same scene all the way round, a PNG each; empty without a tumour."""
    figure, ax = _scene(segmentation, study)
    if figure is None:
        return []
    pictures = []
    for i in range(frames):
        ax.view_init(elev=20, azim=130 + 360 * i / frames)
        pictures.append(_png(figure))
    return pictures


def _scene(segmentation: Segmentation, study: Study | None) -> tuple[Any, Any]:
    """A figure with the surfaces in it, and its axes; (None, None) without a tumour."""
    shapes = []
    if study is not None and (brain := brain_of(study.reference.data)).mean() < 0.7:
        shapes.append((_surface(brain, study.reference.grid, _BRAIN_MM), (0.55, 0.55, 0.6), 0.06))
    opacity = {Region.WT: 0.18, Region.TC: 0.35, Region.ET: 0.9}
    for region in segmentation.regions:
        mask = region_mask(segmentation.labels, region)
        if mask.any():
            shapes.append(
                (_surface(mask, segmentation.grid, _SURFACE_MM[region]), REGION_COLOURS[region], opacity[region])
            )
    if not any(alpha > 0.1 for _, _, alpha in shapes):
        return None, None
    figure, ax = _figure(_SIZE_IN, _SIZE_IN, "white", projection="3d")
    from matplotlib.colors import LightSource
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    for order, (triangles, colour, alpha) in enumerate(shapes):
        shaded = Poly3DCollection(
            triangles, facecolors=[(*colour, alpha)], shade=True, lightsource=LightSource(225, 45), zorder=order, linewidths=0
        )  # fmt: skip
        ax.add_collection3d(shaded)
    ax.computed_zorder = False
    points = np.concatenate([t.reshape(-1, 3) for t, _, _ in shapes])
    low, high = points.min(axis=0), points.max(axis=0)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_box_aspect(high - low, zoom=1.35)
    ax.set_axis_off()
    return figure, ax


def _surface(mask: Mask, grid: Grid, side_mm: float) -> NDArray[np.float64]:
    """Triangles (n, 3, 3) in RAS mm around a mask, taken at about that voxel side."""
    box = bounding_box(mask)
    assert box is not None
    steps = [max(1, round(side_mm / s)) for s in grid.spacing]
    part = mask[box]
    part = np.pad(part, [(0, -n % s) for n, s in zip(part.shape, steps, strict=True)])
    coarse = (
        part.reshape(*(v for n, s in zip(part.shape, steps, strict=True) for v in (n // s, s))).mean(axis=(1, 3, 5))
        >= 0.5
    )
    if not coarse.any():
        coarse, steps = mask[box], [1, 1, 1]
    vertices, faces = mesh(coarse, sigma=0.8)
    start = np.array([s.start for s in box])
    return grid.to_world(vertices * steps + (np.array(steps) - 1) / 2 + start)[faces]


def _figure(width: float, height: float, ground: str, projection: str | None = None) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide, high = (max(1, round(side * _DPI)) / _DPI for side in (width, height))  # of whole pixels: no seam at the edge
    figure = Figure(figsize=(wide, high), dpi=_DPI, facecolor=ground)
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1), projection=projection)
    ax.set_axis_off()
    return figure, ax


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=figure.get_facecolor())
    return out.getvalue()


def _lettering(size: float) -> dict[str, Any]:
    from matplotlib.patheffects import withStroke

    return {"color": "white", "fontsize": size, "path_effects": [withStroke(linewidth=1.6, foreground="black")]}
