"""What a model makes of a study, kept for the next proposal, and computed in advance while nothing else is asked for."""

from __future__ import annotations

import logging
import zlib
from dataclasses import replace

import numpy as np

from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.events import CancelCheck, ProgressCallback, silent
from brainseg_engine.core.study import Study
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.propagate.seeing import Seen, look

_log = logging.getLogger(__name__)
_BYTES = 400
"""Free memory wanted a voxel: about 60 bytes are kept, and a network needs room beside them."""


class SeenAhead:
    """Of one study at a time; nothing where memory is short."""

    def __init__(self) -> None:
        self._seen: tuple[object, Seen] | None = None
        self._waiting: tuple[Predictor, Study] | None = None

    def of(self, predictor: Predictor, study: Study, progress: ProgressCallback, cancelled: CancelCheck) -> Seen:
        """What the predictor's model makes of the study: as kept (in no time), else looked at now."""
        self._waiting = None
        key = _key(predictor, study)
        if self._seen is not None and self._seen[0] == key:
            return replace(self._seen[1], seconds=0.0)
        self._seen = None
        seen = look(predictor.network, study, predictor.recipe, predictor.device, progress, cancelled)
        if _room(study):
            self._seen = key, seen
        return seen

    def ask(self, predictor: Predictor, study: Study) -> None:
        """To be looked at when there is time. The arrays are copied: their owner may take them back."""
        self._seen = self._waiting = None
        if _room(study):
            copies = {m: replace(v, data=v.data.copy()) for m, v in study.volumes.items()}
            self._waiting = predictor, replace(study, volumes=copies)

    def work(self, busy: CancelCheck) -> None:
        """There is time, until ``busy()``. Never raises: what comes of it is needed by nobody yet."""
        waiting, self._waiting = self._waiting, None
        if waiting is None or busy():
            return
        predictor, study = waiting
        try:
            seen = look(predictor.network, study, predictor.recipe, predictor.device, silent, busy)
        except Cancelled:
            return
        except Exception:
            _log.warning("%s could not be looked at in advance", study.id, exc_info=True)
            return
        self._seen = _key(predictor, study), seen


def _key(predictor: Predictor, study: Study) -> object:
    """Names a study, by its voxels, and the model that sees it."""
    few = (slice(None, None, 5),) * 3
    sums = {m: zlib.crc32(np.ascontiguousarray(v.data[few]).tobytes()) for m, v in study.volumes.items()}
    return predictor.sha256, predictor.device, study.id, sums


def _room(study: Study) -> bool:
    import psutil

    return bool(psutil.virtual_memory().available > _BYTES * study.reference.data.size)
