"""A worker whose predictor is a threshold, run as a script: the file name of the model says how it behaves."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from brainseg_engine import worker
from brainseg_engine.core.errors import Cancelled, CheckpointError
from brainseg_engine.core.events import Progress
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, Prediction, Segmentation


class FakePredictor:
    def __init__(self, model: Path, device: str, tta: bool) -> None:
        self.behaviour = model.stem
        if len(self.behaviour) == 64 and model.is_file():  # one that was sent, and is called by its hash
            self.behaviour = model.read_text()
        if self.behaviour == "damaged":
            raise CheckpointError(f"{model.name} is damaged.")

    def predict(self, study, *, progress, cancelled, probabilities=False):
        progress(Progress("segmenting", 0.5))
        getattr(self, f"_{self.behaviour}", lambda _: None)(cancelled)
        labels = np.where(study.volumes[Modality.FLAIR].data > 100, np.uint8(2), np.uint8(0))
        labels[study.reference.data > 100] = 3
        wt = (labels > 0).astype(np.float16)
        return Prediction(
            study.id,
            Segmentation(labels, study.reference.grid, "brats2021", "fake 1"),
            "fake",
            "1",
            "cpu",
            {"network": 0.1},
            {r: wt * np.float16(0.25 * (i + 1)) for i, r in enumerate(Region)} if probabilities else None,
            confidence=0.62,
        )

    def _slow(self, cancelled):
        for _ in range(600):
            time.sleep(0.05)
            if cancelled():
                raise Cancelled

    def _deaf(self, _):
        time.sleep(60)

    def _short(self, _):
        time.sleep(0.6)

    def _noisy(self, _):
        print("a library prints", flush=True)
        os.write(1, b'{"event": "finished", "job": "a lie"}\n')
        os.system("echo a child prints")

    def _killed(self, _):
        os.kill(os.getpid(), 9)

    def _crash(self, _):
        os._exit(7)

    def _bug(self, _):
        raise ValueError("an unlucky number")

    def _memory(self, _):
        raise MemoryError


if __name__ == "__main__":
    worker.main(FakePredictor)
