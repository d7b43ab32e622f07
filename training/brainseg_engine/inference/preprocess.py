"""Study → the array a network sees, and the way back onto the grid it came from.

Steps: axes along the recipe's directions (a view); fixed margins cut off; resampling; crop to the brain's box or about the
centre; normalisation; padding to sizes the network takes. With ``resize_to`` every crop comes before the resampling.
What is brain, and that the air around it is 0, :mod:`brainseg_engine.core.brain` tells.
``zscore`` and ``slice_zscore`` look at the array as the crop left it, ``minmax`` and ``percentiles`` at the whole volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg_engine.core import brain, resample
from brainseg_engine.core.errors import InputError, RecipeError
from brainseg_engine.core.geometry import Grid, Shape3
from brainseg_engine.core.labels import LabelArray, Mask
from brainseg_engine.core.morphology import components
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.inference import normalise, tiles
from brainseg_engine.recipe import Output, Preprocess, Recipe

Box = tuple[slice, slice, slice]

MOST_VOXELS = 2**26
"""Of a study at the model's spacing: a cube of 406 voxels."""
STRAY = 0.05
"""A piece of what is not 0 with less than this part of the largest one's voxels is no brain."""
_BOXED = ("brain", "nonzero")
_NOTHING = np.zeros((1, 1, 1), dtype=bool)
MOSTLY_PADDING = 8
"""A patch with more than this many times the voxels of a whole study is refused: most of it would be padding."""


@dataclass(frozen=True)
class Inverse:
    """The way back. ``original`` is the reference's grid, ``oriented`` the same along the recipe's directions, ``source``
    what was resampled of it (from ``before`` on), ``working`` that resampled; the network's array is ``working`` from
    ``start`` on, of ``shape`` (padding included)."""

    original: Grid
    oriented: Grid
    source: Grid
    working: Grid
    transform: NDArray[np.float64]
    before: Shape3
    start: Shape3
    shape: Shape3

    def restored(self, array: torch.Tensor, output: Output, *, logits: bool) -> torch.Tensor:
        """The network's answer (K, *shape), probabilities or ``logits``, → probabilities on the original grid."""
        return self.probabilities(tiles.probabilities(array[None], output)[0] if logits else array)

    def probabilities(self, array: torch.Tensor) -> torch.Tensor:
        """(K, *shape) → (K, X, Y, Z) on the original grid, linear; 0 outside the window."""
        if self.working is self.oriented:  # nothing was resampled: one copy
            return self._turned(array, self.start)
        array = resample.crop_or_pad(array, _negative(self.start), self.working.shape)
        return self.placed(resample.linear(array, self.working, self.source))

    def placed(self, array: torch.Tensor) -> torch.Tensor:
        """(K, *source) → (K, X, Y, Z) on the original grid; 0 outside of what was cut out."""
        return self._turned(array, self.before)

    def _turned(self, array: torch.Tensor, start: Shape3) -> torch.Tensor:
        """What lies at ``start`` along the recipe's directions → on the original grid. It is turned first and filled up then: the
        piece is a fraction of the whole."""
        undo = resample.invert_orientation(self.transform)
        axes = [int(np.flatnonzero(undo[:, 0] == new)[0]) for new in range(3)]
        flipped = [old for old in range(3) if undo[old, 1] < 0]
        ends = [self.oriented.shape[a] - start[a] - array.shape[1 + a] if a in flipped else start[a] for a in axes]
        array = array.flip([1 + a for a in flipped]).permute(0, *(1 + a for a in axes))
        return resample.crop_or_pad(array, (-ends[0], -ends[1], -ends[2]), self.original.shape)

    def forward_labels(self, labels: LabelArray) -> LabelArray:
        """(X, Y, Z) labels on the original grid → (*shape); for training targets."""
        oriented = resample.reorient(labels, self.transform)
        if self.working is not self.source:
            source = oriented[_at(self.before, self.source.shape)]
            oriented = resample.majority(source, self.source, self.working)
        tensor = torch.from_numpy(np.array(oriented, order="C"))[None]
        return resample.crop_or_pad(tensor, self.start, self.shape)[0].numpy()


def preprocess(study: Study, recipe: Recipe, divisor: Shape3) -> tuple[torch.Tensor, Inverse]:
    """(C, *shape) float32 in the recipe's modality order, and its Inverse.

    Every side is at least that of the recipe's window, and a multiple of its ``divisor`` (but for patches, whose sides
    are multiples themselves and which may begin anywhere).

    A missing modality that the recipe allows for is 0. With ``crop = "brain"`` so are strays: what is not 0, far from the brain
    and small against it, would stretch the box and shift every statistic.

    Raises InputError for a missing modality, an image of zeros or voxels that are no numbers, GeometryError for grids
    that differ, RecipeError for a window far larger than the study.
    """
    study.require(recipe.needed)
    if recipe.plans is not None:
        from brainseg_engine.inference.planned import prepared

        return prepared(study, recipe, recipe.plans)
    config = recipe.preprocess
    if config.crop != "nonzero":
        study = _above_air(study, recipe)
    original = study.reference.grid
    transform, oriented = oriented_as(original, config.orientation)
    tissue, strays = _NOTHING, None
    if config.crop == "brain":
        tissue, strays = _brain(study, recipe, transform)
    elif config.crop == "nonzero":
        tissue = nonzero(study, recipe, transform)
    cut = _box_before(study, recipe, tissue, oriented.shape)
    whole = cut == _whole(oriented.shape)
    source = oriented if whole else oriented.crop(_start(cut), _shape(cut))
    working = _working(source, config)
    resampled = working is not source
    if resampled:
        _require_head(study, working)
    else:  # nothing to do between the two crops: one, of views
        source = working = oriented
        if config.crop != "margins" and config.resize_to is None:
            cut = _crop(config, oriented.shape, lambda: box_of(tissue, study.id))
    limits = [_limits(study, m, config) if m in study.volumes else None for m in recipe.modalities]
    # one at a time in memory
    channels = (read_channel(study, m, transform, cut, strays)[0] for m in recipe.modalities)
    box = cut
    if resampled:
        image = torch.cat([resample.linear(c[None], source, working) for c in channels])
        box = _whole(working.shape)
        if config.resize_to is None:
            box = _crop(config, working.shape, lambda: box_of((image != 0).any(dim=0).numpy(), study.id))
        channels = (c[box] for c in image)
    start, shape = _window(box, recipe, divisor, working.shape, study.id)
    inside = (start[0] - box[0].start, start[1] - box[1].start, start[2] - box[2].start)
    before = _start(cut) if resampled else (0, 0, 0)
    inverse = Inverse(original, oriented, source, working, transform, before, start, shape)
    out = torch.empty((len(recipe.modalities), *shape))
    for into, modality, found, channel in zip(out, recipe.modalities, limits, channels, strict=True):
        normal = normalise.channel(channel, found, config) if modality in study.volumes else channel
        into.copy_(resample.crop_or_pad(normal[None], inside, shape, normalise.outside(config))[0])
    return out, inverse


def _require_head(study: Study, working: Grid) -> None:
    if math.prod(working.shape) > MOST_VOXELS:
        spacing = study.reference.grid.spacing
        raise InputError(
            f"The study '{study.id}' would become {'×'.join(map(str, working.shape))} voxels at the model's spacing, more than a "
            f"head has: its own spacing is given as {'×'.join(f'{s:.3g}' for s in spacing)} mm. Check its header."
        )


def oriented_as(grid: Grid, orientation: str) -> tuple[NDArray[np.float64], Grid]:
    """The transform that brings the grid's axes along those directions, and the grid after it; ``own``: as it lies."""
    return resample.to_axes(grid, grid.orientation if orientation == "own" else orientation)


def _above_air(study: Study, recipe: Recipe) -> Study:
    """The study with the air around each brain at 0, whatever value or noise the files have there."""
    whole = recipe.preprocess.normalise in ("minmax", "percentiles", "none")  # these look at the noise outside, too
    clear = brain.above_air if whole else brain.without_air
    cleared = {m: clear(v.data) if m in recipe.modalities else v.data for m, v in study.volumes.items()}
    return replace(study, volumes={m: replace(v, data=cleared[m]) for m, v in study.volumes.items()})


def _working(source: Grid, config: Preprocess) -> Grid:
    """The grid that the network works on; ``source`` itself where nothing is resampled."""
    if config.resize_to is not None:
        return resample.with_shape(source, config.resize_to)
    return source if config.spacing_mm is None else resample.with_spacing(source, config.spacing_mm)


def _limits(study: Study, modality: Modality, config: Preprocess) -> normalise.Limits | None:
    """Of the whole volume, where the recipe's normalisation looks at that."""
    bounds = normalise.limits(study.volumes[modality].data, config)
    if bounds is not None:
        _require_numbers(torch.tensor(bounds), modality, study)
    return bounds


def read_channel(
    study: Study, modality: Modality, transform: NDArray[np.float64], cut: Box, strays: Mask | None
) -> torch.Tensor:
    """(1, *cut) float32 of one series, along the working axes; 0 at ``strays``, and for a series that is missing."""
    if modality not in study.volumes:
        return torch.zeros(1, *_shape(cut))
    data = resample.reorient(study.volumes[modality].data, transform)[cut]
    tensor = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))[None]
    _require_numbers(tensor, modality, study)
    if strays is not None:
        tensor[0][torch.from_numpy(strays[cut])] = 0
    return tensor


def _require_numbers(values: torch.Tensor, modality: Modality, study: Study) -> None:
    """One NaN would make the whole channel NaN, and the answer an empty mask."""
    if not all(torch.isfinite(extreme) for extreme in torch.aminmax(values)):
        raise InputError(
            f"{modality.title} of the study '{study.id}' holds voxels that are no numbers (NaN or infinite). "
            "Set them to 0, or export the series again."
        )


def _box_before(study: Study, recipe: Recipe, tissue: Mask, shape: Shape3) -> Box:
    """What is cut out before the resampling: by fixed margins, or, before a stretch to a fixed shape, any crop."""
    config = recipe.preprocess
    if config.crop == "margins":
        return _within_margins(config, shape, study.id)
    if config.resize_to is None:
        return _whole(shape)
    box = _crop(config, shape, lambda: box_of(tissue, study.id))
    if config.crop not in _BOXED:
        return box
    grown = [(max(0, b.start - config.margin_voxels), b.stop + config.margin_voxels) for b in box]
    return _slices([(low, min(n, high)) for (low, high), n in zip(grown, shape, strict=True)])


def _crop(config: Preprocess, shape: Shape3, brain: Callable[[], Box]) -> Box:
    """The part of an array of ``shape`` that the recipe's ``crop`` keeps, within it."""
    if config.crop in _BOXED:
        return brain()
    if config.centre_size is None:
        return _whole(shape)
    starts = [(n - size) // 2 for n, size in zip(shape, config.centre_size, strict=True)]
    kept = zip(starts, config.centre_size, shape, strict=True)
    return _slices([(max(0, start), min(n, start + size)) for start, size, n in kept])


def _within_margins(config: Preprocess, shape: Shape3, study_id: str) -> Box:
    for axis, n, (low, high) in zip("xyz", shape, config.margins, strict=True):
        if low + high >= n:
            raise RecipeError(
                f"preprocess.margins cuts {low} and {high} voxels off along {axis}, and the study '{study_id}' has only "
                f'{n}. Make them smaller, or use preprocess.crop = "brain".'
            )
    return _slices([(low, n - high) for n, (low, high) in zip(shape, config.margins, strict=True)])


def _brain(study: Study, recipe: Recipe, transform: NDArray[np.float64]) -> tuple[Mask, Mask | None]:
    """What is not 0 in any series, along the working axes, without strays; and the strays, None where there are none.

    Pieces are told apart on a grid of every other voxel, where what lies a voxel apart is one.
    """
    mask = nonzero(study, recipe, transform)
    labelled, pieces = components(_halved(mask))
    if pieces < 2:
        return mask, None
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    small = sizes < STRAY * sizes.max()
    small[0] = False
    x, y, z = mask.shape
    strays = small[labelled].repeat(2, 0).repeat(2, 1).repeat(2, 2)[:x, :y, :z] & mask
    return mask & ~strays, strays


def nonzero(study: Study, recipe: Recipe, transform: NDArray[np.float64]) -> Mask:
    """What is not 0 in any series of the recipe, along the working axes."""
    # in the order of the files' voxels, which is several times faster
    mask = np.zeros_like(study.reference.data, dtype=bool)
    for m in recipe.modalities:
        if m in study.volumes:
            mask |= study.volumes[m].data != 0
    return resample.reorient(mask, transform)


def _halved(mask: Mask) -> Mask:
    """Whether anything is set in each block of 2×2×2."""
    for axis, n in enumerate(mask.shape):
        if n % 2:
            mask = np.pad(mask, [(0, int(a == axis)) for a in range(3)])
        even, odd = (mask[(slice(None),) * axis + (slice(first, None, 2),)] for first in (0, 1))
        mask = even | odd
    return mask


def box_of(mask: Mask, study_id: str) -> Box:
    """Of what is set. Raises InputError where nothing is."""
    bounds = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            raise InputError(f"All images of the study '{study_id}' are zero everywhere; there is nothing to segment.")
        bounds.append((int(hit[0]), int(hit[-1]) + 1))
    return _slices(bounds)


def _window(box: Box, recipe: Recipe, divisor: Shape3, working: Shape3, study_id: str) -> tuple[Shape3, Shape3]:
    """Box → (start, shape): grown by the margin and then to what the network takes, evenly on both sides."""
    config, size = recipe.preprocess, recipe.window.size
    grown = config.crop in _BOXED and config.resize_to is None
    margin = config.margin_voxels if grown else 0
    least = config.centre_size if config.centre_size is not None and config.resize_to is None else (1, 1, 1)
    shape = [max(n + 2 * margin, m) for n, m in zip(_shape(box), least, strict=True)]
    if size is not None:
        if recipe.window.steps != "fixed":  # a model of MONAI's has learnt with that much padding
            _require_sensible(size, working, study_id)
        shape = [max(n, side) for n, side in zip(shape, (*size, 1), strict=False)]
    if recipe.window.policy != "patch":
        shape = [-(-n // d) * d for n, d in zip(shape, divisor, strict=True)]
    start = [b.start - (s - n) // 2 for b, s, n in zip(box, shape, _shape(box), strict=True)]
    return (start[0], start[1], start[2]), (shape[0], shape[1], shape[2])


def _require_sensible(size: tuple[int, ...], working: Shape3, study_id: str) -> None:
    if math.prod(size) > MOSTLY_PADDING * math.prod(working[: len(size)]):
        whole = "×".join(str(n) for n in working)
        raise RecipeError(
            f"window.size is {list(size)}, far larger than the study '{study_id}' ({whole} voxels at the recipe's "
            "spacing): nearly all of a piece would be padding. Make window.size smaller."
        )


def _whole(shape: Shape3) -> Box:
    return _slices([(0, n) for n in shape])


def _slices(bounds: Sequence[tuple[int, int]]) -> Box:
    x, y, z = (slice(low, high) for low, high in bounds)
    return x, y, z


def _start(box: Box) -> Shape3:
    return box[0].start, box[1].start, box[2].start


def _shape(box: Box) -> Shape3:
    return box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start


def _at(start: Shape3, shape: Shape3) -> Box:
    return _slices([(s, s + n) for s, n in zip(start, shape, strict=True)])


def _negative(start: Shape3) -> Shape3:
    return -start[0], -start[1], -start[2]
