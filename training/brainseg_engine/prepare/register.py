"""One series onto the reference: a rigid motion by mutual information, always sampled on the thicker of the two images.

Euler angles, Mattes' mutual information of 32 bins, three levels, a random part of the voxels drawn with a fixed seed.
Sampling the thicker image matters most: its voxels are real measurements, those of the thinner one between its slices would
be interpolated. Next the mask: of the head *and a rim of air*. Within the bright voxels alone the information is largest
where the images hardly overlap: registrations ran away by 30 mm there. All samples of the coarse levels are taken, which are
few in thick slices. What it amounts to is measured in ``benchmarks/registration``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import resample
from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Volume
from brainseg_engine.prepare.quality import head
from brainseg_engine.prepare.rigid import Rigid, carried

Start = Literal["header", "centre"]
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_BINS, _SAMPLES, _SEED = 32, 100_000, 20_250
_MASK_MM, _RIM_MM = 4.0, 16.0
_SHRINK, _SIGMA_MM = (4, 2, 1), (2.0, 1.0, 0.0)
_USUAL_ITERATIONS = 40
"""Of one level: for the progress bar only."""


@dataclass(frozen=True)
class Registered:
    """``rigid`` maps the reference's world to the series's; ``metric`` is Mattes' (negative is better)."""

    rigid: Rigid
    start: str
    metric: float
    iterations: int


def register(
    series: Volume,
    reference: Volume,
    start: Start | Rigid = "header",
    *,
    threads: int = 0,
    progress: Callable[[float], None] = lambda _: None,
    cancelled: CancelCheck = never,
) -> Registered:
    """Find where the reference's points lie in the series.

    ``start``: the positions in the headers, the centres of both images laid onto each other, or a motion to begin at.
    ``threads`` 0 takes all cores. ``progress`` is called with 0…1. Raises InputError where the images do not overlap or
    hold nothing to align, Cancelled.
    """
    import SimpleITK as sitk

    sample_series = thickness(series.grid) >= thickness(reference.grid)
    sampled, other = (series, reference) if sample_series else (reference, series)
    fixed, moving = _image(sampled), _image(other)
    method = _method(fixed, _mask(sampled), threads)
    method.SetInitialTransform(_initial(fixed, moving, start, sample_series), inPlace=False)
    level, iterations, stopped = 0, 0, False

    def iteration() -> None:
        nonlocal level, iterations, stopped
        level, iterations = method.GetCurrentLevel(), iterations + 1
        progress((level + min(method.GetOptimizerIteration() / _USUAL_ITERATIONS, 1.0)) / len(_SHRINK))
        if cancelled():
            stopped = True
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, iteration)
    try:
        transform = method.Execute(fixed, moving)
    except RuntimeError as e:
        raise InputError(
            f"{series.modality.title} could not be aligned with {reference.modality.title}: their images do not overlap, or "
            "one of them is nearly empty. Check that both are of the same head and visit."
        ) from e
    if stopped or cancelled():
        raise Cancelled
    fixed_to_moving = Rigid(_matrix(transform))
    rigid = fixed_to_moving.inverse if sample_series else fixed_to_moving
    return Registered(rigid, start if isinstance(start, str) else "given", method.GetMetricValue(), iterations)


def thickness(grid: Grid) -> float:
    """The longest side of a voxel in mm."""
    return max(grid.spacing)


def _method(fixed: Any, mask: Any, threads: int) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    if threads:
        method.SetNumberOfThreads(threads)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    voxels = fixed.GetNumberOfPixels()
    method.SetMetricSamplingPercentagePerLevel([min(1.0, _SAMPLES * n**3 / voxels) for n in _SHRINK], _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_SIGMA_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-4, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _mask(volume: Volume) -> Any:
    """The head and a rim of air around it, as SimpleITK's image of 4 mm."""
    import SimpleITK as sitk
    from scipy.ndimage import distance_transform_edt

    coarse = resample.with_spacing(uprighted(volume.grid), _MASK_MM)
    inside = head(carried(volume.data, volume.grid, coarse))
    near = distance_transform_edt(~inside) * _MASK_MM <= _RIM_MM if inside.any() else np.ones_like(inside)
    return sitk.Cast(_as_image(near.astype(np.float32), coarse), sitk.sitkUInt8)


def _initial(fixed: Any, moving: Any, start: Start | Rigid, inverted: bool) -> Any:
    import SimpleITK as sitk

    kind = sitk.CenteredTransformInitializerFilter.GEOMETRY
    centred = sitk.Euler3DTransform(sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), kind))
    if start == "centre":
        return centred
    initial = sitk.Euler3DTransform()
    centre = np.array(centred.GetCenter())
    initial.SetCenter(centre.tolist())
    if isinstance(start, Rigid):
        lps = _LPS @ (start.inverse if inverted else start).matrix @ _LPS
        initial.SetMatrix(lps[:3, :3].ravel().tolist(), 1e-4)
        initial.SetTranslation((lps[:3, 3] + lps[:3, :3] @ centre - centre).tolist())
    return initial


def _matrix(transform: Any) -> NDArray[np.float64]:
    """ITK's linear transform as 4×4 in RAS."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    lps = np.eye(4)
    for axis in range(3):
        lps[:3, axis] = np.array(transform.TransformPoint(np.eye(3)[axis].tolist())) - origin
    lps[:3, 3] = origin
    return _LPS @ lps @ _LPS


def _image(volume: Volume) -> Any:
    """As SimpleITK's image. A sheared grid (a tilted gantry), which ITK cannot tell, is made upright first."""
    grid, data = volume.grid, volume.data
    upright = uprighted(grid)
    return _as_image(data if upright is grid else carried(data, grid, upright, smooth=False), upright)


def _as_image(data: NDArray[Any], grid: Grid) -> Any:
    import SimpleITK as sitk

    affine = _LPS @ grid.affine
    spacing = np.array(grid.spacing)
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(data, dtype=np.float32).transpose()))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def uprighted(grid: Grid) -> Grid:
    """A grid of the same voxel sides with axes at right angles that covers it; the same grid where they are already."""
    spacing = np.array(grid.spacing)
    direction = grid.affine[:3, :3] / spacing
    if np.allclose(direction.T @ direction, np.eye(3), atol=1e-5):
        return grid
    left, _, right = np.linalg.svd(direction)  # the nearest rotation (or rotoreflection)
    axes = left @ right
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(grid.shape) - 1)
    along = grid.to_world(corners) @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    shape = np.maximum(1, np.ceil((high - low) / spacing - 1e-6).astype(int) + 1)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ low
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine, grid.calibrated)
