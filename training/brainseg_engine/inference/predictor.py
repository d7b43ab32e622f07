"""Study → Prediction. The heavy part is paid once in :class:`Predictor`; ``predict`` is repeatable and can be cancelled."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from brainseg_engine import models, nets
from brainseg_engine.core import device as devices
from brainseg_engine.core import plain
from brainseg_engine.core.errors import Cancelled, CheckpointError, DeviceError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Prediction, Segmentation, Study
from brainseg_engine.inference import tiles
from brainseg_engine.inference.postprocess import decided, of_regions
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.models import checkpoint
from brainseg_engine.recipe import Recipe

_FLIPS = [axes for n in range(4) for axes in itertools.combinations((1, 2, 3), n)]


class Predictor:
    """A model, loaded and ready: an installed one by name, a file, or the bundled one.

    ``tta`` averages over the 8 mirror images (8 times the work; 4 of slices); without it, over those that the recipe's
    ``window.mirror`` names. ``threads`` limits the CPU threads of this process.
    Raises CheckpointError, DeviceError.
    """

    def __init__(
        self, model: Path | str | None = None, device: str = "auto", *, tta: bool = False, threads: int | None = None
    ) -> None:
        devices.keep_heap()
        if threads:
            torch.set_num_threads(threads)
        self.device = devices.choose(device)
        self.tta = tta
        path = models.find(model or models.default())
        loaded = checkpoint.load(path)
        self.sha256 = hashlib.sha256(plain.read(path)).hexdigest()
        self.card, self.recipe = loaded.card, loaded.recipe
        self._net = place(loaded.network(), self.device)

    @property
    def network(self) -> torch.nn.Module:
        """The network, in evaluation mode: to be looked at, never to be changed."""
        return self._net

    def probabilities(
        self, study: Study, progress: ProgressCallback, cancelled: CancelCheck
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        """As :func:`infer`, with this model."""
        return infer(self._net, study, self.recipe, self.device, self.tta, progress, cancelled)

    def predict(
        self,
        study: Study,
        *,
        progress: ProgressCallback = silent,
        cancelled: CancelCheck = never,
        probabilities: bool = False,
    ) -> Prediction:
        """Labels on the grid of the study's reference series.

        Raises InputError or GeometryError when the study does not fit the model, DeviceError when memory runs out,
        Cancelled when ``cancelled()`` says so between two tiles.
        """
        try:
            found, seconds = self.probabilities(study, progress, cancelled)
        except (RuntimeError, MemoryError) as e:
            if not devices.out_of_memory(e):
                raise
            remedy = "" if self.device == "cpu" else " or use the device 'cpu'"
            raise DeviceError(
                f"{devices.describe(self.device)} is out of memory for '{study.id}'. Close other programs"
                f"{remedy}, then try again."
            ) from e
        began = time.perf_counter()
        output, grid = self.recipe.output, study.reference.grid
        regions = output.regions
        labels, dropped = decided(found, output, self.recipe.postprocess, grid)
        shares = zip(regions, of_regions(found, output), strict=True) if probabilities else ()
        kept = {r: p.half().cpu().numpy() for r, p in shares} or None
        seconds = {**seconds, "postprocess": time.perf_counter() - began}
        progress(Progress("done", 1.0))
        made_by = f"{self.card.name} {self.card.version}"
        own = study.segmentation.coding if study.segmentation else study.coding
        if set(regions) == {Region.WT}:
            own = "lgg"  # the coding that has a tumour of unknown class
        segmentation = Segmentation(labels, grid, own or "brats2023", made_by, regions)
        return Prediction(
            study.id,
            segmentation,
            self.card.name,
            self.card.version,
            devices.describe(self.device),
            seconds,
            kept,
            rests_on=tuple(m for m in self.recipe.modalities if m in study.volumes),
            dropped_ml=dropped,
        )


def place(net: torch.nn.Module, where: str) -> torch.nn.Module:
    """Put a network onto its device, in evaluation mode, in torch's ordinary memory order.

    Channels last took 0.83 of the time on a (busy) CPU, but there torch's group normalisation depends on the number of
    threads: with one and with two, the bundled model's logits differ by 1e-3 (4e-6 in the ordinary order), and the
    window, which leaves one core free, differed from the command line in 12 of 8.9 million voxels. In the ordinary order
    a voxel that differs is not ruled out, but none was seen.
    """
    return net.to(where).eval()


@torch.inference_mode()
def infer(
    net: Callable[[torch.Tensor], torch.Tensor],
    study: Study,
    recipe: Recipe,
    where: str,
    tta: bool = False,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> tuple[torch.Tensor, Mapping[str, float]]:
    """Probabilities (K, X, Y, Z) of the recipe's output on the reference's grid, and stage → seconds.

    Raises CheckpointError where the network gives what are no numbers.
    """
    began = time.perf_counter()
    progress(Progress("preparing", 0.0))
    divisor = nets.divisor(recipe)
    image, inverse = preprocess(study, recipe, divisor)
    image = image.to(where)
    prepared = time.perf_counter()
    window, dimensions = recipe.window, recipe.network.dimensions
    largest = window.size if window.policy == "patch" and window.size is not None else window.largest
    tile, places = tiles.plan(image.shape[1:], (largest[0], largest[1], largest[-1]), window.overlap, divisor)
    flips = [f for f in _FLIPS if 3 not in f or dimensions == 3] if tta else _FLIPS[: 1 + window.mirror]
    done, total = 0, tiles.rounds(image.shape, places, dimensions) * len(flips)

    def between() -> None:
        nonlocal done
        if cancelled():
            raise Cancelled
        progress(Progress("segmenting", 0.1 + 0.8 * done / total, done, total))
        done += 1

    output = recipe.output
    found = torch.zeros((output.channels, *image.shape[1:]), device=where)
    for axes in flips:
        mirrored = image.flip(axes)
        if dimensions == 2:
            found += tiles.run_slices(net, mirrored, output, between).flip(axes)
        else:
            found += tiles.run(net, mirrored, tile, places, output, between).flip(axes)
    found /= len(flips)
    if not bool(found.sum().isfinite()):  # no number compares as greater than a threshold: it would say "no tumour"
        raise CheckpointError(
            f"The model gives no numbers for '{study.id}', so nothing can be said of it. Use another model."
        )
    if cancelled():
        raise Cancelled
    segmented = time.perf_counter()
    progress(Progress("restoring the grid", 0.92))
    found = inverse.probabilities(found)
    seconds = {
        "preprocess": prepared - began,
        "network": segmented - prepared,
        "restore": time.perf_counter() - segmented,
    }
    return found, seconds
