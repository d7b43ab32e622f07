"""How well one series lies on the reference: three numbers, and one sentence where they are not good enough.

*peak*: how much more the two images tell of each other where they lie now than after shifts of 4 mm. It is what separates
a wrong patient, a mirrored or an upside-down head from a good alignment; the information itself (NMI) does not.
*cover*: how much of the reference's head the series shows. *dice*: the overlap of the two heads.

The thresholds and the rates they give are measured in ``benchmarks/registration``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import resample
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Volume
from brainseg_engine.prepare.rigid import Rigid, carried, covered

PEAK, COVER, DICE = 1.5, 0.80, 0.75
"""The least of each that counts as aligned."""
_BINS, _GRID_MM, _SHIFT_MM = 48, 2.0, 4.0
_Image = NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """See the module. ``peak`` and ``steepest`` (the same against the best single shift) have no unit; the others are
    shares of 1."""

    peak: float
    steepest: float
    cover: float
    dice: float

    @property
    def good(self) -> bool:
        """True when the alignment can be relied on."""
        return self.peak >= PEAK and self.steepest > 1 and self.cover >= COVER and self.dice >= DICE

    def better_than(self, other: Quality) -> bool:
        """True when this one is to be taken: the good one, else the one with the higher peak."""
        return (self.good, self.peak) > (other.good, other.peak)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the numbers to 0.001, and whether they are good."""
        return {k: round(v, 3) for k, v in asdict(self).items()} | {"good": self.good}


def sentence(quality: Quality, series: Volume, reference: Volume) -> str:
    """What is wrong with the alignment and what to do; "" when it is good."""
    name, onto = series.modality.title, reference.modality.title
    if quality.good:
        return ""
    if quality.peak < PEAK or quality.steepest <= 1:
        return (
            f"{name} does not match {onto} after alignment (peak {quality.peak:.2f}, at least {PEAK} is expected): it may be "
            "of another patient or visit, mirrored, or not aligned. Compare the two before you use the result."
        )
    if quality.cover < COVER:
        return (
            f"{name} shows only {quality.cover:.0%} of the head that {onto} shows. Use a series that covers the whole brain, "
            "or mind that the result is unreliable beyond it."
        )
    return (
        f"The heads in {name} and {onto} overlap by {quality.dice:.0%} only (at least {DICE:.0%} is expected). Compare the "
        "two before you use the result."
    )


def measure(series: Volume, reference: Volume, rigid: Rigid) -> Quality:
    """The quality of ``rigid`` (the reference's world → the series's). Images without any contrast give a peak of 1."""
    grid = resample.with_spacing(reference.grid, _GRID_MM)
    a, b = carried(reference.data, reference.grid, grid), carried(series.data, series.grid, grid, rigid)
    seen = covered(series.grid, grid, rigid)
    head_a, head_b = head(a), head(b)
    if not head_a.any() or not head_b.any():
        return Quality(1.0, 1.0, float(head_b.any()), 0.0)
    where = _grown(head_a)
    codes_a, codes_b = _binned(a, head_a), _binned(b, head_b)
    at = _information(codes_a, codes_b, where & seen)
    step = round(_SHIFT_MM / _GRID_MM)
    moved = []
    for axis, sign in product(range(3), (1, -1)):
        to, fro = _shifted(axis, sign * step)
        moved.append(_information(codes_a[to], codes_b[fro], where[to] & seen[fro]))
    mean, most = max(float(np.mean(moved)), 1e-6), max(*moved, 1e-6)
    both = int(np.count_nonzero(head_a & head_b))
    dice = 2 * both / (np.count_nonzero(head_a) + np.count_nonzero(head_b))
    return Quality(at / mean, at / most, float(seen[head_a].mean()), float(dice))


def head(data: _Image) -> Mask:
    """The head (or the stripped brain) in an image (X, Y, Z): what is brighter than air, its largest piece, holes filled.

    Empty where the image has no contrast.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    top = np.percentile(data, 99.5)
    values = np.clip(data, 0, top)
    bright = values[values > 0]
    if bright.size < 100 or bright.min() == bright.max():
        return values > 0
    mask: Mask = ndimage.binary_opening(values > threshold_otsu(bright) / 2)
    pieces, n = ndimage.label(mask)
    if not n:
        return mask
    mask = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    for axis in range(3):  # slice by slice: sinuses and the open ends of a slab are no holes in three dimensions
        mask = np.stack([ndimage.binary_fill_holes(s) for s in np.moveaxis(mask, axis, 0)], axis)
    return mask


def _grown(mask: Mask) -> Mask:
    from scipy import ndimage

    return ndimage.binary_dilation(mask, iterations=2)  # type: ignore[no-any-return]


def _binned(image: _Image, inside: Mask) -> NDArray[np.intp]:
    low, high = np.percentile(image[inside], [0.5, 99.5])
    scaled = (np.clip(image, low, high) - low) / max(float(high - low), 1e-6)
    codes: NDArray[np.intp] = np.minimum((scaled * _BINS).astype(np.intp), _BINS - 1)
    return codes


def _shifted(axis: int, step: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Two views of equal shape, the second ``step`` voxels behind the first along ``axis``."""
    to, fro = [slice(None)] * 3, [slice(None)] * 3
    to[axis], fro[axis] = (
        (slice(step, None), slice(None, -step)) if step > 0 else (slice(None, step), slice(-step, None))
    )
    return tuple(to), tuple(fro)


def _information(a: NDArray[np.intp], b: NDArray[np.intp], where: Mask) -> float:
    """Normalised mutual information of the binned images in ``where``, minus 1; 0 where nothing is in common."""
    counts = np.bincount(a[where] * _BINS + b[where], minlength=_BINS**2).reshape(_BINS, _BINS)
    if not counts.any():
        return 0.0
    joint = _entropy(counts)
    return (_entropy(counts.sum(axis=0)) + _entropy(counts.sum(axis=1))) / joint - 1 if joint > 0 else 0.0


def _entropy(counts: NDArray[np.intp]) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
