"""Propagate: a person corrected a few slices of a study; what does that mean for the others?

The model is adapted to the corrected slices for this one study (:mod:`.fitting`) and predicts the others again. What comes
of it is a proposal: the corrected slices are in it as the person left them, and elsewhere the model's answer is changed only
where the adapted model decides otherwise than the model did, near the corrections more readily than far from them. The model
itself, in memory and on disk, stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg_engine.core import device as devices
from brainseg_engine.core.brain import brain as brain_of
from brainseg_engine.core.errors import Cancelled, DeviceError, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.labels import Label, LabelArray, Mask, Region, labels_from_regions, region_mask, region_masks
from brainseg_engine.core.morphology import bounding_box, components
from brainseg_engine.core.study import Study
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.propagate.fitting import CERTAIN, MIGHT_BE, STEPS, Lesson, fit
from brainseg_engine.propagate.placing import placed, placed_labels
from brainseg_engine.propagate.seeing import Seen, look
from brainseg_engine.recipe import Recipe

Box = tuple[slice, ...]

# Chosen as those of `fitting` were.
REACH_MM = 40.0
"""The correction of the logits fades with the distance d from the nearest corrected slice as exp(−(d / REACH_MM)²)."""
MARGIN = 12
"""Voxels around what is or might be tumour that are looked at."""
SPECK_ML = 0.1
"""Proposed parts that are connected with nothing that was there before are left out below that volume."""


@dataclass(frozen=True, eq=False)
class Corrected:
    """What a person has said: ``labels`` (X, Y, Z) as they are now; ``slices``, file axis → indices of slices that are right
    as a whole; ``voxels`` (X, Y, Z), single ones that are right wherever they lie."""

    labels: LabelArray
    slices: Mapping[int, Sequence[int]]
    voxels: Mask

    @property
    def planes(self) -> Mask:
        """The voxels of the slices."""
        mask = np.zeros(self.labels.shape, dtype=np.bool_)
        for axis, indices in self.slices.items():
            np.moveaxis(mask, axis, 0)[list(indices)] = True
        return mask


@dataclass(frozen=True, eq=False)
class PropagatedLabels:
    """``labels`` (X, Y, Z) on the grid of the study's reference series; ``changed``, voxels that differ from the corrected
    labels; ``steps`` of fitting; ``seconds``, stage → seconds."""

    labels: LabelArray
    changed: int
    steps: int
    seconds: Mapping[str, float] = field(default_factory=dict)


def propose(
    predictor: Predictor,
    study: Study,
    answer: LabelArray,
    corrected: Corrected,
    *,
    seed: int = 0,
    seen: Seen | None = None,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> PropagatedLabels:
    """What follows from the corrections of the predictor's ``answer`` (X, Y, Z) to the study; the same for the same seed.
    ``seen``: what the predictor's model makes of the study (:func:`look`), where that is at hand.

    Raises InputError when no slice was corrected or the arrays do not fit the study, and what ``Predictor.predict`` raises.
    """
    _require(study, answer, corrected)
    try:
        seen = seen or look(predictor.network, study, predictor.recipe, predictor.device, progress, cancelled)
        return _propose(predictor, study, answer, corrected, seed, seen, progress, cancelled)
    except (RuntimeError, MemoryError) as e:
        if not devices.out_of_memory(e):
            raise
        raise DeviceError(
            f"{devices.describe(predictor.device)} is out of memory for adapting the model to '{study.id}'. Close "
            "other programs, then try again; your corrections are untouched."
        ) from e


def _require(study: Study, answer: LabelArray, corrected: Corrected) -> None:
    shape = study.reference.grid.shape
    for what, array in (("answer", answer), ("labels", corrected.labels), ("corrected voxels", corrected.voxels)):
        if array.shape != shape:
            raise InputError(
                f"The {what} ({'×'.join(map(str, array.shape))}) do not fit the study '{study.id}' "
                f"({'×'.join(map(str, shape))}). Segment the study, then correct its labels."
            )
    if not any(corrected.slices.values()):
        raise InputError(
            f"No slice of '{study.id}' was corrected, so there is nothing to adapt the model to. Correct two or three slices "
            "with the brush, then propagate."
        )


def _propose(
    predictor: Predictor,
    study: Study,
    answer: LabelArray,
    corrected: Corrected,
    seed: int,
    seen: Seen,
    progress: ProgressCallback,
    cancelled: CancelCheck,
) -> PropagatedLabels:
    began = time.perf_counter()

    def between(step: int) -> None:
        if cancelled():
            raise Cancelled("Cancelled; nothing was changed.")
        progress(Progress("adapting the model", 0.3 + 0.6 * step / STEPS, step, STEPS))

    regions = predictor.recipe.output.regions
    limits = _limits(predictor.recipe)
    before = _logits(seen.regions, limits)
    after = _adapted(seen, before, study, corrected, regions, seed, between)
    fitted = time.perf_counter()
    progress(Progress("restoring the grid", 0.92))
    labels = answer.copy() if after is None else _composed(answer, _decided(seen, before, after, limits), regions)
    known = corrected.planes | corrected.voxels
    labels[known] = corrected.labels[known]
    _drop_specks(labels, answer, known, study.reference.grid.voxel_ml)
    progress(Progress("done", 1.0))
    seconds = {"features": seen.seconds, "adapting": fitted - began, "restore": time.perf_counter() - fitted}
    return PropagatedLabels(labels, int(np.count_nonzero(labels != corrected.labels)), STEPS, seconds)


def _limits(recipe: Recipe) -> torch.Tensor:
    """(R, 1, 1, 1): from which logit on a voxel is in the region."""
    post = recipe.postprocess
    at = torch.tensor([post.thresholds.get(r, post.threshold) for r in recipe.output.regions])
    return torch.logit(at)[:, None, None, None]


def _logits(probabilities: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Logits with the threshold at 0."""
    tiny = torch.finfo(torch.float32).tiny
    raw = torch.log(probabilities.clamp_min(tiny)) - torch.log((1 - probabilities).clamp_min(tiny))
    return (raw - limits.to(raw.device)).clamp(-CERTAIN, CERTAIN)


def _adapted(
    seen: Seen,
    before: torch.Tensor,
    study: Study,
    corrected: Corrected,
    regions: Sequence[Region],
    seed: int,
    between: Callable[[int], None],
) -> torch.Tensor | None:
    """The logits after adapting, on the network's grid; None where the corrections lie outside of what it sees."""
    forward = seen.inverse.forward_labels
    planes = placed(corrected.planes, seen.inverse)
    known, labels = placed_labels(corrected.labels, corrected.planes | corrected.voxels, seen.inverse)
    brain = forward(np.any([brain_of(v.data) for v in study.volumes.values()], axis=0).astype(np.uint8)) != 0
    might_be = (before > MIGHT_BE).any(dim=0).cpu().numpy() & brain
    box = bounding_box(might_be | (known & (labels != 0)), MARGIN)
    if box is None or not (planes[box] & brain[box]).any():
        return None
    within = (slice(None), *box)
    where = before.device
    truth = torch.from_numpy(np.stack([region_mask(labels[box], r) for r in regions])).to(where)
    lesson = Lesson(
        inputs=torch.cat([p.flatten(1) for p in _inputs(seen, before, within, torch.from_numpy(brain[box]).to(where))]),
        logits=before[within].flatten(1),
        truth=truth.flatten(1),
        known=torch.from_numpy(known[box].ravel()).to(where),
        brain=torch.from_numpy(brain[box].ravel()).to(where),
    )
    added = fit(lesson, seed, between).view(before[within].shape)
    faded = torch.from_numpy(_nearness(planes[box], seen.inverse.working.spacing)).to(where)
    after = before.clone()
    after[within] += faded * added
    return after


def _inputs(seen: Seen, before: torch.Tensor, within: Box, brain: torch.Tensor) -> list[torch.Tensor]:
    """Images, logits and features of the box, float16, of about one size."""
    features = seen.features[within]
    inside = features[:, brain].float()
    mean, sd = inside.mean(dim=1), inside.std(dim=1) + 1e-5
    even = [((f.float() - m) / s).half() for f, m, s in zip(features, mean, sd, strict=True)]
    return [seen.image[within].half(), (before[within].clamp(-8, 8) / 4).half(), torch.stack(even)]


def _nearness(planes: Mask, spacing: Sequence[float]) -> NDArray[np.float32]:
    """1 in the corrected slices, less far from them."""
    from scipy.ndimage import distance_transform_edt

    far = distance_transform_edt(~planes, sampling=spacing)
    return np.asarray(np.exp(-((far / REACH_MM) ** 2)), dtype=np.float32)


def _decided(
    seen: Seen, before: torch.Tensor, after: torch.Tensor, limits: torch.Tensor
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(R, X, Y, Z) on the study's grid: which voxels the model puts into each region, before and after."""
    limits = limits.to(before.device)
    at = torch.sigmoid(limits)
    answers = [(seen.inverse.probabilities(torch.sigmoid(z + limits)) > at).cpu().numpy() for z in (before, after)]
    return answers[0], answers[1]


def _composed(
    answer: LabelArray, decided: tuple[NDArray[np.bool_], NDArray[np.bool_]], regions: Sequence[Region]
) -> LabelArray:
    """The answer, changed where the adapted model decides otherwise than the model did."""
    now = region_masks(answer)
    for region, before, after in zip(regions, *decided, strict=True):
        now[region] = np.where(before != after, after, now[region])
    if set(regions) == {Region.WT}:
        made = np.where(now[Region.WT], np.uint8(Label.TUMOUR), np.uint8(0))
    else:
        made = labels_from_regions(now[Region.WT], now[Region.TC], now[Region.ET])
    otherwise = np.any(decided[0] != decided[1], axis=0)
    return np.where(otherwise, made, answer)


def _drop_specks(labels: LabelArray, answer: LabelArray, known: Mask, voxel_ml: float | None) -> None:
    """Take out of each region, in place, the parts below :data:`SPECK_ML` that the answer had not: what came anew, and the crumbs
    that are left of what shrank. What was corrected stays, and what was small before.
    """
    if voxel_ml is None:
        return
    outer = [0, int(Label.ED), int(Label.NCR)]  # what a voxel is that is in the region around it only
    for region, rest in zip(Region, outer, strict=True):
        mask, old = region_mask(labels, region), region_mask(answer, region)
        parts, n = components(mask)
        if not n:
            continue
        few = SPECK_ML / voxel_ml
        before, m = components(old)
        small_before = np.bincount(before.ravel(), minlength=m + 1) < few
        small_before[0] = False
        held = np.zeros(n + 1, dtype=np.bool_)
        held[parts[known | small_before[before]]] = True
        small = (np.bincount(parts.ravel(), minlength=n + 1) < few) & ~held
        small[0] = False
        labels[small[parts]] = rest
