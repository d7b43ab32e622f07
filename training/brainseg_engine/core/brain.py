"""What of an image is brain (or head), and what is the air around it: one definition for all that need it.

The air is what lies on the border of the array: one value where it was masked out, whichever value that is, else noise
about one. Normalising, cropping, checks, brush, windows and the brain's surface all ask here, so that adding a constant to
an image, or another value outside the brain, changes none of their answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask
from brainseg_engine.core.once import once

CLEAN = 0.98
"""Share of the border with one value, from which the air counts as masked out. In 160 series of 40 public BraTS studies 0.986
and more, and air with noise is never that even."""
_EQUAL = 1e-6
"""Values this close (as a share of the image's range) are one value: what scaling and rounding leave of it."""
_QUIET = 0.25
"""What on the border is less than this share of the tissue's typical intensity is noise, not tissue that reaches the border."""
_SEEN, _STIRRED = 0.05, 0.4
"""Least part of the border that must be air for anything to be known of it: masked out, and with noise (0.6 and more in a raw
clinical study; what looks like noise in a piece from inside a brain is 0.3 at most)."""
_SAMPLES = 96  # per axis: the tissue's typical intensity needs no more
_ONE_VALUE, _FEW_SAMPLES = 0.25, 32
"""Share of what differs from the air that one value has only where it is air too; looked for in 32 samples per axis."""
_FEW_VALUES, _WRAPPED = 20, 0.5
"""An image of fewer values is drawn, or coarsely stored, and a common one of them may be tissue; and the share of the padding's
surface that air touches, where a common value of tissue (saturated, say) lies beside tissue."""


@dataclass(frozen=True)
class Air:
    """The air's ``value`` and how far its noise goes to both sides of it; ``noise`` 0 where it was masked out.

    ``padding``: another value around it, where an image was turned or cut and filled up.
    """

    value: float
    noise: float = 0.0
    padding: float | None = None


def air_of(data: NDArray[Any]) -> Air | None:
    """The air of an image (X, Y, Z); None where none is seen: a piece from inside a brain."""
    return once([data], "air", lambda: _air_of(data))


def _air_of(data: NDArray[Any]) -> Air | None:
    low, high = data.min(), data.max()
    if not low < high:  # NaN too
        return Air(float(low)) if low == high else None
    faces = np.concatenate([data[(slice(None),) * axis + (side,)].ravel() for axis in range(3) for side in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    value = float(values[counts.argmax()])
    off = np.abs(faces.astype(np.float64) - value)
    tolerance = _EQUAL * (float(high) - float(low))
    if np.count_nonzero(off <= tolerance) >= CLEAN * off.size:
        return _with_padding(data, value, tolerance)
    return _noisy(data, faces, value, tolerance)


def _noisy(data: NDArray[Any], faces: NDArray[Any], value: float, tolerance: float) -> Air | None:
    """Noise on the border, or tissue that reaches it, told apart by how strong it is."""
    step = tuple(slice(None, None, max(1, n // _SAMPLES)) for n in data.shape)
    sample = data[step].astype(np.float64).ravel()
    even = np.count_nonzero(np.abs(faces.astype(np.float64) - value) <= tolerance) / faces.size
    if even < _SEEN:  # no value stands out: the middle of the quieter half of the border
        value = float(np.median(np.sort(faces)[: faces.size // 2]))
    off, inner = np.abs(faces.astype(np.float64) - value), np.abs(sample - value)
    tissue = _tissue(inner)
    quiet = off[off < _QUIET * tissue]
    if quiet.size < _SEEN * off.size:
        return None
    stirred = quiet[quiet > tolerance]
    if stirred.size < (1 - CLEAN) * quiet.size:
        return _with_padding(data, value, tolerance)  # all that differs is tissue
    if quiet.size < _STIRRED * off.size:
        return None
    return Air(value, max(float(np.percentile(quiet, 99.9)), tolerance))


def _with_padding(data: NDArray[Any], value: float, tolerance: float) -> Air:
    """Air of that value; where one value more takes up much of the rest, as no tissue does, air within a padding."""
    step = tuple(slice(None, None, max(1, n // _FEW_SAMPLES)) for n in data.shape)
    rest = data[step].ravel()
    rest = rest[np.abs(rest - rest.dtype.type(value)) > tolerance] if rest.dtype.kind == "f" else rest[rest != value]
    values, counts = np.unique(rest, return_counts=True)
    if values.size < _FEW_VALUES or counts.max() < _ONE_VALUE * rest.size:
        return Air(value)
    second = float(values[counts.argmax()])
    tissue = float(np.median(rest[rest != values[counts.argmax()]]))
    near, far = sorted((value, second), key=lambda v: abs(v - tissue))
    darker = near < data.max()  # the brightest value is no air: it is where tissue is saturated
    return Air(near, padding=far) if darker and _wraps(data, far, near) else Air(value)


def _wraps(data: NDArray[Any], padding: float, air: float) -> bool:
    """Whether what touches the one value is mostly the other."""
    there = data == data.dtype.type(padding)
    touching = []
    for axis in range(3):
        one, next_ = ((slice(None),) * axis + (s,) for s in (slice(None, -1), slice(1, None)))
        touching += [data[next_][there[one] & ~there[next_]], data[one][there[next_] & ~there[one]]]
    values = np.concatenate(touching)
    return bool(np.count_nonzero(values == data.dtype.type(air)) >= _WRAPPED * values.size)


def _tissue(inner: NDArray[np.float64]) -> float:
    """The typical distance of tissue from the air: the median beyond Otsu's threshold."""
    from skimage.filters import threshold_otsu

    top = float(np.percentile(inner, 99.5))
    clipped = np.minimum(inner, top)
    beyond = clipped[clipped > threshold_otsu(clipped)] if clipped.min() < clipped.max() else clipped
    return float(np.median(beyond)) if beyond.size else top


def brain(data: NDArray[Any], air: Air | None = None) -> Mask:
    """Boolean mask (X, Y, Z) of the brain, or of the head where the skull is on.

    Where the air was masked out: all that differs from it. Else the largest piece that rises above the noise, holes filled.
    Where no air is seen, all of it.
    """
    air = air or air_of(data)
    if air is None:
        return np.isfinite(data) if data.dtype.kind == "f" else np.ones(data.shape, dtype=np.bool_)
    if not air.noise:
        return _masked_in(data, air)
    return _largest(np.abs(data.astype(np.float32) - np.float32(air.value)) > air.noise)


def without_air(data: NDArray[Any]) -> NDArray[Any]:
    """Intensities above the air, 0 outside the brain. The array itself where the air is 0 and masked out already."""
    air = air_of(data)
    if air is None or (air.value == 0 and not air.noise and air.padding is None):
        return data
    out: NDArray[np.float32] = data.astype(np.float32) - np.float32(air.value)
    out[~brain(data, air)] = 0
    return out


def above_air(data: NDArray[Any]) -> NDArray[Any]:
    """As :func:`without_air`, for what looks at the whole volume: noise outside stays, only a masked-out value becomes 0."""
    air = air_of(data)
    if air is None or air.noise or (air.value == 0 and air.padding is None):
        return data
    out: NDArray[np.float32] = data.astype(np.float32) - np.float32(air.value)
    out[~_masked_in(data, air)] = 0
    return out


def _masked_in(data: NDArray[Any], air: Air) -> Mask:
    inside = _differs(data, air.value)
    return inside if air.padding is None else inside & _differs(data, air.padding)


def _differs(data: NDArray[Any], value: float) -> Mask:
    if data.dtype.kind != "f":
        return np.asarray(data != value)
    tolerance = 0.0 if value == 0 else _EQUAL * float(data.max() - data.min())
    return np.asarray(np.abs(data - data.dtype.type(value)) > tolerance) if tolerance else np.asarray(data != value)


def _largest(mask: Mask) -> Mask:
    """The largest piece, without what hangs on it by a thread, grown back to what it was there; holes filled."""
    from scipy import ndimage

    from brainseg_engine.core.morphology import components

    opened = ndimage.binary_opening(mask)
    pieces, n = components(opened)
    if not n:
        return mask
    kept = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    grown = ndimage.binary_dilation(kept, np.ones((3, 3, 3))) & mask
    filled: Mask = ndimage.binary_fill_holes(grown)
    return filled
