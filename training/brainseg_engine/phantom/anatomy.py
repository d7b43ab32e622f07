"""A head without a tumour: where brain, fluid, grey and white matter, deep nuclei and vessels are.

Anatomical coordinates are RAS millimetres from the middle of the brain. Structures are signed distances (negative
inside); tissue shares follow from them with partial volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.phantom.fields import (
    Box,
    Field,
    ellipsoid,
    inside,
    resampled,
    smooth_minimum,
    smooth_noise,
    tube,
    turned,
)

LATTICE_MM = 2.0
CORTEX_MM = 2.8
FOLIUM_MM = 1.5  # the cerebellum's cortex
SULCUS_WAVELENGTH = 18.0


@dataclass(frozen=True)
class Anatomy:
    """Shares of tissue in 0…1 per voxel (X, Y, Z), and what a tumour needs to know of its surroundings."""

    brain: NDArray[np.bool_]
    csf: Field
    grey: Field
    white: Field
    vessel: Field
    choroid: Field
    ventricle: Field  # signed distance in mm
    depth: Field  # mm below the brain's surface
    cerebrum: Field  # signed distance in mm
    midline: Field  # signed distance in mm from the plane between the hemispheres, right positive


@dataclass(frozen=True)
class Mass:
    """What a growing tumour pushes: ``centre`` (R, A, S mm), ``reach`` in mm, ``strength`` in 0…0.5."""

    centre: tuple[float, float, float]
    reach: float
    strength: float


@dataclass(frozen=True)
class Build:
    """What differs from head to head."""

    size: tuple[float, float, float]
    tilt: tuple[float, float, float]  # radians about the R, A and S axes
    ventricles: float  # mm added to the radius
    sulci: float  # half width in mm
    warp: float  # mm

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        """A random head."""
        age = float(rng.uniform(0, 1))  # wide ventricles and wide sulci come together
        size = 0.99 + 0.035 * np.clip(rng.standard_normal(3), -1.6, 1.6)
        return cls(
            size=(float(size[0]), float(size[1]), float(size[2])),
            tilt=tuple(float(v) for v in rng.normal(0, 0.04, 3)),  # type: ignore[arg-type]  # three values
            ventricles=-1.2 + 3.6 * age + float(rng.normal(0, 0.5)),
            sulci=0.05 + 0.65 * age,
            warp=float(rng.uniform(1.5, 3.0)),
        )


@dataclass(frozen=True)
class Head:
    """A build placed on a lattice: warped coordinates, and the outlines that a tumour does not change."""

    build: Build
    box: Box
    lattice: Box
    points: Field
    hull: Field

    @classmethod
    def place(cls, rng: np.random.Generator, box: Box) -> Head:
        """Draw a head and lay it over ``box``."""
        build = Build.draw(rng)
        lattice = box.coarse(max(LATTICE_MM, box.step))
        points = turned(_rotation(build.tilt), lattice.points)
        points /= np.array(build.size, dtype=np.float32).reshape(3, 1, 1, 1)
        for axis in range(3):
            points[axis] += build.warp * smooth_noise(rng, lattice, 70.0)
        hull = _parts(points)[4] + 0.9 * smooth_noise(rng, lattice, 16.0) + 0.8 * smooth_noise(rng, lattice, 34.0)
        return cls(build, box, lattice, points, hull)

    def fine(self, field: Field) -> Field:
        """A field on the lattice, brought to the voxels."""
        return resampled(field, self.lattice, self.box)

    def noise(self, rng: np.random.Generator, wavelength: float) -> Field:
        """Smooth noise at the voxels, drawn on the lattice."""
        return self.fine(smooth_noise(rng, self.lattice, wavelength))

    def pushed(self, mass: Mass | None) -> Field:
        """The coordinates after mass effect: tissue moves away from the mass, less so towards the skull."""
        if mass is None:
            return self.points
        centre = np.array(mass.centre, dtype=np.float32).reshape(3, 1, 1, 1)
        away = self.points - centre
        distance = np.sqrt((away * away).sum(axis=0))
        yielding = np.clip(-self.hull / 18, 0, 1) * mass.strength
        return np.asarray(self.points - away * yielding * np.exp(-((distance / mass.reach) ** 2)), dtype=np.float32)


def anatomy(rng: np.random.Generator, head: Head, mass: Mass | None) -> Anatomy:
    """Tissue shares of the head on its box, with the tumour's mass effect."""
    p, width = head.pushed(mass), max(head.box.step, 1.0)
    main, temporal, cerebellum, stem, _ = _parts(p)
    cerebrum = np.minimum(main, temporal)
    depth = head.fine(-head.hull)
    midline = head.fine(p[0] + 1.2 * smooth_noise(rng, head.lattice, 60.0))
    ventricle = head.fine(_ventricles(p, head.build.ventricles) + 0.5 * smooth_noise(rng, head.lattice, 14.0))
    in_cerebellum = head.fine(cerebellum - cerebrum) < 0
    in_stem = head.fine(stem - np.minimum(cerebrum, cerebellum)) < 0

    pial = np.minimum(_outlines(rng, head, p, midline), _sulci(rng, head, p, depth, in_cerebellum, in_stem))
    fluid = np.maximum(inside(pial, width), inside(ventricle, width))
    grey = inside(pial - np.where(in_cerebellum, np.float32(FOLIUM_MM), np.float32(CORTEX_MM)), width)
    grey[in_stem] = 0.15
    nuclei = head.fine(_nuclei(p) + 0.8 * smooth_noise(rng, head.lattice, 14.0))
    grey = np.maximum(grey, np.float32(0.7) * inside(nuclei, 2 * width))
    grey *= 1 - fluid
    vessel = _vessels(rng, head, pial, midline, depth)
    choroid = inside(head.fine(_choroid(p)), width) * inside(ventricle, width)
    white = 1 - fluid - grey
    return Anatomy(depth > 0, fluid, grey, white, vessel, choroid, ventricle, depth, head.fine(cerebrum), midline)


def _outlines(rng: np.random.Generator, head: Head, p: Field, midline: Field) -> Field:
    """Depth (mm) below the pial surface of the large parts, and below the fissures between them."""
    main, temporal, cerebellum, stem, _ = _parts(p)
    cerebrum = np.minimum(main, temporal)
    margin = 0.6 * head.build.sulci + 0.8 * smooth_noise(rng, head.lattice, 40.0)
    pial = head.fine(-np.minimum(np.minimum(cerebrum, cerebellum), stem) - margin)
    between_hemispheres = np.maximum(np.abs(midline) - 0.6, -head.fine(_core(p)))
    sylvian = np.maximum(np.abs(head.fine(main - temporal)) / 2 - 0.5, 27 - np.abs(midline))
    below = np.abs(head.fine(cerebrum - np.minimum(cerebellum, stem + 2))) / 2 - 0.7
    tentorium = np.maximum(below, head.fine(p[2]) + 17)
    out: Field = np.minimum(np.minimum(pial, between_hemispheres), np.minimum(sylvian, tentorium))
    return out


def _parts(p: Field) -> tuple[Field, Field, Field, Field, Field]:
    """Signed distances of frontal-parietal-occipital brain, temporal lobes, cerebellum, brain stem, and of the hull."""
    q = np.stack([np.abs(p[0]), p[1], p[2]])
    main = ellipsoid(p, (0, 0, 12), (67, 84, 57))
    floor = -(p[2] + 19 + 0.10 * (p[1] - 10))
    main = -smooth_minimum(-main, -floor, 12)
    temporal = ellipsoid(q, (40, 6, -23), (23, 42, 21))
    cerebellum = ellipsoid(q, (20, -47, -38), (33, 31, 24))
    stem = tube(p, [(0, -10, -8, 15), (0, -12, -30, 16), (0, -22, -50, 11), (0, -30, -90, 9)])
    hull = smooth_minimum(smooth_minimum(main, temporal, 10), smooth_minimum(cerebellum, stem, 10), 10) - 0.5
    return main, temporal, cerebellum, stem, hull


def _core(p: Field) -> Field:
    """The parts that join the hemispheres (corpus callosum, thalami, floor), where no fissure runs."""
    out: Field = np.maximum(ellipsoid(p, (0, -6, -6), (60, 40, 31)), -(p[2] + 40))
    return out


def _ventricles(p: Field, wider: float) -> Field:
    q = np.stack([np.abs(p[0]), p[1], p[2]])
    body = [
        (6.5, 33, 5, 3.2 + wider), (8.5, 22, 12, 5.0 + wider), (10, 0, 18, 4.8 + wider),
        (16, -22, 15, 5.0 + wider), (24, -34, 6, 5.8 + wider), (27, -52, 1, 2.8 + 0.6 * wider),
    ]  # fmt: skip
    horn = [(24, -34, 6, 4.5 + wider), (31, -22, -10, 2.6 + 0.6 * wider), (32, 0, -20, 2.0 + 0.5 * wider)]
    third = ellipsoid(p, (0, -4, -2), (2.2 + 0.5 * max(wider, 0.0), 14, 10))
    fourth = ellipsoid(p, (0, -31, -36), (7, 4.5, 9))
    lateral = np.minimum(tube(q, body), tube(q, horn))
    return np.minimum(lateral, np.minimum(third, fourth))


def _choroid(p: Field) -> Field:
    q = np.stack([np.abs(p[0]), p[1], p[2]])
    return tube(q, [(9, 4, 14, 1.5), (16, -22, 12, 1.8), (24, -33, 5, 3.2), (28, -26, -6, 1.8)])


def _nuclei(p: Field) -> Field:
    q = np.stack([np.abs(p[0]), p[1], p[2]])
    thalamus = ellipsoid(q, (10, -12, 3), (9, 14, 9))
    lentiform = ellipsoid(q, (25, 4, 0), (6.5, 17, 11))
    caudate = tube(q, [(14, 24, 4, 6.0), (17, 8, 15, 4.0), (20, -14, 17, 2.5)])
    return np.minimum(np.minimum(thalamus, lentiform), caudate)


def _sulci(
    rng: np.random.Generator, head: Head, p: Field, depth: Field, cerebellar: NDArray[np.bool_], stem: NDArray[np.bool_]
) -> Field:
    """Distance (mm) to the nearest sulcus: walls perpendicular to the surface, along zero crossings of a labyrinth."""
    from scipy.ndimage import map_coordinates

    lattice = head.lattice
    middle = np.array([0, -4, 4], dtype=np.float32).reshape(3, 1, 1, 1)
    away = p - middle
    radius = np.sqrt((away * away).sum(axis=0)) + 1
    # Towards the middle the pattern is drawn out along the radius, which turns the sulci inwards.
    drawn = middle + away * (62 / radius) ** 0.75
    start = np.array([a[0] for a in lattice.axes], dtype=np.float32).reshape(3, 1, 1, 1)
    step = np.float32(lattice.right[1] - lattice.right[0])
    pattern = smooth_noise(rng, lattice, SULCUS_WAVELENGTH, band=True)
    n = head.fine(map_coordinates(pattern, (drawn - start) / step, order=1, mode="nearest").astype(np.float32))
    reach = 15 + 6 * head.noise(rng, 26.0)
    wall = np.abs(n) * np.float32(SULCUS_WAVELENGTH / 7.5)
    deep = head.fine(-ellipsoid(p, (0, -6, 2), (46, 46, 34)))
    cerebral = np.maximum(np.maximum(wall - np.float32(head.build.sulci), depth - reach), deep)
    folia = np.abs(head.fine(smooth_noise(rng, head.lattice, 9.0, band=True))) * np.float32(1.4)
    out: Field = np.where(cerebellar, np.maximum(folia + 0.3, depth - 16), cerebral).astype(np.float32)
    out[stem] = 30
    return out


def _vessels(rng: np.random.Generator, head: Head, pial: Field, midline: Field, depth: Field) -> Field:
    """Share of what enhances without being tumour: vessels on the surface and in sulci, sagittal sinus, meninges."""
    a, b = head.noise(rng, 26.0), head.noise(rng, 26.0)
    threads = np.sqrt(a * a + b * b) * np.float32(6.5)  # where both cross zero: random curves
    share = inside(threads - 1.5, 1.2) * np.clip(1 - np.abs(pial + 0.5) / 2.5, 0, 1)
    patches = np.clip(head.noise(rng, 45.0) - 0.3, 0, 1)
    meninges = np.float32(0.8) * patches * inside(depth - 1.2, 1.2)
    sinus = np.maximum(np.maximum(np.abs(midline) - 2.5, depth - 4), 5 - head.fine(head.points[2]))
    out: Field = np.maximum(np.maximum(share, meninges), inside(sinus, 1.5))
    return out


def _rotation(tilt: tuple[float, float, float]) -> NDArray[np.float32]:
    out = np.eye(3)
    for axis, angle in enumerate(tilt):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        out = turn @ out
    return out.astype(np.float32)
