"""A glioma in that head: where it sits, how it is shaped, and which class every voxel has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Label, LabelArray, labels_from_regions
from brainseg_engine.core.morphology import components
from brainseg_engine.phantom.anatomy import Anatomy, Head, Mass
from brainseg_engine.phantom.fields import Field, smooth_noise, turned

WT_ML = (15.0, 180.0)
"""Smallest and largest whole tumour, mL; the median is about 70."""


@dataclass(frozen=True)
class TumourPlan:
    """What is to grow. Volumes in mL of anatomical space; shares of the region outside."""

    side: int  # +1 the patient's right hemisphere, -1 the left
    wt_ml: float
    core_share: float  # TC / WT
    rim_share: float  # ET / TC; 0: a tumour that does not enhance
    foci: int
    stretch: tuple[float, float, float]
    patchy: float  # 0: an even rim; 1: nodules and gaps
    mass_effect: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> TumourPlan:
        """A random tumour: three quarters enhance with a rim, the others a little or not at all."""
        side = 1 if rng.random() < 0.5 else -1
        wt = float(np.clip(70.0 * np.exp(0.62 * rng.standard_normal()), *WT_ML))
        core = float(np.clip(rng.beta(2.6, 3.6), 0.06, 0.85))
        kind = float(rng.random())
        rim = float(rng.uniform(0.38, 0.85))
        if kind < 0.13:
            rim, core = float(rng.uniform(0.03, 0.12)), max(core, 0.35)
        elif kind < 0.20:
            rim, core = 0.0, max(core, 0.4)
        stretch = np.exp(0.16 * rng.standard_normal(3))
        return cls(
            side=side,
            wt_ml=wt,
            core_share=core,
            rim_share=rim,
            foci=int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08])),
            stretch=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
            patchy=float(rng.uniform(0.1, 1.0)),
            mass_effect=float(rng.uniform(0.0, 0.45)),
        )

    @property
    def core_radius(self) -> float:
        """Radius in mm of a ball with the core's volume."""
        return float((self.wt_ml * self.core_share * 1000 * 3 / (4 * np.pi)) ** (1 / 3))


@dataclass(frozen=True)
class Site:
    """Where it grows: its middle on the voxel grid's box (R, A, S mm), and in the head's own coordinates."""

    centre: tuple[float, float, float]
    in_head: tuple[float, float, float]

    def mass(self, plan: TumourPlan) -> Mass:
        """The mass effect of that tumour here."""
        return Mass(self.in_head, 1.1 * plan.core_radius + 12, plan.mass_effect)


def find_site(rng: np.random.Generator, head: Head, plan: TumourPlan) -> Site:
    """A place in the white matter of the chosen hemisphere, deep enough for the core."""
    p = head.points
    sideways = p[0] * plan.side
    depth = min(0.62 * plan.core_radius + 8, 27.0)
    fits = (-head.hull > depth) & (sideways > 17) & (p[2] > -27) & (sideways < 52)
    fits &= (np.abs(p[1] + 8) > 24) | (sideways > 30) | (p[2] > 22)  # basal ganglia and thalamus are left out
    fits &= (p[1] > -66) & ((p[2] > -12) | (p[1] > -18))  # so is the cerebellum
    places = np.flatnonzero(fits)
    index = np.unravel_index(int(places[int(rng.integers(len(places)))]), head.hull.shape)
    centre = [float(a[i]) for a, i in zip(head.lattice.axes, index, strict=True)]
    inner = [float(p[(k, *index)]) for k in range(3)]
    return Site((centre[0], centre[1], centre[2]), (inner[0], inner[1], inner[2]))


def grow(rng: np.random.Generator, head: Head, anatomy: Anatomy, plan: TumourPlan, site: Site) -> LabelArray:
    """Canonical labels (X, Y, Z): the voxels that the tumour reaches first, as many as its volumes ask for."""
    voxel_ml = float(np.prod([abs(float(a[1] - a[0])) for a in head.box.axes])) / 1000
    many = max(round(plan.wt_ml / voxel_ml), 8)

    closed = ~anatomy.brain | (anatomy.cerebrum > 1) | (anatomy.ventricle < 0.3)
    across = np.clip(-plan.side * anatomy.midline, 0, None)
    reach = head.fine(_reach(rng, head, plan, site)) + 1.6 * head.noise(rng, 9.0)
    core_cost = reach + 1.2 * across + 3 * anatomy.csf
    core_cost[closed | (anatomy.csf > 0.6)] = np.inf
    core = _smoothed(_cheapest(core_cost, round(many * plan.core_share)))
    core = _connected(core & anatomy.brain, None)  # smoothing may have filled a pinhole outside the brain

    beyond = reach + 5.5 * head.noise(rng, 34.0) + 2.5 * head.noise(rng, 15.0)
    beyond += 7 * anatomy.grey + 9 * anatomy.csf + 0.8 * across
    beyond[closed | (anatomy.csf > 0.75)] = np.inf
    beyond[core] = -np.inf
    whole = _connected(_smoothed(_cheapest(beyond, many)) & ~closed | core, core)

    rim = _rim(rng, head, core_cost, core, plan)
    return labels_from_regions(whole, core, rim)


def _reach(rng: np.random.Generator, head: Head, plan: TumourPlan, site: Site) -> Field:
    """How far every lattice point is from the tumour's foci, in mm, with an irregular front."""
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
    stretch = np.array(plan.stretch, dtype=np.float32)
    shape = (turn / stretch[:, None] * float(np.prod(stretch)) ** (1 / 3)).astype(np.float32)
    radius = plan.core_radius
    front = np.full(head.lattice.shape, np.inf, dtype=np.float32)
    for focus in range(plan.foci):
        centre, size = np.array(site.centre, dtype=np.float32), 1.0
        if focus:
            way = rng.standard_normal(3)
            way[0] *= 0.5
            centre = centre + (way / np.linalg.norm(way) * rng.uniform(1.0, 1.5) * radius).astype(np.float32)
            size = float(rng.uniform(0.35, 0.75))
        away = turned(shape, head.lattice.points - centre.reshape(3, 1, 1, 1))
        front = np.minimum(front, np.sqrt((away * away).sum(axis=0)) + np.float32((1 - size) * radius))
    lumps = 0.16 * radius * smooth_noise(rng, head.lattice, max(1.6 * radius, 14.0))
    return np.asarray(front + lumps + 0.07 * radius * smooth_noise(rng, head.lattice, 13.0), dtype=np.float32)


def _rim(
    rng: np.random.Generator, head: Head, cost: Field, core: NDArray[np.bool_], plan: TumourPlan
) -> NDArray[np.bool_]:
    """The enhancing part: the outer shell of the core, of uneven thickness, with nodules that reach inwards."""
    if plan.rim_share == 0:
        return np.zeros_like(core)
    uneven = head.noise(rng, 20.0) * np.float32((0.10 + 0.25 * plan.patchy) * plan.core_radius)
    uneven += head.noise(rng, 9.0) * np.float32(0.6 + 1.4 * plan.patchy)
    inward = np.where(core, -cost + uneven, np.inf).astype(np.float32)
    return _cheapest(inward, max(round(int(core.sum()) * plan.rim_share), 4)) & core


def _cheapest(cost: Field, many: int) -> NDArray[np.bool_]:
    """The ``many`` voxels of lowest cost that can be reached at all."""
    open_ = np.isfinite(cost) | (cost == -np.inf)
    values = cost[open_]
    many = min(max(many, 1), len(values))
    return np.asarray(open_ & (cost <= np.partition(values, many - 1)[many - 1]))


def _smoothed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without specks and pinholes; the volume stays about the same."""
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(mask.astype(np.float32), 3) > 0.5) if mask.sum() > 200 else mask


def _connected(mask: NDArray[np.bool_], seed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The components that touch ``seed``; without one, those of at least a twentieth of the largest."""
    labelled, n = components(mask)
    if n <= 1:
        return mask
    if seed is not None:
        keep = np.bincount(labelled[seed], minlength=n + 1) > 0
    else:
        sizes = np.bincount(labelled.ravel(), minlength=n + 1)
        keep = sizes >= sizes[1:].max() / 20
    keep[0] = False
    return np.asarray(keep[labelled])


def shares(labels: LabelArray) -> dict[Label, Field]:
    """Class → its share of every voxel, softened as by a scanner's point spread."""
    from scipy.ndimage import gaussian_filter

    out = {}
    for label in (Label.ED, Label.NCR, Label.ET):
        mask = labels == label
        if mask.any():
            sigma = 1.0 if label is Label.ED else 0.7
            out[label] = gaussian_filter(mask.astype(np.float32), sigma, truncate=2.5)
    return out
