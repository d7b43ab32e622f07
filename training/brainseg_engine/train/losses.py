"""Losses: a weighted sum of terms, on logits and canonical labels.

Every term is computed in float32, whatever precision the network ran in, and is finite where a class or a region is empty.
What a term means is written at :class:`brainseg_engine.recipe.Loss`.

Resection cavities count as background. Tumour of unknown class counts in the region WT; no softmax class can take it, so
:func:`require_known_classes` refuses it before training, and should it get here all the same, the loss becomes NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from brainseg_engine.core.errors import RecipeError, TrainingError
from brainseg_engine.core.labels import LABEL_NAMES, REGION_LABELS, Label, LabelArray, Region
from brainseg_engine.core.named import named
from brainseg_engine.recipe import Loss, Output, Recipe

CLASSES = (Label.BACKGROUND, Label.NCR, Label.ED, Label.ET)
"""The channels of a softmax, in order."""
TINY = 1e-8
"""Keeps 0 / 0 out of Dice without ``smooth``; no sum over a region that is there notices it."""
GENERALISED_EPSILON = 1e-7
"""In the weights of the generalised Dice, as Keras' epsilon has it."""

LossFunction = Callable[[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]
"""(logits (N, K, *spatial), labels (N, *spatial) uint8, what else the network gave, images (N, C, *spatial)) → scalar."""

Reduce = Callable[[torch.Tensor], torch.Tensor]
"""Sums over one process's part of the batch → sums over all processes, differentiable."""


@dataclass(frozen=True)
class _Given:
    """What a term of the loss is computed from, in float32."""

    logits: torch.Tensor
    targets: torch.Tensor
    aux: Mapping[str, torch.Tensor]
    image: torch.Tensor


_Term = Callable[[_Given], torch.Tensor]


def build(recipe: Recipe, reduce: Reduce | None = None) -> LossFunction:
    """The recipe's loss.

    With several processes, terms that are pooled over the batch need the sums of all of them: ``reduce`` adds up a small
    tensor over the processes, and its backward must add up likewise: the gradients are then right once they have been
    averaged over the processes, as DistributedDataParallel does. Of all other terms the value is that of one's own part.
    """
    config, output = recipe.loss, recipe.output
    add_up = reduce if reduce is not None else _alone
    weighted: list[tuple[float, Callable[[], _Term]]] = [
        (config.dice, lambda: _dice(config, output, add_up)),
        (config.cross_entropy, lambda: _cross_entropy(config, output)),
        (config.generalised_dice, lambda: _generalised_dice(config, add_up)),
        (config.reconstruction, lambda: _reconstruction),
        (config.kl, lambda: _kl(config)),
        (config.target_weight if config.target else 0.0, lambda: _own(config)),
    ]
    terms = [(weight, make()) for weight, make in weighted if weight]

    def loss(
        logits: torch.Tensor, labels: torch.Tensor, aux: Mapping[str, torch.Tensor], image: torch.Tensor
    ) -> torch.Tensor:
        targets = (
            class_targets(labels, output.cavity) if output.kind == "classes" else region_targets(labels, output.regions)
        )
        given = _Given(logits.float(), targets, {k: v.float() for k, v in aux.items()}, image.float())
        total = given.logits.new_zeros(())
        for weight, term in terms:
            total = total + weight * term(given)
        return total

    return loss


def region_targets(labels: torch.Tensor, regions: tuple[Region, ...]) -> torch.Tensor:
    """Canonical labels (N, *spatial) uint8 → (N, K, *spatial) float32 of 0 and 1, in the order of ``regions``."""
    lookup = torch.zeros(256, len(regions), dtype=torch.float32)
    for k, region in enumerate(regions):
        lookup[[int(v) for v in REGION_LABELS[region]], k] = 1.0
    return lookup.to(labels.device)[labels.int()].movedim(-1, 1)


def class_targets(labels: torch.Tensor, cavity: bool = False) -> torch.Tensor:
    """Canonical labels (N, *spatial) uint8 → (N, 4, *spatial) float32, one-hot; NaN where a label is no class. The resection
    cavity is background, or with ``cavity`` the fifth class."""
    classes = len(CLASSES) + cavity
    lookup = torch.full((256, classes), torch.nan)
    lookup[:classes] = torch.eye(classes)
    if not cavity:
        lookup[Label.RC] = lookup[Label.BACKGROUND]
    return lookup.to(labels.device)[labels.int()].movedim(-1, 1)


def require_known_classes(labels: LabelArray, output: Output, where: str) -> None:
    """Raises TrainingError if canonical ``labels`` hold tumour of unknown class and the network answers in classes."""
    if output.kind == "classes" and bool(np.any(labels == Label.TUMOUR)):
        raise TrainingError(
            f"{where} holds voxels of '{LABEL_NAMES[Label.TUMOUR]}', which a network that tells classes apart cannot learn "
            'from. Train with output.kind = "regions", or leave the case out.'
        )


def _alone(sums: torch.Tensor) -> torch.Tensor:
    return sums


def _probabilities(logits: torch.Tensor, output: Output) -> torch.Tensor:
    return logits.softmax(dim=1) if output.kind == "classes" else logits.sigmoid()


def _channel_sums(t: torch.Tensor) -> torch.Tensor:
    """(N, K, *spatial) → (K)."""
    return t.sum(dim=[0, *range(2, t.ndim)])


def _dice(config: Loss, output: Output, reduce: Reduce) -> _Term:
    first = 1 if output.kind == "classes" and not config.background else 0
    if config.pooling == "case":
        from monai.losses import DiceLoss

        by_case = DiceLoss(
            include_background=first == 0,
            sigmoid=output.kind == "regions",
            softmax=output.kind == "classes",
            squared_pred=config.squared,
            smooth_nr=config.smooth,
            smooth_dr=max(config.smooth, TINY),
        )
        return lambda given: by_case(given.logits, given.targets)

    def pooled(given: _Given) -> torch.Tensor:
        p, g = _probabilities(given.logits, output)[:, first:], given.targets[:, first:]
        # a target is 0 or 1, so its square is itself
        sums = torch.stack([_channel_sums(p * g), _channel_sums(p * p if config.squared else p), _channel_sums(g)])
        both, of_p, of_g = reduce(sums.sum(dim=1, keepdim=True) if config.pooling == "all" else sums)
        overlap = (2 * both + config.smooth) / (of_p + of_g + max(config.smooth, TINY))
        loss: torch.Tensor = 1 - overlap.mean()
        return loss

    return pooled


def _cross_entropy(config: Loss, output: Output) -> _Term:
    """The mean over all voxels; with class weights too, so that they set the scale (torch would divide by them)."""
    if output.kind == "regions":
        return lambda given: F.binary_cross_entropy_with_logits(given.logits, given.targets)
    weights = None if config.class_weights is None else torch.tensor(config.class_weights)

    def categorical(given: _Given) -> torch.Tensor:
        # with one-hot targets torch's mean is over voxels; with numbers of classes it would be over their weights
        w = None if weights is None else weights.to(given.logits.device)
        return F.cross_entropy(given.logits, given.targets, weight=w)

    return categorical


def _generalised_dice(config: Loss, reduce: Reduce) -> _Term:
    """1 − 2 Σ_c w_c Σ(pg) / Σ_c w_c Σ(p + g), w_c = 1 / ((Σg)² + 1e-7): classes with the background, over the batch."""

    def generalised(given: _Given) -> torch.Tensor:
        p, g = given.logits.softmax(dim=1), given.targets
        both, of_p, of_g = reduce(torch.stack([_channel_sums(p * g), _channel_sums(p), _channel_sums(g)]))
        weight = 1 / (of_g**2 + GENERALISED_EPSILON)
        if config.absent_classes == "dropped":
            weight = torch.where(of_g == 0, 0.0, weight)
        loss: torch.Tensor = 1 - 2 * (weight * both).sum() / (weight * (of_p + of_g)).sum()
        return loss

    return generalised


def _reconstruction(given: _Given) -> torch.Tensor:
    """Mean squared error over voxels, channels and cases."""
    return F.mse_loss(given.aux["reconstruction"], given.image)


def _kl(config: Loss) -> _Term:
    """Σ(μ² + σ² − log σ² − 1) over the latent numbers, by the image's voxels or the latent numbers; the mean over cases."""

    def kl(given: _Given) -> torch.Tensor:
        mean, log_variance = given.aux["mean"], given.aux["log_variance"]
        total = (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=1).mean()
        return total / (given.image[0, 0].numel() if config.kl_over == "voxels" else mean.shape[1])

    return kl


def _own(config: Loss) -> _Term:
    """The user's own term of the loss."""
    function = named(config.target, "brainseg.losses", error=RecipeError)

    def own(given: _Given) -> torch.Tensor:
        value = function(given.logits, given.targets)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise RecipeError(
                f"loss.target '{config.target}' must give a tensor with one number, not {type(value).__name__}."
            )
        return value.reshape(())

    return own
