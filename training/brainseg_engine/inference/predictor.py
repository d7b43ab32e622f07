"""Study → Prediction. The heavy part is paid once in :class:`Predictor`; ``predict`` is repeatable and can be cancelled."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from brainseg_engine import models, nets
from brainseg_engine.core import device as devices
from brainseg_engine.core import plain
from brainseg_engine.core.errors import Cancelled, CheckpointError, DeviceError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.labels import LabelArray, Region, region_mask
from brainseg_engine.core.study import Prediction, Segmentation, Study
from brainseg_engine.inference import displaced, gaps, gated, plan, tiles
from brainseg_engine.inference.appearance import features
from brainseg_engine.inference.calibrated import Softness, Told, told
from brainseg_engine.inference.postprocess import decided, of_regions
from brainseg_engine.inference.preprocess import Inverse, preprocess
from brainseg_engine.models import checkpoint
from brainseg_engine.recipe import Recipe

_log = logging.getLogger(__name__)
_FLIPS = [axes for n in range(4) for axes in itertools.combinations((1, 2, 3), n)]


@dataclass(frozen=True)
class PlanReport:
    """How the last study was run: ``line``; ``fallen``: a sentence where memory did not allow the usual way; ``uncovered``: one
    where a series does not show all of the brain."""

    line: str = ""
    fallen: str = ""
    uncovered: str = ""


def _fallen(usual: plan.Rung, taken: plan.Rung) -> str:
    smaller = (
        " Smaller tiles see less of the brain and answer differently: look at the borders."
        if taken.tile != usual.tile
        else ""
    )
    return f"Memory did not allow {usual.words}, so it was {taken.words}.{smaller}"


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
        self.sha256 = plain.sha256(path)
        self.card, self.recipe = loaded.card, loaded.recipe
        self._net = place(gated.of_model(loaded), self.device)
        self._planner = plan.Planner(self.network, self.recipe)
        self.plan = PlanReport()
        self._unlike = ""
        self._heap = devices.Heap()

    @property
    def network(self) -> torch.nn.Module:
        """The network, in evaluation mode: to be looked at, never to be changed. The fine-tuned one of two."""
        return gated.main(self._net)

    @torch.inference_mode()
    def probabilities(
        self, study: Study, progress: ProgressCallback, cancelled: CancelCheck
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        """As :func:`infer`, with this model, by the plan that memory allows; what is said of it is in ``plan`` afterwards."""
        began = time.perf_counter()
        progress(Progress("preparing", 0.0))
        image, inverse = preprocess(study, self.recipe, nets.divisor(self.recipe))
        net = gated.answering(self._net, image)
        by = gated.words(self._net, net)
        known = self.card.calibration
        self._unlike = known.unlike(features(image)) if known is not None and known.appearance is not None else ""
        cut = gaps.found(image, self.recipe)
        uncovered = gaps.words(cut, self.recipe.modalities)
        seconds = {"preprocess": time.perf_counter() - began}
        ladder = self._planner.ladder(image.shape, self.device)
        free = {d: plan.free_bytes(d) for d in {r.device for r in ladder}}
        at = plan.choose(ladder, free)
        while True:
            rung = ladder[at]
            line = "; ".join(t for t in (rung.described(free[rung.device]), by) if t)
            self.plan = PlanReport(line, "" if at == 0 else _fallen(ladder[0], rung), uncovered)
            _log.info("%s: %s", study.id, self.plan.line)
            try:
                if rung.device != self.device:
                    self._net.to(rung.device)
                answer, more = run(net, image, inverse, study.id, self.recipe, rung, self.tta, progress, cancelled, cut)
                return answer, {**seconds, **more}
            except (RuntimeError, MemoryError) as e:
                if not devices.out_of_memory(e) or at + 1 == len(ladder):
                    raise
                _log.warning("%s: out of memory for %s; now %s", study.id, rung.words, ladder[at + 1].words)
            finally:
                if rung.device != self.device:
                    self._net.to(self.device)
            plan.give_back(rung.device)
            at += 1

    def predict(
        self,
        study: Study,
        *,
        progress: ProgressCallback = silent,
        cancelled: CancelCheck = never,
        probabilities: bool = False,
    ) -> Prediction:
        """Labels on the grid of the study's reference series. A series that lies beside the others is laid onto them first, and
        named in ``displaced``.

        Raises InputError or GeometryError when the study does not fit the model, DeviceError when memory runs out,
        Cancelled when ``cancelled()`` says so between two tiles.
        """
        study.require(self.recipe.needed)
        began = time.perf_counter()
        progress(Progress("checking that the series lie on each other", 0.0))
        threads = torch.get_num_threads()
        found = displaced.look(study, threads)
        study, moved = displaced.laid_back(study, found, threads, cancelled) if found.beside else (study, {})
        checked = time.perf_counter() - began
        try:
            answer, seconds = self.probabilities(study, progress, cancelled)
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
        labels, dropped = decided(answer, output, self.recipe.postprocess, grid)
        shares = zip(regions, of_regions(answer, output), strict=True) if probabilities else ()
        kept = {r: p.half().cpu().numpy() for r, p in shares} or None
        said = self._told(answer, labels, study)
        seconds = {"alignment": checked, **seconds, "postprocess": time.perf_counter() - began}
        del answer, shares
        self._heap.settle()
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
            plan=self.plan.line,
            fallen=self.plan.fallen,
            intervals_ml=said.intervals_ml if said else {},
            confidence=said.confidence if said else None,
            unlike=self._unlike,
            uncovered=self.plan.uncovered,
            displaced=displaced.words(found, moved),
            laid_back_mm=moved,
            scaling=self.card.calibration.scaling if said and self.card.calibration else {},
        )

    def _told(self, answer: torch.Tensor, labels: LabelArray, study: Study) -> Told | None:
        """What the calibration says of an answer (K, X, Y, Z); None where it was not measured for such: a series missing, more
        passes, smaller tiles, a series that does not show all, voxels of unknown size."""
        calibration, voxel_ml = self.card.calibration, study.reference.grid.voxel_ml
        usual = not (self.tta or self.plan.fallen or self.plan.uncovered)
        whole = usual and not self.recipe.needed.lacking(study.volumes)
        if calibration is None or voxel_ml is None or not whole:
            return None
        regions = zip(self.recipe.output.regions, of_regions(answer, self.recipe.output), strict=True)
        return told(
            {r: Softness.of(p.cpu().numpy(), region_mask(labels, r), voxel_ml) for r, p in regions}, calibration
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
    net: torch.nn.Module,
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
    image, inverse = preprocess(study, recipe, nets.divisor(recipe))
    prepared = time.perf_counter() - began
    largest = recipe.window.size if recipe.window.policy == "patch" and recipe.window.size else recipe.window.largest
    usual = plan.Rung(where, (largest[0], largest[1], largest[-1]), (0, 0, 0), 0)
    net = gated.answering(net, image)
    answer, seconds = run(
        net, image, inverse, study.id, recipe, usual, tta, progress, cancelled, gaps.found(image, recipe)
    )
    return answer, {"preprocess": prepared, **seconds}


@torch.inference_mode()
def run(
    net: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    inverse: Inverse,
    study_id: str,
    recipe: Recipe,
    rung: plan.Rung,
    tta: bool = False,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
    uncovered: Sequence[gaps.Gap] = (),
) -> tuple[torch.Tensor, Mapping[str, float]]:
    """As :func:`infer`, of an image (C, X, Y, Z) that is preprocessed, on the device and with the tiles of ``rung``."""
    began = time.perf_counter()
    image = image.to(rung.device)
    window, dimensions = recipe.window, recipe.network.dimensions
    tile, places = tiles.plan(
        image.shape[1:], rung.largest, window.overlap, nets.divisor(recipe), window.steps == "fixed"
    )
    flips = _flips(recipe, tta)
    # folds are averaged once their tiles are blended, as nnU-Net does
    members = list(getattr(net, "members", ())) or [net]
    passes = len(flips) * len(members) * (1 + len(uncovered))
    done, total = 0, tiles.rounds(image.shape, places, dimensions, window) * passes

    def between() -> None:
        nonlocal done
        if cancelled():
            raise Cancelled
        progress(Progress("segmenting", 0.1 + 0.8 * min(done / total, 1.0), min(done, total), total))
        done += 1

    output = recipe.output

    def answered(image: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor | None = None
        for axes in flips:
            mirrored = image.flip(axes) if axes else image
            for m in members if dimensions == 3 else [net]:
                if dimensions == 2:
                    found = tiles.run_slices(net, mirrored, output, between)
                else:
                    found = tiles.run(m, mirrored, tile, places, output, between, window).div_(len(members))
                found = found.flip(axes) if axes else found
                total = found if total is None else total.add_(found)
        return total.div_(len(flips))  # type: ignore[union-attr]  # there is one at least

    short = plan.short_numbers(rung.device)
    with torch.autocast(rung.device.partition(":")[0], short, enabled=short is not None):
        answer = gaps.filled(answered, image, uncovered, output, logits=window.average == "logits")
    if short is not None and not bool(answer.sum().isfinite()):
        _log.warning("%s: numbers of 16 bits do not suffice for this model; computed again with 32", study_id)
        answer = gaps.filled(answered, image, uncovered, output, logits=window.average == "logits")
    _require_numbers(answer, study_id)
    if cancelled():
        raise Cancelled
    segmented = time.perf_counter()
    progress(Progress("restoring the grid", 0.92))
    answer = inverse.restored(answer, output, logits=window.average == "logits")
    return answer, {"network": segmented - began, "restore": time.perf_counter() - segmented}


def _flips(recipe: Recipe, tta: bool) -> list[tuple[int, ...]]:
    """The axes of (C, X, Y, Z) along which each mirror image is taken whose answers are averaged; () is the image itself."""
    if recipe.window.mirror_axes:
        return _FLIPS[:1]  # each tile is mirrored already
    if tta:
        return [f for f in _FLIPS if 3 not in f or recipe.network.dimensions == 3]
    return _FLIPS[: 1 + recipe.window.mirror]


def _require_numbers(answer: torch.Tensor, study_id: str) -> None:
    """No number compares as greater than a threshold: it would say "no tumour"."""
    if not bool(answer.sum().isfinite()):
        raise CheckpointError(
            f"The model gives no numbers for '{study_id}', so nothing can be said of it. Use another model."
        )
