"""What spoils an MR image: ghosts, spikes, uneven coils, movement; and elastic deformation. How they are drawn.

The parameters are drawn here, once for both libraries: :mod:`tensor_forms` and :mod:`torchio_forms` do the same to the same
image, but that the tensor forms read 0 from beyond the array, where TorchIO takes the smallest value, and keep at 0 what
lies outside the brain when they deform. Ranges and laws are those of system fajan-py with TorchIO's defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from brainseg_engine.augment.draw import uniform, whole
from brainseg_engine.core.geometry import Shape3
from brainseg_engine.recipe import Artefacts

LOCKED = 2
"""Rows of an elastic field's control points that stay at either end of the first two axes (as in TorchIO)."""


@dataclass(frozen=True)
class Ghosting:
    """Every ``ghosts``-th plane of k-space along ``axis`` is weakened by ``intensity``, but for the central one."""

    ghosts: int
    axis: int
    intensity: float


@dataclass(frozen=True)
class Spike:
    """One point of k-space, at ``place`` (fractions of the sides), raised by ``intensity`` times the largest magnitude."""

    place: tuple[float, float, float]
    intensity: float


@dataclass(frozen=True)
class BiasField:
    """exp of the polynomial with these coefficients of xⁱyʲzᵏ, i + j + k ≤ ``order``, k counting first; axes −1 … 1."""

    coefficients: tuple[float, ...]
    order: int


@dataclass(frozen=True)
class Motion:
    """Rigid poses (degrees about, mm along each axis) from ``times`` (0 … 1) on; k-space fills up along the last axis."""

    degrees: tuple[tuple[float, float, float], ...]
    millimetres: tuple[tuple[float, float, float], ...]
    times: tuple[float, ...]


Artefact = Ghosting | Spike | BiasField | Motion


def draw(kind: str, config: Artefacts, shape: Shape3, g: torch.Generator) -> Artefact:
    """The parameters of one modality's artefact. A volume of one plane (a slice) is spoilt within its plane."""
    axes = [axis for axis, n in enumerate(shape) if n > 1]
    if kind == "ghosting":
        return Ghosting(
            whole(*config.ghosts, g), axes[whole(0, len(axes) - 1, g)], uniform(*config.ghosting_intensity, g)
        )
    if kind == "spike":
        x, y, z = torch.rand(3, generator=g).tolist()
        return Spike((x, y, z), uniform(*config.spike_intensity, g))
    if kind == "bias_field":
        order = config.bias_order
        terms = (order + 1) * (order + 2) * (order + 3) // 6
        drawn = (2 * torch.rand(terms, generator=g) - 1) * config.bias_coefficient
        return BiasField(tuple(drawn.tolist()), order)
    moves = config.motion_movements
    degrees = (2 * torch.rand(moves, 3, generator=g) - 1) * config.motion_rotation_deg
    millimetres = (2 * torch.rand(moves, 3, generator=g) - 1) * config.motion_translation_mm
    if shape[0] == 1:
        degrees[:, 1:] = 0
        millimetres[:, 0] = 0
    step = 1 / (moves + 1)
    times = (torch.arange(1, moves + 1) + 0.3 * (2 * torch.rand(moves, generator=g) - 1)) * step
    return Motion(_rows(degrees), _rows(millimetres), tuple(times.tolist()))


def draw_elastic(config: Artefacts, shape: Shape3, g: torch.Generator) -> torch.Tensor:
    """(3, P, P, P) displacements in mm of the control points of a cubic B-spline; none across the plane of a slice."""
    points = config.elastic_points
    control = (2 * torch.rand(3, points, points, points, generator=g) - 1) * config.elastic_mm
    for rows in (control, control.transpose(1, 2)):
        rows[:, :LOCKED] = 0
        rows[:, -LOCKED:] = 0
    if shape[0] == 1:
        control[0] = 0
    return control


def _rows(values: torch.Tensor) -> tuple[tuple[float, float, float], ...]:
    return tuple((x, y, z) for x, y, z in values.tolist())
