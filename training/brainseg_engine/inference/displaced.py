"""A series that lies beside the others of an aligned study spoils the answer (T1ce: half of the enhancing tumour; FLAIR: a tenth
of the whole). Which one it is, and the study with it laid back onto the others.

Every pair of series is registered on a coarse grid, by the information that their edges share: edges lie where tissues
meet, whatever their contrast. A series lies beside the others when it does so by ``FAR_MM`` from each of them. Where one
series lies beside one other, or two beside two, it cannot be told which of them lie wrong.

What it finds, and how often wrongly, is measured in ``benchmarks/displaced``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import brain
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.prepare.register import register
from brainseg_engine.prepare.rigid import Rigid, carried

FAR_MM = 3.0
"""Mean over the brain. Of 24 pairs of clean training cases the farthest was 1.4, of 24 that were moved by some 5 mm the
nearest 4.3."""
MOST_MM = 30.0
"""A registration that goes farther has run away."""
_SURE_MM = 2.0
"""What lies nearer than that by a rough registration, which takes half the time, is not registered finely. In 16
training cases the rough one found 3.7 or more for 192 pairs of which one was moved by 5 mm, less than 2 for 98 % of others."""
_GRID_MM, _BINS, _STEPS = 4.0, 24, 60
_ROUGH, _FINE = (0.2, 0.5), (0.05, 0.7)
"""The optimiser's last step in mm, and what becomes of its steps when they turn back."""
_SMOOTH = 0.7
"""Of the edges, in voxels: sharper ones leave a registration stuck where it began, or let it run away (one in three did)."""
_LAYING_MM = 2.0
"""The grid that a series is registered on to be laid back: 0.1 to 0.6 mm off in 4 s, as exact as at 1 mm in 20 s."""
_LEAST_VOXELS = 500
"""Of the coarse grid that a series must show."""
_Image = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """Where series lie: ``beside``: series → mm (mean over the brain) from the others; ``unsettled``: two sides of as many
    series, each at one with itself, and how far they lie apart: it cannot be told which of them lies wrong."""

    beside: Mapping[Modality, float] = field(default_factory=dict)
    unsettled: tuple[tuple[Modality, ...], tuple[Modality, ...], float] | None = None


@dataclass(frozen=True)
class _Coarse:
    """Edges of a series (X, Y, Z) on the coarse grid, and where it shows the head."""

    edges: _Image
    shown: NDArray[np.bool_]
    sides: tuple[float, ...]
    """Of its voxels, in mm."""


def look(study: Study, threads: int = 0) -> Found:
    """Which series of an aligned study lie beside the others. Nothing is found where voxel sizes are not known."""
    if not study.reference.grid.calibrated:
        return Found()
    coarse = {m: c for m, c in _coarse(study).items() if np.count_nonzero(c.shown) >= _LEAST_VOXELS}
    if len(coarse) < 2:
        return Found()
    apart: dict[tuple[Modality, Modality], float] = {}
    first, *others = order = list(coarse)

    def measured(a: Modality, b: Modality) -> float:
        onto, moving = sorted((a, b), key=order.index)  # the other way round a registration may end elsewhere
        if (onto, moving) not in apart:
            apart[onto, moving] = min(_apart(coarse[onto], coarse[moving], threads), MOST_MM)
        return apart[onto, moving]

    if all(measured(first, m) <= FAR_MM for m in others):  # usually
        return Found()
    sides = _at_one(order, [[a == b or measured(a, b) <= FAR_MM for b in order] for a in order])
    if len(sides) == 2 and len(sides[0]) == len(sides[1]):
        one, other = sides
        mm = min(measured(a, b) for a in one for b in other)
        return Found(unsettled=(one, other, mm)) if mm < MOST_MM else Found()
    nearest = {m: min(measured(m, o) for o in coarse if o != m) for (m,) in (s for s in sides if len(s) == 1)}
    return Found({m: mm for m, mm in nearest.items() if mm < MOST_MM})


def laid_back(
    study: Study, found: Found, threads: int = 0, cancelled: CancelCheck = never
) -> tuple[Study, Mapping[Modality, float]]:
    """The study with what lies beside laid onto the others, and series → mm that it was moved. A series stays where it is when it
    cannot be registered or would lie no better; so do all when no two are left that agree. Raises Cancelled."""
    fixed = [m for m in study.volumes if m not in found.beside]
    if len(fixed) < 2:
        return study, {}
    onto = _smaller(study.volumes[study.reference.modality if study.reference.modality in fixed else fixed[0]])
    volumes, moved = dict(study.volumes), {}
    for m in found.beside:
        try:
            rigid = register(_smaller(study.volumes[m]), onto, threads=threads, cancelled=cancelled).rigid
        except InputError as e:
            logging.getLogger(__name__).info("%s stays where it is: %s", m.title, e)
            continue
        grid = study.volumes[m].grid
        volumes[m] = replace(study.volumes[m], data=_moved(study.volumes[m].data, grid, rigid))
        moved[m] = _mean_mm(rigid, volumes[m])
    still = look(replace(study, volumes={m: volumes[m] for m in (*fixed, *moved)}), threads).beside if moved else {}
    for m in still:
        if m in moved:
            volumes[m] = study.volumes[m]
            del moved[m]
    return replace(study, volumes=volumes), moved


def words(found: Found, moved: Mapping[Modality, float]) -> str:
    """What to tell of it, in a sentence; "" where all series lie on each other."""
    told = []
    if found.unsettled is not None:
        one, other, mm = found.unsettled
        a, b = (" and ".join(m.title for m in side) for side in (one, other))
        told.append(
            f"{a} {'lies' if len(one) == 1 else 'lie'} {mm:.0f} mm beside {b}: align them before you rely on the result."
        )
    for m, mm in moved.items():
        told.append(
            f"{m.title} lies {mm:.0f} mm beside the other series and was laid onto them for this result: compare them."
        )
    for m in found.beside:
        if m not in moved:
            told.append(f"{m.title} lies beside the other series: align it before you rely on the result.")
    return " ".join(told)


def _at_one(series: list[Modality], near: list[list[bool]]) -> list[tuple[Modality, ...]]:
    """The series, those together that lie on each other, be it by way of a third. ``near``: of each two, whether they do."""
    from scipy.sparse.csgraph import connected_components

    n, side_of = connected_components(np.array(near), directed=False)
    return [tuple(m for m, its in zip(series, side_of, strict=True) if its == side) for side in range(n)]


def _coarse(study: Study) -> dict[Modality, _Coarse]:
    grid = study.reference.grid
    factors = _factors(grid, _GRID_MM)
    sides = [s * f for s, f in zip(grid.spacing, factors, strict=True)]
    return {m: _edges(_pooled(brain.above_air(v.data), factors), sides) for m, v in study.volumes.items()}


def _factors(grid: Grid, spacing_mm: float) -> list[int]:
    """How many voxels of each axis make one of that size."""
    return [max(1, min(round(spacing_mm / s), n // 2)) for s, n in zip(grid.spacing, grid.shape, strict=True)]


def _smaller(volume: Volume) -> Volume:
    """On a coarser grid in the same place."""
    factors = np.array(_factors(volume.grid, _LAYING_MM))
    data = _pooled(brain.above_air(volume.data), factors.tolist())
    blocks = np.eye(4)
    blocks[:3, :3], blocks[:3, 3] = np.diag(factors), (factors - 1) / 2
    return Volume(
        data, Grid((data.shape[0], data.shape[1], data.shape[2]), volume.grid.affine @ blocks), volume.modality
    )


def _pooled(data: NDArray[Any], factors: list[int]) -> _Image:
    """(X, Y, Z) → the mean of each block."""
    sums: NDArray[Any] = data[tuple(slice(n // f * f) for n, f in zip(data.shape, factors, strict=True))]
    # in a file's order of voxels, planes first: several times faster than a mean over three axes
    for axis in (2, 1, 0):
        first, *others = (sums[(slice(None),) * axis + (slice(n, None, factors[axis]),)] for n in range(factors[axis]))
        sums = first.astype(np.float32)
        for other in others:
            sums += other
    return (sums / math.prod(factors)).astype(np.float32)


def _edges(image: _Image, sides: list[float]) -> _Coarse:
    from scipy.ndimage import gaussian_filter

    shown = image != 0
    if not shown.any():
        return _Coarse(image, shown, tuple(sides))
    values = image[shown]
    standard = np.where(shown, (image - values.mean()) / max(float(values.std()), 1e-6), 0).astype(np.float32)
    slopes = [np.gradient(standard, side, axis=axis) for axis, side in enumerate(sides) if image.shape[axis] > 1]
    steep = np.sqrt(np.add.reduce([s**2 for s in slopes])) * shown
    return _Coarse(gaussian_filter(steep.astype(np.float32), _SMOOTH), shown, tuple(sides))


def _apart(a: _Coarse, b: _Coarse, threads: int) -> float:
    """How far b lies beside a, in mm."""
    rough = _registered(a, b, threads, *_ROUGH)
    return rough if rough <= _SURE_MM else _registered(a, b, threads, *_FINE)


def _registered(a: _Coarse, b: _Coarse, threads: int, last_step: float, relaxation: float) -> float:
    """The mean over a's head of the rigid motion that lays b's edges onto a's, in mm."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    if threads:
        method.SetNumberOfThreads(threads)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetMetricFixedMask(_as_image(a.shown.astype(np.uint8), a.sides))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=last_step, numberOfIterations=_STEPS, relaxationFactor=relaxation
    )
    method.SetOptimizerScalesFromPhysicalShift()
    points = np.argwhere(a.shown)[::50] * a.sides
    start = sitk.Euler3DTransform()
    start.SetCenter(points.mean(axis=0).tolist())
    method.SetInitialTransform(start, inPlace=False)
    try:
        motion = method.Execute(_as_image(a.edges, a.sides), _as_image(b.edges, b.sides))
    except RuntimeError:  # they do not overlap, or one has no contrast
        return float("inf")
    to = np.array([motion.TransformPoint(p.tolist()) for p in points])
    return float(np.linalg.norm(to - points, axis=1).mean())


def _mean_mm(rigid: Rigid, volume: Volume) -> float:
    """How far that moves the head, on average."""
    points = np.argwhere(volume.data[::4, ::4, ::4] != 0) * 4
    if not len(points):
        return 0.0
    at = points @ volume.grid.affine[:3, :3].T + volume.grid.affine[:3, 3]
    return float(np.linalg.norm(rigid.apply(at) - at, axis=1).mean())


def _as_image(data: NDArray[Any], sides: tuple[float, ...]) -> Any:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(sides)
    return image


def _moved(data: NDArray[Any], grid: Grid, rigid: Rigid) -> _Image:
    """The series where ``rigid`` (the reference's world → its own) says; 0 wherever the nearest voxel is air."""
    values = brain.above_air(data)
    out = carried(values, grid, grid, rigid, smooth=False)
    out[carried((values != 0).astype(np.float32), grid, grid, rigid, smooth=False) < 0.5] = 0
    return out
