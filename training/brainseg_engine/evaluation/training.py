"""Which cases a model was fitted to: their scores say little."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg_engine import io
from brainseg_engine.core import plain
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.evaluation.truths import Truth
from brainseg_engine.io.sidecars import read_sidecar

_log = logging.getLogger(__name__)


class TrainedOn:
    """What models were trained on."""

    def __init__(self, model: str | Path | None) -> None:
        self._given = None if model is None else _training_hashes(model)
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    def has(self, case: Truth, prediction: Path) -> bool:
        """True when any image of the case is among those the model was trained on; False where nothing is known.

        The images are those that the sidecar of the prediction lists, and those beside the truth.
        """
        try:
            sidecar = read_sidecar(prediction)
        except BrainsegError as e:
            _log.warning("%s", e)
            sidecar = {}
        if self._given is None and isinstance(sidecar.get("seen_in_training"), bool):
            return bool(sidecar["seen_in_training"])
        hashes = self._given if self._given is not None else self._named_by(sidecar)
        images = sidecar.get("images")
        if isinstance(images, dict) and hashes.intersection(map(str, images.values())):
            return True
        return bool(hashes) and case.folder is not None and not hashes.isdisjoint(_image_hashes(case.folder))

    def _named_by(self, sidecar: Mapping[str, Any]) -> frozenset[str]:
        """The training images of the model that a sidecar names, if that very file is installed."""
        name, digest = str(sidecar.get("model") or ""), str(sidecar.get("model_sha256") or "")
        if name and (name, digest) not in self._known:
            self._known[name, digest] = _installed_hashes(name, digest)
        return self._known.get((name, digest), frozenset())


def _training_hashes(model: str | Path) -> frozenset[str]:
    """The images that a model, by name or file, was trained on. Raises CheckpointError where there is no such model."""
    from brainseg_engine.models import find
    from brainseg_engine.models.checkpoint import read_metadata

    card, _ = read_metadata(find(str(model)))
    return frozenset(card.training_hashes)


def _installed_hashes(name: str, digest: str) -> frozenset[str]:
    """The training images of the installed model of that name and, where a sha256 is given, that very file."""
    from brainseg_engine.models import installed

    for model in installed():
        same_name = model.card is not None and name in (model.name, model.card.name)
        if same_name and digest in ("", plain.sha256_if_readable(model.path)):
            return frozenset(model.card.training_hashes) if model.card is not None else frozenset()
    _log.info("the model %s is not installed, so whether it was trained on these cases is not known", name)
    return frozenset()


def _image_hashes(folder: Path) -> set[str]:
    try:
        study = io.load_study(folder, segmentation=False)
    except BrainsegError as e:
        _log.warning("whether %s was seen in training is not known: %s", folder.name, e)
        return set()
    return {v.sha256 for v in study.volumes.values()}
