"""What a model makes of a study before its last convolution: the features that are adapted, computed once and kept."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from brainseg_engine import nets
from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback
from brainseg_engine.core.geometry import Shape3
from brainseg_engine.core.study import Study
from brainseg_engine.inference import tiles
from brainseg_engine.inference.postprocess import of_regions
from brainseg_engine.inference.preprocess import Inverse, preprocess
from brainseg_engine.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Seen:
    """A study as its model sees it, on the network's grid: ``image`` (C, X, Y, Z) float32, ``regions`` (R, X, Y, Z) the
    probabilities of the recipe's regions, ``features`` (D, X, Y, Z) float16 what goes into the last convolution."""

    image: torch.Tensor
    regions: torch.Tensor
    features: torch.Tensor
    inverse: Inverse
    seconds: float


def look(
    net: nn.Module, study: Study, recipe: Recipe, where: str, progress: ProgressCallback, cancelled: CancelCheck
) -> Seen:
    """Run the network over the study, tile by tile; ``cancelled`` is asked before each convolution. Raises what
    ``Predictor.predict`` raises."""
    began = time.perf_counter()
    progress(Progress("preparing", 0.0))
    divisor, window, flat = nets.divisor(recipe), recipe.window, recipe.network.dimensions == 2
    image, inverse = preprocess(study, recipe, divisor)
    image = image.to(where)
    shape = (image.shape[1], image.shape[2], image.shape[3])
    largest = window.size if window.policy == "patch" and window.size is not None else window.largest
    tile, places = tiles.plan(
        shape, (largest[0], largest[1], largest[-1]), window.overlap, divisor, window.steps == "fixed"
    )
    done, total = 0, tiles.rounds(image.shape, places, recipe.network.dimensions)

    def stop() -> None:
        if cancelled():
            raise Cancelled("Cancelled; nothing was changed.")

    def between() -> None:
        nonlocal done
        stop()
        progress(Progress("running the model", 0.05 + 0.25 * done / total))
        done += 1

    with torch.inference_mode(), _Tap(net, recipe, shape, places, stop) as tap:
        logits = (
            tiles.run_slices(net, image, recipe.output, between)
            if flat
            else tiles.run(net, image, tile, places, recipe.output, between)
        )
        regions = of_regions(logits, recipe.output)
    if tap.features is None:
        raise RuntimeError("the last convolution was not run")
    return Seen(image, regions.clone(), tap.features.clone(), inverse, time.perf_counter() - began)


def last_convolution(net: nn.Module, recipe: Recipe) -> nn.Module:
    """The convolution that gives the logits."""
    head = re.compile(nets.HEADS[type(recipe.network)])
    return [m for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d) and head.search(name)][-1]


class _Tap:
    """Collects what goes into the last convolution, tile after tile, at the resolution of the answer; calls ``stop`` before each
    convolution, since a tile may be a whole brain."""

    def __init__(
        self, net: nn.Module, recipe: Recipe, shape: Shape3, places: Sequence[Shape3], stop: Callable[[], None]
    ) -> None:
        self.features: torch.Tensor | None = None
        self._shape = shape
        self._flat = recipe.network.dimensions == 2
        self._places = places
        self._runs = 0
        self._held: torch.Tensor | None = None
        self._hooks: list[Callable[[], None]] = [
            last_convolution(net, recipe).register_forward_pre_hook(self._hold).remove,
            net.register_forward_hook(self._keep).remove,
            *(
                m.register_forward_pre_hook(lambda *_: stop()).remove
                for m in net.modules()
                if isinstance(m, nn.Conv2d | nn.Conv3d)
            ),
        ]

    def __enter__(self) -> _Tap:
        return self

    def __exit__(self, *error: object) -> None:
        for remove in self._hooks:
            remove()

    def _hold(self, module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        self._held = given[0]

    def _keep(self, module: nn.Module, given: tuple[torch.Tensor, ...], logits: torch.Tensor) -> None:
        """One run of the network is over: put its features in their place."""
        if self._held is None:
            return
        features = F.interpolate(self._held.float(), size=logits.shape[2:], mode="nearest").half()
        if self.features is None:
            self.features = features.new_zeros((features.shape[1], *self._shape))
        if self._flat:  # (N, D, Y, X)
            self.features[..., self._runs : self._runs + len(features)] = features.permute(1, 3, 2, 0)
            self._runs += len(features)
        else:
            x, y, z = self._places[self._runs]
            a, b, c = features.shape[2:]
            self.features[:, x : x + a, y : y + b, z : z + c] = features[0]
            self._runs += 1
        self._held = None
