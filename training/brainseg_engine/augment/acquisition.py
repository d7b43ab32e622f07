"""Series as hospitals acquire them: thick slices in any plane, a field of view that ends inside the head, series that are
missing or lie beside the others. Each series for itself; outside its brain 0 stays 0. And a skull-stripping, of all series
alike, that took too much or left a rim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from brainseg_engine.augment import spatial
from brainseg_engine.augment.draw import chance, uniform, whole
from brainseg_engine.augment.intensity import smooth_field
from brainseg_engine.recipe import Acquisition


def acquired(image: torch.Tensor, config: Acquisition, g: torch.Generator, spacing_mm: float = 1.0) -> torch.Tensor:
    """(C, X, Y, Z), standardised, 0 outside the brain → a changed copy; ``spacing_mm`` is the side of a voxel."""
    if not any((config.thick, config.cut, config.missing, config.moved, config.quantised)):
        return image
    image, channels = image.clone(), len(image)
    if chance(config.moved, g):
        chosen = image[whole(0, channels - 1, g)]
        degrees = [uniform(-config.moved_deg, config.moved_deg, g) for _ in range(3)]
        move(chosen, degrees, [uniform(-config.moved_mm, config.moved_mm, g) for _ in range(3)], spacing_mm)
    for channel in image:
        if chance(config.thick, g):
            axis, voxels = whole(0, 2, g), round(uniform(*config.thick_mm, g) / spacing_mm)
            channel.copy_(standardised(thick(channel, axis, voxels, uniform(0, config.gap, g), uniform(0, 1, g))))
    if chance(config.quantised, g):
        channel = image[whole(0, channels - 1, g)]
        low, high = torch.aminmax(channel)
        step = (high - low).clamp_min(1e-6) / 2 ** uniform(5, 8, g)
        channel.copy_(torch.round(channel / step) * step)
    if chance(config.cut, g):
        chosen, part = image[whole(0, channels - 1, g)], uniform(0.05, config.cut_part, g)
        cut(chosen, whole(0, 2, g), part, chance(0.5, g))
        chosen.copy_(standardised(chosen))
    if chance(config.missing, g):
        missing = torch.randperm(channels, generator=g)[: 2 if chance(0.3, g) else 1]
        image[missing[: channels - 1]] = 0
    return image


def thick(channel: torch.Tensor, axis: int, voxels: int, gap: float = 0.0, offset: float = 0.0) -> torch.Tensor:
    """(X, Y, Z) as acquired in slices ``voxels`` apart along ``axis``, and resampled linearly onto the old grid.

    A slice is the mean over its thickness less ``gap`` (a part of it); ``offset`` (a part, too) is where the first begins.
    Means and interpolation are over the brain's voxels alone, as if the skull had been taken off afterwards.
    """
    if voxels < 2:
        return channel
    moved = channel.movedim(axis, -1)
    n = moved.shape[-1]
    before = int(offset * voxels)
    slices = math.ceil((n + before) / voxels)
    both = torch.stack([moved, (moved != 0).to(moved.dtype)])
    both = F.pad(both, (before, slices * voxels - n - before)).unflatten(-1, (slices, voxels))  # type: ignore[no-untyped-call]
    inner = max(1, round(voxels * (1 - gap)))
    start = (voxels - inner) // 2
    both = both[..., start : start + inner].mean(dim=-1)
    # linear between the slices' centres
    place = (torch.arange(n, dtype=torch.float32, device=channel.device) + before + 0.5) / voxels - 0.5
    place = place.clamp(0, slices - 1)
    low = place.floor().long().clamp(max=max(slices - 2, 0))
    share = (place - low).to(both.dtype)
    both = torch.lerp(both[..., low], both[..., (low + 1).clamp(max=slices - 1)], share)
    values = both[0] / both[1].clamp_min(1e-6)
    return torch.where((moved != 0) & (both[1] > 0), values, torch.zeros_like(values)).movedim(-1, axis)


def cut(channel: torch.Tensor, axis: int, part: float, far: bool) -> None:
    """Set to 0, in place, what lies in the first (``far``: the last) ``part`` of the brain's extent along ``axis``."""
    others = [a for a in range(3) if a != axis]
    there = (channel != 0).any(dim=others[1]).any(dim=others[0]).nonzero()[:, 0]
    if not len(there):
        return
    first, last = int(there[0]), int(there[-1]) + 1
    size = round(part * (last - first))
    channel.narrow(axis, last - size if far else first, size).zero_()


def stripped(
    image: torch.Tensor, labels: torch.Tensor, voxels: float, rim: bool, g: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, X, Y, Z), labels (X, Y, Z) → as after another skull-stripping: up to ``voxels`` of brain gone, and their labels with
    it, or with ``rim`` as much left of what is around it; how much varies slowly over the head. ``voxels`` counts along the axes:
    where the surface lies obliquely it is up to √3 as much."""
    there = image != 0
    brain = there.any(dim=0)
    reach = smooth_field(torch.rand(3, 3, 3, generator=g) * voxels, brain)
    outside, around = (brain if rim else ~brain)[None], there
    near = torch.zeros_like(reach)  # of how many steps outwards a point is reached
    for _ in range(math.ceil(voxels)):
        near += outside[0]
        outside = _grown(outside)
        around = _grown(around) if rim else around
    steps = math.ceil(voxels) - near
    if not rim:
        kept = brain & ((steps >= reach) | (near == 0))
        return torch.stack([standardised(c * kept) for c in image]), labels.where(kept, torch.zeros_like(labels))
    added = ~brain & (steps < reach) & (near > 0) & around  # a series that is missing has nothing around it
    out = []
    for channel, here in zip(image, added, strict=True):
        tissue = uniform(-2.0, 2.0, g) + 0.3 * torch.randn(brain.shape, generator=g).to(channel)
        out.append(standardised(torch.where(here, tissue, channel)))
    return torch.stack(out), labels


def _grown(masks: torch.Tensor) -> torch.Tensor:
    """(C, X, Y, Z) → each by a voxel in every direction."""
    return F.max_pool3d(masks.float(), 3, 1, 1) > 0


def standardised(channel: torch.Tensor) -> torch.Tensor:
    """Mean 0 and standard deviation 1 over the brain again."""
    brain = channel != 0
    values = channel[brain]
    if len(values) < 2:
        return channel
    return torch.where(brain, (channel - values.mean()) / values.std().clamp_min(1e-6), torch.zeros_like(channel))


def move(
    channel: torch.Tensor, degrees: Sequence[float], millimetres: Sequence[float], spacing_mm: float = 1.0
) -> None:
    """Turn in the planes xy, xz and yz and shift along x, y and z, in place; what comes from outside its brain is 0."""
    matrix = torch.eye(3, dtype=torch.float64)
    for (i, j), angle in zip(((0, 1), (0, 2), (1, 2)), degrees, strict=True):
        matrix = matrix @ spatial.rotation(i, j, math.radians(angle))
    positions = spatial.affine_positions(channel.shape, matrix, shift=[mm / spacing_mm for mm in millimetres])
    labels = torch.zeros(channel.shape, dtype=torch.uint8, device=channel.device)
    channel.copy_(spatial.move(channel[None], labels, positions)[0][0])
