"""Whether the skull is still on: one series may look so by chance, so a second must agree, or its outline must be its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.brain import air_of, brain
from brainseg_engine.core.morphology import depth
from brainseg_engine.core.once import once
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.studies.appearance import HEAD_ML

SCALP = 1.8
"""Rim over centre in T1 and T1ce (at most 1.4 in the 40 studies; 2.3 and more with scalp fat)."""
NOISY_ML = 1800.0
"""In place of ``HEAD_ML`` where the air has noise, as it has in nearly every head that nobody stripped."""
COMMON = 0.9
"""Least share of outlines that are one mask (Dice over all pairs of the 40 studies: 0.99 and more)."""


def with_skull(volumes: Mapping[Modality, Volume], order: Mapping[Modality, Modality]) -> list[Modality]:
    """The series with skull, as given; ``order``: given modality → what it looks like.

    One alone counts only where it is the only series, or where its outline is not that of the others (stripped series of
    a study share one mask).
    """
    on = [m for m, v in volumes.items() if skull_on(v, order.get(m, m))]
    if len(on) != 1 or len(volumes) == 1:
        return on
    others = [v for m, v in volumes.items() if m is not on[0]]
    return on if all(_outlines_differ(volumes[on[0]], v) for v in others) else []


def _outlines_differ(a: Volume, b: Volume) -> bool:
    """True when what is no air is another part of the space (of another volume, where the grids differ)."""
    (inside_a, ml_a), (inside_b, ml_b) = _outline(a), _outline(b)
    if a.grid.same_as(b.grid):
        whole = int(np.count_nonzero(inside_a)) + int(np.count_nonzero(inside_b))
        return 2 * int(np.count_nonzero(inside_a & inside_b)) < COMMON * whole
    return min(ml_a, ml_b) < COMMON * max(ml_a, ml_b)


def _outline(v: Volume) -> tuple[NDArray[np.bool_], float]:
    """What is no air, in steps of about 3 mm, and its mL."""
    step = [max(1, round(3.0 / s)) for s in v.grid.spacing]
    coarse = v.data[tuple(slice(None, None, n) for n in step)]
    air = air_of(v.data)
    inside = brain(coarse, air) if air is not None else np.ones(coarse.shape, dtype=np.bool_)
    return inside, float(inside.sum() * np.prod(np.array(v.grid.spacing) * step) / 1000)


def skull_on(volume: Volume, role: Modality | None = None) -> bool:
    """True when the head's skin and skull still seem to be there: unmasked air, a head's volume, or bright scalp.

    ``role``: what the volume looks like, where that is not the modality it was given as. One series alone may be
    mistaken: :func:`with_skull` asks the others.
    """
    role = role or volume.modality
    return once([volume.data], ("skull", role, *volume.grid.key), lambda: _skull_on(volume, role))


def _skull_on(volume: Volume, role: Modality) -> bool:
    data, grid = volume.data, volume.grid
    air = air_of(data)
    if air is None:
        return True
    step = [max(1, round(3.0 / s)) for s in grid.spacing]
    coarse = data[tuple(slice(None, None, n) for n in step)]
    sides = np.array(grid.spacing) * step
    inside = _largest(brain(coarse, air))
    if inside.sum() * sides.prod() / 1000 > (NOISY_ML if air.noise else HEAD_ML):
        return True
    if role not in (Modality.T1, Modality.T1CE):
        return False  # in T2 and FLAIR the fluid around a brain is as bright as fat
    return _rim_over_centre(coarse.astype(np.float32) - np.float32(air.value), inside, sides) > SCALP


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece without what hangs on it by a thread, its holes filled."""
    from scipy import ndimage

    pieces, n = ndimage.label(ndimage.binary_opening(mask))
    if not n:
        return mask
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)
    return filled


def _rim_over_centre(data: NDArray[np.float32], inside: NDArray[np.bool_], sides: NDArray[np.float64]) -> float:
    """90th percentile of the outer 8 mm over the median deeper than 20 mm; 0 when there is no such depth."""
    under = depth(np.pad(inside, 1), sides)[1:-1, 1:-1, 1:-1]
    rim, centre = data[inside & (under <= 8)], data[under > 20]
    if not rim.size or not centre.size or (middle := float(np.median(centre))) <= 0:
        return 0.0
    return float(np.percentile(rim, 90)) / middle
