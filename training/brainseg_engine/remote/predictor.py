"""A predictor whose model runs elsewhere, for the command line and for Python."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from brainseg_engine import models
from brainseg_engine.core.errors import Cancelled, DeviceError
from brainseg_engine.core.events import CancelCheck, Failed, ProgressCallback, never, silent
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Prediction, Study
from brainseg_engine.core.study_wire import prediction_from_wire, study_to_wire
from brainseg_engine.inference.uncertainty import model_hash
from brainseg_engine.models.checkpoint import read_metadata
from brainseg_engine.remote.host import Asked, Host
from brainseg_engine.remote.place import Place
from brainseg_engine.remote.wording import local, nameless


class RemotePredictor:
    """As :class:`brainseg_engine.inference.predictor.Predictor`, on the machine that ``device`` (``ssh:HOST``) names.

    Torch is not needed here. Connects when first asked; raises CheckpointError, DeviceError.
    """

    def __init__(self, model: Path | str | None = None, device: str = "", *, tta: bool = False) -> None:
        place = Place.of(device)
        self.device, self.tta = device, tta
        self._path = models.find(model or models.default())
        self.card, self.recipe = read_metadata(self._path)
        self.sha256 = model_hash(self._path)
        self._host = Host(place)

    def predict(
        self,
        study: Study,
        *,
        progress: ProgressCallback = silent,
        cancelled: CancelCheck = never,
        probabilities: bool = False,
    ) -> Prediction:
        """Labels on the grid of the study's reference series. Raises as a Predictor does, and DeviceError without a line."""
        job, grid = uuid.uuid4().hex, study.reference.grid
        fields = {
            "do": "predict", "job": job, "model": str(self._path), "device": "auto", "tta": self.tta,
            "study": nameless(study_to_wire(study, {})),
        }  # fmt: skip
        given = {f"study:{m.value}": v.data for m, v in study.volumes.items()}
        room: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {"labels": (grid.shape, np.dtype(np.uint8))}
        if probabilities:
            room["probabilities"] = ((len(Region), *grid.shape), np.dtype(np.float16))
        answered = self._host.run(Asked(fields, given, room), progress, cancelled)
        event = local(answered.event, study.id, self._host.place)
        if isinstance(event, Failed):
            raise Cancelled if event.cancelled else DeviceError(f"{self._host.place.host}: {event.message}")
        filled = answered.filled
        return prediction_from_wire(event.result, grid, filled["labels"], filled.get("probabilities"))

    def close(self) -> None:
        """End the connection."""
        self._host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
