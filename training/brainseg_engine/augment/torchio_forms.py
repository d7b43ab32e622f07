"""Artefacts by TorchIO's own transforms, with the parameters drawn here: TorchIO draws nothing."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torchio

from brainseg_engine.augment.artefacts import Artefact, BiasField, Ghosting, Motion, Spike


def spoil(channel: torch.Tensor, artefact: Artefact, spacing_mm: float) -> torch.Tensor:
    """(X, Y, Z) → the same with the artefact; computed on the CPU."""
    transform: torchio.Transform
    if isinstance(artefact, Ghosting):
        transform = torchio.Ghosting(artefact.ghosts, artefact.axis, artefact.intensity, None)
    elif isinstance(artefact, Spike):
        transform = torchio.Spike(np.array([artefact.place]), artefact.intensity)
    elif isinstance(artefact, BiasField):
        transform = torchio.BiasField(list(artefact.coefficients), artefact.order)
    else:
        transform = _motion(artefact)
    image = torchio.ScalarImage(tensor=channel[None].cpu(), affine=_affine(channel.shape, spacing_mm))
    spoilt: torch.Tensor = _apply(transform, torchio.Subject(image=image))["image"].data[0].to(channel)
    return spoilt


def deform(
    image: torch.Tensor, labels: torch.Tensor, control: torch.Tensor, spacing_mm: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, X, Y, Z) and (X, Y, Z) by the cubic B-spline of ``control`` (3, P, P, P), in mm; computed on the CPU."""
    affine = _affine(labels.shape, spacing_mm)
    points = control.movedim(0, -1).numpy()
    largest = float(np.abs(points).max())
    transform = torchio.ElasticDeformation(points, (largest, largest, largest))
    subject = torchio.Subject(
        image=torchio.ScalarImage(tensor=image.cpu(), affine=affine),
        labels=torchio.LabelMap(tensor=labels[None].cpu(), affine=affine),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "folding may occur": so it may in the published system
        subject = _apply(transform, subject)
    return subject["image"].data.to(image), subject["labels"].data[0].to(labels)


def _apply(transform: torchio.Transform, subject: torchio.Subject) -> torchio.Subject:
    with torch.random.fork_rng(devices=[]):  # a transform asks torch's global generator whether to act at all
        return transform(subject)


def _motion(artefact: Motion) -> torchio.Motion:
    return torchio.Motion(
        degrees=np.array(artefact.degrees), translation=np.array(artefact.millimetres),
        times=np.array(artefact.times), image_interpolation="linear",
    )  # fmt: skip


def _affine(shape: torch.Size, spacing_mm: float) -> np.ndarray:
    """Voxel axes along those of ITK's space, the origin (about which TorchIO turns heads) in the array's centre."""
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = [(n - 1) / 2 * spacing_mm * sign for n, sign in zip(shape, (1, 1, -1), strict=True)]
    return affine
