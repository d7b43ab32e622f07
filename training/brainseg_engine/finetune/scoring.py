"""A network's scores on cases with truth, as an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch

from brainseg_engine import dataset
from brainseg_engine.core import device as devices
from brainseg_engine.core.errors import DeviceError
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Study
from brainseg_engine.evaluation import Evaluation
from brainseg_engine.inference.gated import Gated
from brainseg_engine.inference.postprocess import to_labels
from brainseg_engine.inference.predictor import infer
from brainseg_engine.recipe import Recipe
from brainseg_engine.scores.scorer import CaseScore, RegionScore, mean_score, score_case

_log = logging.getLogger(__name__)


class Scorer:
    """Scores networks of one recipe. ``device`` becomes the CPU when the device is out of memory."""

    def __init__(self, net: torch.nn.Module, recipe: Recipe, device: str) -> None:
        self.net, self.recipe, self.device = net, recipe, device
        self.by_base: set[str] = set()
        """Cases that a gated network's base answered."""
        self.codings: Mapping[str, str] = {}
        """Case → the label coding of its mask, where the files do not tell it."""

    def use(self, net: torch.nn.Module) -> None:
        """Score this network from now on."""
        self.net = net.to(self.device).eval()

    def score(
        self, cases: Mapping[str, Path], *, hd95: bool, seen: frozenset[str], before: Callable[[str], None]
    ) -> Evaluation:
        """Case → what ``load_study`` takes. ``seen``: hashes of images the weights were fitted to, which marks a case;
        ``before`` hears each case's name, and may raise. Raises as ``dataset.with_truth``, DeviceError."""
        scores: dict[str, CaseScore] = {}
        marked = []
        for name, source in cases.items():
            before(name)
            study, truth = dataset.with_truth(source, self.recipe, self.codings.get(name))
            grid = study.reference.grid
            labels = to_labels(self._infer(study), self.recipe.output, self.recipe.postprocess, grid)
            if isinstance(self.net, Gated) and self.net.asked == "base":
                self.by_base.add(name)
            case_scores = score_case(labels, truth, grid, self.recipe.output.regions, hd95)
            scores[name] = {r: case_scores.get(r, RegionScore()) for r in Region}
            if not seen.isdisjoint(dataset.hashes_of(study, self.recipe)):
                marked.append(name)
        return Evaluation(scores, mean_score(scores.values()), tuple(marked))

    def _infer(self, study: Study) -> torch.Tensor:
        try:
            return infer(self.net, study, self.recipe, self.device)[0]
        except (RuntimeError, MemoryError) as e:
            if not devices.out_of_memory(e):
                raise
            if self.device == "cpu":
                raise DeviceError(f"Out of memory at '{study.id}'. Close other programs and resume.") from e
        _log.warning("%s is out of memory for scoring; the CPU does it", self.device)
        self.device = "cpu"
        self.net.to("cpu")
        return infer(self.net, study, self.recipe, "cpu")[0]


def case_means(result: Evaluation, regions: Mapping[str, Collection[Region]] | None = None) -> dict[str, float]:
    """Case → its mean Dice over the regions measured, of those named for the case in ``regions`` (else all of them);
    cases without any are left out."""
    out = {}
    for case, scores in result.cases.items():
        wanted = (regions or {}).get(case, tuple(Region))
        dice = [s.dice for r, s in scores.items() if s.dice is not None and r in wanted]
        if dice:
            out[case] = sum(dice) / len(dice)
    return out


def mean_dice(result: Evaluation) -> float | None:
    """Over cases and regions; None without a case."""
    values = case_means(result).values()
    return sum(values) / len(values) if values else None
