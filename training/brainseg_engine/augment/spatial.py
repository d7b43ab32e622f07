"""Flips, rotations, scaling and elastic fields: all are positions, in voxels, from which a new array is read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from brainseg_engine.augment.draw import chance, uniform
from brainseg_engine.recipe import Augmentation

Positions = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Per axis (X, Y, Z), or broadcastable to it: the index, fractional, that a voxel's value comes from."""

_AXES = {"x": 0, "y": 1, "z": 2}
_SLICE_AXES = {"x": 2, "y": 1}
"""Of a slice as a volume (1, Y, X)."""


def draw_flips(config: Augmentation, flat: bool, g: torch.Generator) -> list[int]:
    """The axes to mirror."""
    axes = _SLICE_AXES if flat else _AXES
    return [axes[name] for name in config.flip_axes if name in axes and chance(config.flip, g)]


def draw_affine(config: Augmentation, flat: bool, g: torch.Generator) -> torch.Tensor:
    """(3, 3) from new to old positions: one rotation about each axis and one isotropic scale; within the plane of a slice."""
    angles = [uniform(-config.rotation_deg, config.rotation_deg, g) for _ in range(1 if flat else 3)]
    scale = 1 / uniform(*config.scale, g)
    planes = ((1, 2),) if flat else ((0, 1), (0, 2), (1, 2))
    matrix = torch.eye(3, dtype=torch.float64)
    for (i, j), angle in zip(planes, angles, strict=True):
        matrix = matrix @ rotation(i, j, math.radians(angle))
    matrix *= scale
    if flat:
        matrix[0, 0] = 1
    return matrix


def rotation(i: int, j: int, angle: float) -> torch.Tensor:
    """(3, 3) in the plane of the axes i and j."""
    r = torch.eye(3, dtype=torch.float64)
    r[i, i] = r[j, j] = math.cos(angle)
    r[i, j], r[j, i] = -math.sin(angle), math.sin(angle)
    return r


def affine_positions(
    shape: Sequence[int], matrix: torch.Tensor, flips: Sequence[int] = (), shift: Sequence[float] = (0, 0, 0)
) -> Positions:
    """Positions of ``matrix`` about the array's centre, then ``shift`` (voxels); mirrored along ``flips``.

    Each is a sum of one row of numbers along each axis.
    """
    rows = []
    centre = [(n - 1) / 2 for n in shape]
    for new in range(3):
        row = torch.arange(shape[new], dtype=torch.float64) - centre[new]
        rows.append(-row if new in flips else row)
    out = []
    for old in range(3):
        x, y, z = (matrix[old, new] * rows[new] for new in range(3))
        out.append((x + centre[old] + shift[old])[:, None, None].float() + y[:, None].float() + z.float())
    return out[0], out[1], out[2]


def move(image: torch.Tensor, labels: torch.Tensor, positions: Positions) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (C, X, Y, Z) read linearly, labels (X, Y, Z) from the nearest voxel; 0 outside, and wherever the nearest voxel
    lies outside the brain (interpolation smears the brain's rim into the zeros around it)."""
    positions = on(positions, image.device)
    nearest, inside = _nearest(positions, labels.shape)
    brain = ((image != 0).any(dim=0).flatten()[nearest] & inside).view(labels.shape)
    labels = torch.where(inside, labels.flatten()[nearest], 0).view(labels.shape)
    if image.device.type != "cpu":
        return read(image, positions) * brain, labels
    # on a CPU only what is kept is read
    kept = brain.flatten().nonzero()[:, 0]
    x, y, z = (p.broadcast_to(brain.shape).reshape(-1)[kept][:, None, None] for p in positions)
    out = torch.zeros(image.shape)
    out.flatten(1)[:, kept] = read(image, (x, y, z)).flatten(1)
    return out, labels


def read(image: torch.Tensor, positions: Positions) -> torch.Tensor:
    """(C, X, Y, Z) float32 at positions (A, B, D) → (C, A, B, D), linear; beyond the outer voxels' centres, the nearest."""
    # grid_sample speaks in units of half the side per axis, last axis first
    sides = image.shape[1:]
    grid = torch.stack([(2 * p + 1) / n - 1 for p, n in zip(reversed(positions), reversed(sides), strict=True)], dim=-1)
    return F.grid_sample(image[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]


def _nearest(positions: Positions, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat index of the nearest voxel, and whether there is one (elsewhere the index is of some voxel)."""
    indices = [p.round().to(torch.int32) for p in positions]
    inside = torch.stack([(i >= 0) & (i < n) for i, n in zip(indices, shape, strict=True)]).all(dim=0)
    x, y, z = (i.clamp(0, n - 1) for i, n in zip(indices, shape, strict=True))
    return ((x * shape[1] + y) * shape[2] + z).flatten(), inside.flatten()


def inside(positions: Positions, shape: Sequence[int]) -> torch.Tensor:
    """Whether a position lies within a voxel of an array of ``shape``."""
    return torch.stack([(p >= -0.5) & (p <= n - 0.5) for p, n in zip(positions, shape, strict=True)]).all(dim=0)


def on(positions: Positions, device: torch.device) -> Positions:
    """The same on the device."""
    x, y, z = (p.to(device) for p in positions)
    return x, y, z


def whole(positions: Positions, shape: Sequence[int]) -> Positions:
    """The same, each of the full shape."""
    x, y, z = (p.broadcast_to(tuple(shape)) for p in positions)
    return x, y, z


def spline_weights(n: int, points: int) -> torch.Tensor:
    """(n, points): cubic B-spline weights of control points at n voxels, as ITK lays them: the points' mesh covers the
    array and five eighths of a voxel beyond its outer centres, with one point more on either side."""
    u = (torch.arange(n, dtype=torch.float64) + 0.625) / (n + 0.25) * (points - 3)
    d = (u[:, None] - torch.arange(-1, points - 1)[None]).abs()
    near, far = 2 / 3 - d**2 + d**3 / 2, (2 - d).clamp_min(0) ** 3 / 6
    return torch.where(d < 1, near, far)


def spline_positions(shape: Sequence[int], control: torch.Tensor, device: torch.device) -> Positions:
    """Positions displaced by the cubic B-spline of ``control`` (3, P, P, P), in voxels."""
    control = control.to(device, torch.float32)
    for axis, n in enumerate(shape):
        weights = spline_weights(n, control.shape[axis + 1]).to(device, torch.float32)
        control = torch.tensordot(control, weights, dims=([axis + 1], [1])).movedim(-1, axis + 1)
    x, y, z = (torch.arange(n, dtype=torch.float32, device=device) for n in shape)
    return control[0] + x[:, None, None], control[1] + y[:, None], control[2] + z
