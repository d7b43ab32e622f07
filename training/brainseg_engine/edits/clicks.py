"""Click to fix: what a few points that are said to lie in a region, or outside of it, mean for the voxels around them.

The answer before is a field of logits (the model's, or the distance from the surface of a mask). What the points say against
it is carried on to voxels that lie near and look alike in the images, as a Gaussian process does (Rasmussen and Williams
2006, ch. 2): with a kernel k over place and intensities::

    after(x) = before(x) + Σ_i a_i k(x, x_i),   K a = (what the points say) − before(x_i)

Points that were said earlier are points where nothing may change. A voxel changes only where the sign of the field does, and
only the way that was asked for. Pure functions on canonical labels; the arrays are of one shape, in whatever axis order.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import LabelArray, Mask, Region, labels_from_regions, region_mask
from brainseg_engine.core.morphology import components
from brainseg_engine.edits.rules import FREE, Guard

Index = tuple[int, int, int]
Box = tuple[slice, slice, slice]
Field = NDArray[np.float32]

# Chosen on training cases with degraded images; the validation cases had no say. See benchmarks/clicks.
LENGTH_MM = 12.0
"""How far a point is heard: the standard deviation of the kernel."""
REACH = 2.5
"""From that many lengths on it is not heard at all."""
ALIKE = 2.0
"""The same for intensities, in standard deviations of the brain."""
BLUR_MM = 1.5
"""By how much the images are smoothed before."""
SAID = 3.0
"""The logit that a point is to have afterwards, on the side that was said."""
CERTAIN = 8.0
"""Logits are bent towards this: a model that is certain can be contradicted."""
LEAST = 1.0
"""The least logit, on the side of the label it has."""
SPECK_ML = 0.1
"""New parts that are connected with nothing said and nothing that was there are left out below that volume, and crumbs
below that are taken away with what they were part of."""
WHOLE = 0.8
"""Another part than the one clicked on is changed only where at least that share of it would go."""
MOST_POINTS = 24
"""Of a scribble that many points are heard."""


@dataclass(frozen=True)
class Click:
    """The voxel at ``index`` lies in the region (``inside``) or outside of it."""

    index: Index
    region: Region
    inside: bool

    def says(self, region: Region) -> bool:
        """Whether it says something of that region: what lies in a region lies in those around it, and what lies outside of
        it lies outside of those in it.
        """
        order = list(Region)
        here, there = order.index(self.region), order.index(region)
        return there <= here if self.inside else there >= here


@dataclass(frozen=True, eq=False)
class Scene:
    """What is looked at: ``images`` (X, Y, Z) each, ``spacing`` in mm, ``probabilities`` region → (X, Y, Z) of the model
    (where it has none, the mask's own distances stand in), and the ``guard``, which says what must not be changed.
    """

    images: Sequence[NDArray[Any]]
    spacing: Sequence[float]
    probabilities: Mapping[Region, NDArray[np.float16]] = field(default_factory=dict)
    guard: Guard = FREE

    def __post_init__(self) -> None:
        step = (slice(None, None, 3),) * 3
        levels = []
        for image in self.images:
            few = np.asarray(image[step], dtype=np.float32)
            tissue = few[self.guard.inside[step]] if self.guard.inside is not None else few[few != few.min()]
            sd = float(tissue.std()) if tissue.size else 1.0
            levels.append((float(tissue.mean()) if tissue.size else 0.0, sd or 1.0))
        object.__setattr__(self, "_levels", tuple(levels))

    def look(self, box: Box) -> Field:
        """(C, …) the images in the box, smoothed, in standard deviations of the brain."""
        from scipy.ndimage import gaussian_filter

        levels: Sequence[tuple[float, float]] = getattr(self, "_levels")  # noqa: B009
        sigma = [BLUR_MM / s for s in self.spacing]
        seen = [
            gaussian_filter((image[box].astype(np.float32) - np.float32(mean)) / np.float32(sd), sigma, truncate=2.5)
            for image, (mean, sd) in zip(self.images, levels, strict=True)
        ]
        shape = tuple(s.stop - s.start for s in box)
        return np.stack(seen) if seen else np.zeros((0, *shape), np.float32)


def click_to_fix(labels: LabelArray, said: Sequence[Click], scene: Scene, earlier: Sequence[Click] = ()) -> LabelArray:
    """The labels (X, Y, Z) after ``said``, one click or the points of a scribble or box; the same for the same input.

    ``earlier``: clicks that still hold; nothing changes at them.
    """
    said = thinned(said)
    if not said:
        return labels.copy()
    box = _around([c.index for c in said], labels.shape, scene.spacing)
    seen = scene.look(box)
    new = {c.index for c in said}
    held = [c for c in earlier if c.index not in new and _within(c.index, box)]
    before = {r: region_mask(labels[box], r) for r in Region}
    after = {r: _answered(r, m, box, said, held, scene, seen) for r, m in before.items()}
    _nest(after, before)
    changed = np.any([after[r] != before[r] for r in Region], axis=0) & scene.guard.allows(labels[box], box)
    made = labels_from_regions(after[Region.WT], after[Region.TC], after[Region.ET])
    out = labels.copy()
    out[box] = np.where(changed, made, labels[box])
    return out


def thinned(said: Sequence[Click], most: int = MOST_POINTS) -> list[Click]:
    """At most that many of the clicks, evenly drawn from first to last, none twice."""
    once = list(dict.fromkeys(said))
    if len(once) <= most:
        return once
    return [once[i] for i in np.unique(np.linspace(0, len(once) - 1, most).round().astype(int))]


def box_clicks(corners: tuple[Index, Index], region: Region, labels: LabelArray) -> list[Click]:
    """What a box drawn in one slice says, its ``corners`` two voxels that differ along two axes: what lies in its middle
    belongs to the region, and what lies just outside of its sides does not.
    """
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    flat = [axis for axis in range(3) if high[axis] > low[axis]]
    if len(flat) != 2:
        return [Click(corners[0], region, True)]
    centre, half = (low + high) / 2, (high - low) / 2
    clicks = []
    for radius, inside in ((0.0, True), (0.45, True), (None, False)):
        for turn in np.linspace(0, 2 * np.pi, 1 if radius == 0 else 8, endpoint=False):
            way = np.array([np.cos(turn), np.sin(turn)])
            if radius is None:  # on the rim of the box, two voxels outside of it
                way = way / np.abs(way).max()
            place = centre.copy()
            place[flat] += (radius if radius is not None else 1.0) * half[flat] * way + (0 if inside else 2 * way)
            index = np.round(place).astype(int)
            if (index >= 0).all() and (index < labels.shape).all():
                clicks.append(Click((int(index[0]), int(index[1]), int(index[2])), region, inside))
    return clicks


def _answered(
    region: Region, mask: Mask, box: Box, said: Sequence[Click], held: Sequence[Click], scene: Scene, seen: Field
) -> Mask:
    """The mask of the region in the box afterwards."""
    start = np.array([s.start for s in box])
    ours = [c for c in said if c.says(region)]
    points = [c for c in ours if mask[tuple(np.array(c.index) - start)] != c.inside]
    if not points:
        return mask
    others = [c for c in (*ours, *held) if c.says(region) and c not in points]
    places = np.array([c.index for c in (*points, *others)]) - start
    field_ = _field(region, mask, box, scene)
    at = tuple(places.T)
    wanted = np.zeros(len(places))
    for i, c in enumerate(points):
        wanted[i] = (SAID if c.inside else -SAID) - field_[at][i]
    after = field_ + _carried(places, wanted, seen, scene.spacing)
    new = mask.copy()
    for inside in {c.inside for c in points}:
        flips = ((after > 0) if inside else (after <= 0)) & (mask != inside)
        new[_near(flips, mask, places[[c.inside == inside for c in (*points, *others)]])] = inside
        if inside and scene.guard.inside is not None:
            new &= scene.guard.inside[box] | mask
    for i, c in enumerate(points):
        new[tuple(places[i])] = c.inside
    _tidy(new, mask, [tuple(p) for p in places.tolist()], scene.spacing)
    return new


def _near(flips: Mask, mask: Mask, places: NDArray[np.int_]) -> Mask:
    """Those of the voxels that would change which are connected with one of the places, and those that would take away another
    part of the mask nearly as a whole: nobody expects that the rim of something else moves.
    """
    parts, n = components(flips)
    kept = np.zeros(n + 1, dtype=np.bool_)
    kept[parts[tuple(places.T)]] = True
    kept[0] = False
    whole, m = components(mask)
    sizes, lost = (np.bincount(whole[where], minlength=m + 1) for where in (mask, flips & mask))
    gone = lost > WHOLE * sizes
    gone[0] = False
    return np.asarray(kept[parts] | (gone[whole] & flips))


def _field(region: Region, mask: Mask, box: Box, scene: Scene) -> Field:
    """The logits before; their sign is that of the labels."""
    given = scene.probabilities.get(region)
    if given is not None:
        p = np.clip(given[box].astype(np.float32), 1e-6, 1 - 1e-6)
        raw = np.log(p / (1 - p))
    else:
        from scipy.ndimage import distance_transform_edt

        far = np.float32(CERTAIN)
        outside = distance_transform_edt(~mask, sampling=scene.spacing) if mask.any() else far
        within = distance_transform_edt(mask, sampling=scene.spacing) if not mask.all() else far
        raw = np.where(mask, within, -np.asarray(outside)).astype(np.float32)
    bent = CERTAIN * np.tanh(raw / CERTAIN)
    return np.asarray(np.where(mask, np.maximum(bent, LEAST), np.minimum(bent, -LEAST)), dtype=np.float32)


def _carried(places: NDArray[np.int_], wanted: NDArray[np.float64], seen: Field, spacing: Sequence[float]) -> Field:
    """What the points add to the field."""
    step = np.array(spacing) / LENGTH_MM
    where = places * step
    looks = seen[(slice(None), *places.T)].T / ALIKE
    apart = ((where[:, None] - where[None]) ** 2).sum(-1) + ((looks[:, None] - looks[None]) ** 2).sum(-1)
    weights = np.linalg.solve(np.exp(-apart / 2) + 1e-3 * np.eye(len(places)), wanted)
    added = np.zeros(seen.shape[1:], np.float32)
    for place, look, weight in zip(places, looks, weights, strict=True):
        part = _around([tuple(place.tolist())], added.shape, spacing)
        far = np.zeros(tuple(s.stop - s.start for s in part), np.float32)
        for axis in range(3):
            away = (np.arange(part[axis].start, part[axis].stop) - place[axis]) * step[axis]
            far += (away.astype(np.float32) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
        for channel, value in zip(seen[(slice(None), *part)], look, strict=True):
            far += (channel / np.float32(ALIKE) - np.float32(value)) ** 2
        added[part] += np.float32(weight) * np.exp(-far / 2)
    return added


def _tidy(new: Mask, old: Mask, places: Sequence[tuple[int, ...]], spacing: Sequence[float]) -> None:
    """Leave out, in place, specks that came anew, and crumbs that are left of what was taken away."""
    voxels = SPECK_ML * 1000 / float(np.prod(spacing))
    parts, n = components(new)
    if not n:
        return
    small = np.bincount(parts.ravel(), minlength=n + 1) < voxels
    kept = np.zeros(n + 1, dtype=np.bool_)
    torn, m = components(old)
    shrunk = np.zeros(m + 1, dtype=np.bool_)
    shrunk[np.unique(torn[old & ~new])] = True
    shrunk[0] = False
    kept[np.unique(parts[old & ~shrunk[torn]])] = True  # what was there, and was not touched
    kept[[int(parts[p]) for p in places]] = True
    gone = small & ~kept
    gone[0] = False
    new[gone[parts]] = False


def _nest(after: dict[Region, Mask], before: Mapping[Region, Mask]) -> None:
    """Keep the nesting, in place: what came into a region is in those around it, and what left one is in none inside it."""
    order = list(Region)
    for outer, inner in itertools.pairwise(order):
        after[inner] = after[inner] & ~(before[outer] & ~after[outer])
    for outer, inner in reversed(list(itertools.pairwise(order))):
        after[outer] = after[outer] | after[inner]


def _around(points: Sequence[Index] | Sequence[tuple[int, ...]], shape: Sequence[int], spacing: Sequence[float]) -> Box:
    """The box within which the points are heard."""
    reach = [int(np.ceil(REACH * LENGTH_MM / s)) for s in spacing]
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    x, y, z = (
        slice(max(0, int(a) - r), min(n, int(b) + r + 1)) for a, b, r, n in zip(low, high, reach, shape, strict=True)
    )
    return x, y, z


def _within(index: Index, box: Box) -> bool:
    return all(s.start <= i < s.stop for i, s in zip(index, box, strict=True))
