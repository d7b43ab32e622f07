"""One step of a training: forward, loss, backward, optimiser, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext

import torch
from lightning_fabric import Fabric

from brainseg_engine import dataset, nets
from brainseg_engine.core.errors import RecipeError
from brainseg_engine.models import checkpoint, find
from brainseg_engine.recipe import Recipe
from brainseg_engine.train import losses, optimisers, ranks, state

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Images (N, C, *spatial), labels (N, *spatial) and the keys (N, 2) of the samples: epoch and index."""


class NotFinite(Exception):
    """The loss or its gradients are no number; ``keys`` of this process's samples."""

    def __init__(self, what: str, keys: Sequence[torch.Tensor]) -> None:
        super().__init__(what)
        self.what, self.keys = what, keys


class Learner:
    """The network that is trained, and all that a step changes."""

    def __init__(self, recipe: Recipe, fabric: Fabric, seed: int, init: str | None) -> None:
        """``init``: an installed model to start from. Raises RecipeError when its network is another."""
        self.recipe, self.fabric, self.seed = recipe, fabric, seed
        self.device = str(fabric.device)
        self.earlier: tuple[str, ...] = ()
        """Hashes of the images that the weights were fitted to before this run."""
        torch.manual_seed(seed)
        self.raw = nets.build(recipe, training=True)
        if init:
            self._start_from(init)
        nets.train_only(self.raw, recipe)
        self.order = torch.channels_last_3d if getattr(self.raw, "channels_last", False) else torch.contiguous_format
        self.raw.to(memory_format=self.order)  # type: ignore[call-overload]  # torch's stubs name it without its default
        self.net, self.optimiser = fabric.setup(self.raw, optimisers.build(recipe.optimiser, self.raw))
        if hasattr(self.raw, "training_forward"):
            self.net.mark_forward_method("training_forward")
        self.ema = {k: v.detach().clone() for k, v in self.raw.state_dict().items()}
        self._averaged = nets.build(recipe).to(self.device).eval()
        self._loss = losses.build(recipe, reduce=ranks.summed)
        self._start = {n: p.detach().clone() for n, p in self._trained()} if recipe.training.pull else {}

    def _start_from(self, model: str) -> None:
        given = checkpoint.load(find(model))
        own = nets.for_use(self.recipe, self.raw.state_dict())
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in given.state.items()}:
            raise RecipeError(
                f"The model '{model}' has the network {given.recipe.network} and the recipe asks for {self.recipe.network}; "
                "weights can only start a network of the same form."
            )
        self.raw.load_state_dict({**self.raw.state_dict(), **given.state})
        self.earlier = given.card.training_hashes

    def averaged(self) -> torch.nn.Module:
        """The network for use, with the averaged weights: what is validated and kept."""
        self._averaged.load_state_dict(nets.for_use(self.recipe, self.ema))
        return self._averaged

    @property
    def augments(self) -> bool:
        """Whether samples are augmented here, on the training's device, instead of by the loader's workers."""
        wanted = self.recipe.augmentation.on
        return wanted == "device" or (wanted == "auto" and self.fabric.device.type != "cpu")

    @property
    def parts(self) -> int:
        """How many parts this process takes its share of a step in; whole brains differ in size and go one by one."""
        one_by_one = self.recipe.window.policy == "brain"
        share = self.recipe.training.batch_size // self.fabric.world_size
        return share if one_by_one else self.recipe.training.accumulate

    def step(self, batches: Iterator[Batch], number: int, rate: float) -> float:
        """Step ``number`` of the optimiser at that learning rate; returns the loss over all processes. Raises NotFinite."""
        self.net.train()
        torch.manual_seed(state.step_seed(self.seed, number, self.fabric.global_rank))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        total, keys = torch.zeros((), device=self.device), []
        for part in range(self.parts):
            image, labels, key = self._on_device(next(batches))
            keys.append(key)
            waiting = part < self.parts - 1
            with self.fabric.no_backward_sync(self.net, enabled=waiting) if waiting else nullcontext():
                loss = self._forward(image, labels) / self.parts
                self.fabric.backward(loss)
            total += loss.detach()
        mean: float = float(ranks.total(total)) / self.fabric.world_size
        if not math.isfinite(mean):
            raise NotFinite(f"loss became {mean}", keys)
        norm = self._clip()
        # in float16 a gradient may overflow: its scaler then leaves the step out and scales less
        if self.recipe.training.precision != "16-mixed" and not math.isfinite(norm):
            raise NotFinite(f"norm of the gradients became {norm}", keys)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._average(number)
        return mean

    def _on_device(self, batch: Batch) -> Batch:
        image, labels, keys = batch
        image, labels = image.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        if not self.augments:
            return image, labels, keys
        changed = [
            dataset.augmented(i, t, self.recipe, self.seed, (int(key[0]), int(key[1])))
            for i, t, key in zip(image, labels, keys, strict=True)
        ]
        return torch.stack([i for i, _ in changed]), torch.stack([t for _, t in changed]), keys

    def _forward(self, image: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        aux: Mapping[str, torch.Tensor] = {}
        if image.dim() == 5:
            image = image.contiguous(memory_format=self.order)
        if hasattr(self.raw, "training_forward"):
            logits, aux = self.net.training_forward(image)
        else:
            logits = self.net(image)
        loss: torch.Tensor = self._loss(logits, labels, aux, image)
        if self._start:
            away = torch.stack([(p - self._start[n]).pow(2).sum() for n, p in self._trained()]).sum()
            loss = loss + self.recipe.training.pull * 0.5 * away
        return loss

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((n, p) for n, p in self.raw.named_parameters() if p.requires_grad)

    def _clip(self) -> float:
        """The gradients' norm before it was clipped."""
        most = self.recipe.optimiser.clip_norm or math.inf
        norm = self.fabric.clip_gradients(self.net, self.optimiser, max_norm=most, error_if_nonfinite=False)
        return float(norm) if norm is not None else 0.0

    @torch.no_grad()
    def _average(self, number: int) -> None:
        """Exponential moving average of the weights, quicker at first."""
        decay = min(self.recipe.training.ema_decay, (1 + number) / (10 + number))
        for k, v in self.raw.state_dict().items():
            if v.is_floating_point():
                self.ema[k].lerp_(v, 1 - decay)
            else:
                self.ema[k].copy_(v)
