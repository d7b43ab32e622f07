"""Score a folder of predictions against a folder of truths.

From Python, ``evaluate(truth=Path("data"), predictions=Path("results"))`` gives an :class:`Evaluation`. The module
itself may be called like that too, so that ``from brainseg_engine import evaluate`` works whatever was imported
before.
"""

from __future__ import annotations

import csv
import hashlib
import io as text
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from brainseg_engine import io
from brainseg_engine.errors import BrainsegError, Cancelled, CodingError, GeometryError, InputError
from brainseg_engine.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.io.layouts import ambiguity
from brainseg_engine.io.naming import MASK, is_image, stem
from brainseg_engine.io.segmentation import read_sidecar
from brainseg_engine.labels import Region
from brainseg_engine.score import CaseScore, RegionScore, mean_score, score_case
from brainseg_engine.study import Segmentation

_NAME = re.compile(r"^(?P<id>.+)[_-]seg$", re.IGNORECASE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Scores per case and region, and what could not be scored.

    ``cases``: id → region → score, all regions, None where not measured. ``mean``: over the cases that were scored.
    ``seen_in_training``: ids of cases the model was fitted to. ``missing``: ids without a prediction. ``failed``: id
    → why.
    """

    cases: Mapping[str, CaseScore]
    mean: CaseScore
    seen_in_training: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form as a dictionary; numbers or None, never NaN."""
        return {
            "cases": {case: _plain(score) for case, score in self.cases.items()},
            "mean": _plain(self.mean),
            "seen_in_training": list(self.seen_in_training),
            "missing": list(self.missing),
            "failed": dict(self.failed),
        }

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=2)

    def to_csv(self) -> str:
        """A table with a header, a row for each case, and the means in the last row; empty where not measured."""
        out = text.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        metrics = [(region, metric) for region in Region for metric in ("dice", "hd95_mm")]
        writer.writerow(["case", *(f"{region}_{metric}" for region, metric in metrics), "seen_in_training"])
        for case, score in [*self.cases.items(), ("mean", self.mean)]:
            values = [getattr(score[region], metric) for region, metric in metrics]
            seen = "" if case == "mean" else int(case in self.seen_in_training)
            writer.writerow([case, *("" if v is None else f"{v:.6f}" for v in values), seen])
        return out.getvalue()


@dataclass(frozen=True)
class Truth:
    """A case to score: its mask, the coding its naming tells ("" for none), its study folder where it has images.

    ``problem`` says why its mask cannot be used ("" where it can); ``path`` is then the folder.
    """

    id: str
    path: Path
    coding: str = ""
    folder: Path | None = None
    problem: str = ""

    @property
    def names(self) -> set[str]:
        """What a list of cases may call it: its id, or the name of its folder."""
        return {self.id} | ({self.folder.name} if self.folder is not None else set())


def evaluate(
    truth: Path,
    predictions: Path,
    *,
    cases: Iterable[str] | None = None,
    model: str | Path | None = None,
    coding: str | None = None,
    truth_coding: str | None = None,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> Evaluation:
    """Dice and HD95 of every case in ``truth`` that has, or should have, a mask in ``predictions``.

    ``truth`` holds study folders in a BraTS layout, or masks named ``<id>_seg.nii.gz``; ``predictions`` holds
    ``<id>_seg.nii.gz`` or ``<id>.nii.gz`` (also .nii and .mha), in itself or in a folder of the case's name.

    ``cases`` limits it to those ids. ``model``, a name or a file, is asked which cases it was trained on; without it
    the sidecars of the predictions, and the models they name. ``coding`` is the label coding of the predictions (default: what
    their sidecar or naming tells), and of the truth where nothing else tells; ``truth_coding`` is that of the truth.
    Regions that a model does not measure are None.

    A case that fails is one entry of ``failed``; the others go on. Raises InputError when there is nothing to score.
    """
    truths = _chosen(find_truths(truth), cases, truth)
    files = _Predictions(predictions)
    trained_on = _Training(model)
    scores: dict[str, CaseScore] = {}
    seen, missing, failed = [], [], {}
    for i, case in enumerate(truths):
        if cancelled():
            raise Cancelled
        progress(Progress(f"scoring {case.id}", i / len(truths)))
        if case.problem:
            failed[case.id] = case.problem
            continue
        path = files.of(case.id)
        if path is None:
            missing.append(case.id)
            continue
        _log.debug("%s: %s against %s", case.id, path, case.path)
        try:
            scores[case.id] = _score(case, path, coding, truth_coding)
            if trained_on.has(case, path):
                seen.append(case.id)
        except BrainsegError as e:
            _log.debug("the case %s failed", case.id, exc_info=True)
            failed[case.id] = str(e)
    progress(Progress("scored", 1.0))
    return Evaluation(scores, mean_score(scores.values()), tuple(seen), tuple(missing), failed)


def find_truths(folder: Path) -> list[Truth]:
    """The masks below ``folder``, sorted by id: of study folders, and files named ``<id>_seg`` in the folder itself."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; name the folder of the studies or masks to compare with.")
    found: dict[str, Truth] = {}
    for study in io.find_studies(folder):
        series = io.find_series(study)
        if series.segmentation is not None:
            found[series.id] = Truth(series.id, series.segmentation, series.coding, study)
        elif MASK in series.ambiguous:
            found[series.id] = Truth(series.id, study, folder=study, problem=ambiguity(MASK, series.ambiguous[MASK]))
        else:
            _log.warning("%s holds no mask and is left out", study)
    known = {t.path for t in found.values()}
    for path in sorted(folder.iterdir()):
        name = _NAME.match(stem(path.name)) if is_image(path) and path.is_file() else None
        if name and path not in known:
            found.setdefault(name["id"], Truth(name["id"], path))
    return [found[key] for key in sorted(found)]


def _chosen(truths: list[Truth], cases: Iterable[str] | None, folder: Path) -> list[Truth]:
    """Those of the ids ``cases``; raises InputError where one of them, or all, are not there."""
    if not truths:
        raise InputError(
            f"{folder} holds no truth to compare with: neither study folders with a mask nor files <id>_seg.nii.gz."
        )
    if cases is None:
        return truths
    wanted = set(cases)
    chosen = [t for t in truths if t.names & wanted]
    absent = sorted(wanted.difference(*(t.names for t in chosen)))
    if absent or not wanted:
        named = ", ".join(absent) if absent else "an empty list of cases"
        raise InputError(f"{folder} holds no truth for {named}. Check the list of cases, or the folder.")
    return chosen


class _Predictions:
    """The masks of a folder of predictions, by case."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}; name the folder of the predicted masks.")
        self._folder = folder

    def of(self, case: str) -> Path | None:
        """The mask of that case: ``<id>_seg``, ``<id>-seg`` or ``<id>``, here or in a folder ``<id>``."""
        names = [f"{case}{ending}{suffix}" for ending in ("_seg", "-seg", "") for suffix in io.SUFFIXES]
        paths = (folder / name for folder in (self._folder, self._folder / case) for name in names)
        return next((p for p in paths if p.is_file()), None)


def _score(case: Truth, prediction: Path, coding: str | None, truth_coding: str | None) -> CaseScore:
    truth = _load_truth(case, truth_coding, coding)
    predicted = io.load_segmentation(prediction, coding=coding)
    if not predicted.grid.same_as(truth.grid):
        raise GeometryError(
            f"The prediction {prediction} is on another grid than the truth {case.path.name}: {_grid(predicted)} "
            f"against {_grid(truth)}. Predict from the images the truth was drawn on, or resample the mask to them."
        )
    regions = [r for r in Region if r in predicted.regions and r in truth.regions]
    scores = score_case(predicted.labels, truth.labels, truth.grid, regions)
    return {r: scores.get(r, RegionScore()) for r in Region}


def _load_truth(case: Truth, flag: str | None, last_resort: str | None) -> Segmentation:
    """The truth; its coding by the flag, else by sidecar or naming, else the one given for the predictions."""
    implied = case.coding or None
    try:
        io.coding_of(case.path, flag, implied)
    except CodingError:
        if flag or not last_resort:
            raise
        flag = last_resort
    return io.load_segmentation(case.path, coding=flag, implied=implied)


class _Training:
    """What models were trained on."""

    def __init__(self, model: str | Path | None) -> None:
        self._given = None if model is None else _training_hashes(model)
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    def has(self, case: Truth, prediction: Path) -> bool:
        """True when any image of the case is among those the model was trained on; False where nothing is known.

        The images are those that the sidecar of the prediction lists, and those beside the truth.
        """
        try:
            told = read_sidecar(prediction)
        except BrainsegError as e:
            _log.warning("%s", e)
            told = {}
        if self._given is None and isinstance(told.get("seen_in_training"), bool):
            return bool(told["seen_in_training"])
        hashes = self._given if self._given is not None else self._named_by(told)
        images = told.get("images")
        if isinstance(images, dict) and hashes.intersection(map(str, images.values())):
            return True
        return bool(hashes) and case.folder is not None and not hashes.isdisjoint(_image_hashes(case.folder))

    def _named_by(self, told: Mapping[str, Any]) -> frozenset[str]:
        """The training images of the model that a sidecar names, if that very file is installed."""
        name, digest = str(told.get("model") or ""), str(told.get("model_sha256") or "")
        if name and (name, digest) not in self._known:
            self._known[name, digest] = _installed_hashes(name, digest)
        return self._known.get((name, digest), frozenset())


def _training_hashes(model: str | Path) -> frozenset[str]:
    """The images that a model, by name or file, was trained on. Raises CheckpointError where there is no such model."""
    from brainseg_engine.checkpoint import read_metadata
    from brainseg_engine.models import find

    card, _ = read_metadata(find(str(model)))
    return frozenset(card.training_hashes)


def _installed_hashes(name: str, digest: str) -> frozenset[str]:
    """The training images of the installed model of that name and, where a sha256 is told, that very file."""
    from brainseg_engine.models import installed

    for model in installed():
        same_name = model.card is not None and name in (model.name, model.card.name)
        if same_name and digest in ("", hashlib.sha256(model.path.read_bytes()).hexdigest()):
            return frozenset(model.card.training_hashes) if model.card is not None else frozenset()
    _log.info("the model %s is not installed, so whether it was trained on these cases is not known", name)
    return frozenset()


def _image_hashes(folder: Path) -> set[str]:
    try:
        study = io.load_study(folder, segmentation=False)
    except BrainsegError as e:
        _log.warning("whether %s was seen in training cannot be told: %s", folder.name, e)
        return set()
    return {v.sha256 for v in study.volumes.values()}


def _plain(score: CaseScore) -> dict[str, dict[str, float | None]]:
    return {region.value: score[region].to_dict() for region in Region}


def _grid(s: Segmentation) -> str:
    shape, spacing = "×".join(map(str, s.grid.shape)), "×".join(f"{mm:.3g}" for mm in s.grid.spacing)
    origin = ", ".join(f"{mm:.4g}" for mm in s.grid.affine[:3, 3])
    return f"shape {shape}, spacing {spacing} mm, {s.grid.orientation}, origin ({origin})"


class _CallableModule(ModuleType):
    """Lets ``brainseg_engine.evaluate`` be called: a package attribute cannot be both its module and its function."""

    def __call__(self, truth: Path, predictions: Path, **options: Any) -> Evaluation:
        """See the function ``evaluate``."""
        return evaluate(truth, predictions, **options)


sys.modules[__name__].__class__ = _CallableModule
