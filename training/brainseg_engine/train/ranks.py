"""One process or many: how Lightning Fabric is set up, and what the processes say to each other."""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning_fabric import Fabric

from brainseg_engine.core import device
from brainseg_engine.core.errors import RecipeError
from brainseg_engine.recipe import Recipe, SegResNetConfig
from brainseg_engine.train.options import TrainOptions


def make_fabric(recipe: Recipe, options: TrainOptions) -> Fabric:
    """A launched Fabric: on one device in this process; on several, one process each, started here or by torchrun or SLURM.

    Raises RecipeError when the batch cannot be shared equally, DeviceError when there is no such device.
    """
    world = options.devices * options.nodes
    batch, parts = recipe.training.batch_size, recipe.training.accumulate
    if batch % world or (batch // world) % (1 if recipe.window.policy == "brain" else parts):
        raise RecipeError(
            f"training.batch_size {batch} cannot be shared equally among {world} processes in {parts} parts each "
            f"(training.accumulate). Set training.batch_size to a multiple of {world * parts}, with --set."
        )
    where = device.choose(options.device)
    kind, _, index = where.partition(":")
    devices: Any = [int(index)] if index and options.devices == 1 else options.devices
    # some weights may have no part in a step: those for studies that lack a series, where none does
    some = isinstance(recipe.network, SegResNetConfig) and recipe.network.own_weights_without
    strategy = "auto" if world == 1 else "ddp_find_unused_parameters_true" if some else "ddp"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # else it announces the precision on stderr
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=options.nodes,
        strategy=strategy,
        precision=device.precision(recipe.training.precision, where),
    )
    fabric.launch()
    return fabric


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes; the tensor itself where there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)
    return values


def gathered(thing: Any) -> list[Any]:
    """Everyone's ``thing`` (picklable), in the order of ranks, on every process."""
    if not (dist.is_available() and dist.is_initialized()):
        return [thing]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, thing)
    return everyone


def summed(x: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, through which gradients flow: what losses pooled over a batch need.

    Each process holds a share of the batch; with the sums of all of it they compute one and the same loss. The gradients
    are summed likewise, because DDP then averages them.
    """
    if dist.is_available() and dist.is_initialized():
        return cast(torch.Tensor, _Sum.apply(x))  # type: ignore[no-untyped-call]
    return x


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        out = x.clone()
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        out = gradient.clone()
        dist.all_reduce(out)
        return out
