"""Artefacts as tensor operations, on any device.

What happens along one axis of k-space only needs one Fourier transform along that axis. TorchIO takes the real part of the
changed image, which is to make the change symmetric about the centre of k-space; half of it is then enough.
"""

from __future__ import annotations

import math

import torch

from brainseg_engine.augment import spatial
from brainseg_engine.augment.artefacts import Artefact, BiasField, Ghosting, Motion, Spike


def spoil(channel: torch.Tensor, artefact: Artefact, spacing_mm: float) -> torch.Tensor:
    """(X, Y, Z) → the same with the artefact."""
    if isinstance(artefact, Ghosting):
        return _ghosting(channel, artefact)
    if isinstance(artefact, Spike):
        return _spike(channel, artefact)
    if isinstance(artefact, BiasField):
        return channel * _field(channel, artefact)
    return _motion(channel, artefact, spacing_mm)


def deform(
    image: torch.Tensor, labels: torch.Tensor, control: torch.Tensor, spacing_mm: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, X, Y, Z) and (X, Y, Z) by the cubic B-spline of ``control`` (3, P, P, P), in mm."""
    return spatial.move(image, labels, spatial.spline_positions(image.shape[1:], control / spacing_mm, image.device))


def _ghosting(channel: torch.Tensor, artefact: Ghosting) -> torch.Tensor:
    n = channel.shape[artefact.axis]
    if artefact.ghosts == 0:
        return channel
    planes = torch.ones(n)
    planes[:: artefact.ghosts] = 1 - artefact.intensity
    planes[n // 2] = 1
    return _filtered(channel, planes, artefact.axis)


def _spike(channel: torch.Tensor, artefact: Spike) -> torch.Tensor:
    """A point of k-space is a wave in the image; its real part is added."""
    largest = torch.fft.rfftn(channel).abs().max()
    waves = []
    for place, n in zip(artefact.place, channel.shape, strict=True):
        frequency = int(place * n) - n // 2
        angle = torch.arange(n, device=channel.device) * (2 * math.pi * frequency / n)
        waves.append(torch.polar(torch.ones_like(angle), angle))
    plane = waves[0][:, None, None] * waves[1][:, None]
    wave = plane.real * waves[2].real - plane.imag * waves[2].imag
    spoilt: torch.Tensor = channel + wave * (largest * artefact.intensity / channel.numel())
    return spoilt


def _field(channel: torch.Tensor, artefact: BiasField) -> torch.Tensor:
    order = artefact.order
    cube = torch.zeros((order + 1,) * 3)
    powers = [(i, j, k) for i in range(order + 1) for j in range(order + 1 - i) for k in range(order + 1 - i - j)]
    for (i, j, k), coefficient in zip(powers, artefact.coefficients, strict=True):
        cube[i, j, k] = coefficient
    field = cube.to(channel.device)
    for axis, n in enumerate(channel.shape):
        places = torch.arange(n) - n / 2 + 0.5
        places = places / places.max() if n > 1 else places
        rows = torch.stack([places**power for power in range(order + 1)], dim=1).to(channel.device)
        field = torch.tensordot(field, rows, dims=([axis], [1])).movedim(-1, axis)
    return torch.exp(field)


def _motion(channel: torch.Tensor, artefact: Motion, spacing_mm: float) -> torch.Tensor:
    images = [channel]
    for degrees, millimetres in zip(artefact.degrees, artefact.millimetres, strict=True):
        x, y, z = (math.radians(d) for d in degrees)
        matrix = spatial.rotation(0, 1, z) @ spatial.rotation(1, 2, x) @ spatial.rotation(2, 0, y)
        shift = [mm / spacing_mm for mm in millimetres]
        positions = spatial.affine_positions(channel.shape, matrix, shift=shift)
        on_device = spatial.on(spatial.whole(positions, channel.shape), channel.device)
        images.append(spatial.read(channel[None], on_device)[0] * spatial.inside(on_device, channel.shape))
    late = [i for i, time in enumerate(artefact.times) if time > 0.5]
    central = late[0] if late else len(images) - 1  # the pose that fills the centre of k-space is the true one
    images[0], images[central] = images[central], images[0]
    n = channel.shape[-1]
    ends = [*(int(n * time) for time in artefact.times), n]
    out, begin = torch.zeros_like(channel), 0
    for image, end in zip(images, ends, strict=True):
        part = torch.zeros(n)
        part[begin:end] = 1
        out += _filtered(image, part, channel.dim() - 1)
        begin = end
    return out


def _filtered(channel: torch.Tensor, planes: torch.Tensor, axis: int) -> torch.Tensor:
    """The real part after k-space, its centre in the middle, was multiplied by ``planes`` (n,) along the axis."""
    n = channel.shape[axis]
    factors = torch.fft.ifftshift(planes)
    factors = (factors + factors.flip(0).roll(1)) / 2
    half = factors[: n // 2 + 1].to(channel.device)
    shape = [1, 1, 1]
    shape[axis] = len(half)
    changed: torch.Tensor = torch.fft.irfft(torch.fft.rfft(channel, dim=axis) * half.view(shape), n=n, dim=axis)
    return changed
