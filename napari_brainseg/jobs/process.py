"""One life of the worker process, and one task on its way to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from brainseg_engine import worker
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.events import Finished
from brainseg_engine.core.labels import Region
from brainseg_engine.core.shared_arrays import SharedArray
from brainseg_engine.core.study import Prediction, Segmentation
from napari_brainseg.jobs.contract import (
    Asker,
    DoubtJob,
    DoubtMap,
    Job,
    Listener,
    PropagateJob,
    ProposedLabels,
    ScoreJob,
    SegmentJob,
    StudyScore,
)


class Task:
    """A command on its way: its JSON fields, who asked, and the shared arrays it holds."""

    def __init__(
        self, fields: dict[str, Any], job: Job | None = None, listener: Listener | Asker | None = None
    ) -> None:
        self.fields = {"job": uuid.uuid4().hex, **fields}
        self.job = job
        self.listener: Any = listener  # what it hears belongs to the kind of job
        self.cancelled = False
        self._images: list[SharedArray] = []  # and whatever else goes along
        self._labels: SharedArray | None = None
        self._probabilities: SharedArray | None = None
        self._map: SharedArray | None = None

    @property
    def id(self) -> str:
        """The job's id on the wire."""
        return str(self.fields["job"])

    @property
    def is_warm(self) -> bool:
        """True when nobody asked for a result: the model is loaded in advance."""
        return self.job is None

    def share(self) -> None:
        """Copy the study into shared memory and make room for the answer. Raises OutputError without room."""
        if self.job is None or isinstance(self.job, ScoreJob):
            return
        study, arrays = self.job.study, {}
        shape = study.reference.grid.shape
        try:
            for modality, volume in study.volumes.items():
                self._images.append(SharedArray.of(_plain(volume.data)))
                arrays[modality] = self._images[-1].spec
            if isinstance(self.job, PropagateJob):
                given = {
                    "answer": self.job.answer,
                    "corrected": self.job.labels,
                    "voxels": self.job.voxels.view(np.uint8),
                }
                for name, array in given.items():
                    self._images.append(SharedArray.of(array))
                    self.fields[name] = self._images[-1].spec.to_dict()
            if isinstance(self.job, DoubtJob):
                self._map = SharedArray.create(shape, np.float16)
            else:
                self._labels = SharedArray.create(shape, np.uint8)
                if isinstance(self.job, SegmentJob) and self.job.probabilities:
                    self._probabilities = SharedArray.create((len(Region), *shape), np.float16)
        except BrainsegError:
            self.release()
            raise
        self.fields["study"] = worker.study_to_wire(study, arrays)
        answers = {"labels": self._labels, "probabilities": self._probabilities, "map": self._map}
        self.fields |= {name: shared.spec.to_dict() for name, shared in answers.items() if shared is not None}

    def outcome(self, event: Finished) -> Prediction | DoubtMap | StudyScore | ProposedLabels:
        """The answer, whatever was asked."""
        if isinstance(self.job, ScoreJob):
            return StudyScore(str(event.result["key"]), dict(event.result["score"]))
        if self._map is not None:
            return DoubtMap(self._map.array.copy(), dict(event.result["score"]))
        if isinstance(self.job, PropagateJob) and self._labels is not None:
            return ProposedLabels(self._labels.array.copy(), dict(event.result))
        return self.prediction(event)

    def prediction(self, event: Finished) -> Prediction:
        """The answer, copied out of shared memory."""
        if not isinstance(self.job, SegmentJob) or self._labels is None:
            raise RuntimeError("a task without a study has no prediction")
        r = event.result
        regions = tuple(Region(x) for x in r["regions"])
        grid = self.job.study.reference.grid
        probabilities = None
        if self._probabilities is not None:
            stacked = self._probabilities.array.copy()
            probabilities = {region: stacked[i] for i, region in enumerate(Region) if region in regions}
        return Prediction(
            study_id=str(r["study_id"]),
            segmentation=Segmentation(self._labels.array.copy(), grid, r["coding"], r["made_by"], regions),
            model=str(r["model"]),
            model_version=str(r["model_version"]),
            device=str(r["device"]),
            seconds=dict(r["seconds"]),
            probabilities=probabilities,
        )

    def release(self) -> None:
        """Give the shared memory back. Safe to call twice."""
        held = [*self._images, *(x for x in (self._labels, self._probabilities, self._map) if x is not None)]
        self._images, self._labels, self._probabilities, self._map = [], None, None, None
        for shared in held:
            shared.close()


class WorkerProcess:
    """One life of the worker process. Lines and the end arrive as calls put into ``post``."""

    def __init__(
        self,
        command: Sequence[str],
        post: Callable[[Callable[[], None]], None],
        heard: Callable[[WorkerProcess, str], None],
        ended: Callable[[WorkerProcess, int], None],
    ) -> None:
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=flags,
        )
        self._last_words: deque[str] = deque(maxlen=200)
        self._post, self._heard, self._ended = post, heard, ended
        self._errors = threading.Thread(target=self._drain, name="brainseg-worker-log", daemon=True)
        self._errors.start()
        threading.Thread(target=self._read, name="brainseg-worker-events", daemon=True).start()

    def send(self, fields: dict[str, Any]) -> None:
        """One command. A process that died meanwhile is noticed by its end, not here."""
        if self.popen.stdin is not None:
            with contextlib.suppress(OSError):
                self.popen.stdin.write(json.dumps(fields).encode() + b"\n")
                self.popen.stdin.flush()

    def kill(self) -> None:
        """End it now, whatever it does."""
        self.popen.kill()

    def quit(self) -> None:
        """Ask it to leave, which it does at once; make sure of it."""
        if self.popen.stdin is not None:
            with contextlib.suppress(OSError):
                self.popen.stdin.close()
        try:
            self.popen.wait(1.0)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # a busy system takes its time to take gigabytes back
                self.popen.wait(10.0)

    def tail(self) -> str:
        """The last of what it wrote to stderr, for the log."""
        self._errors.join(0.5)
        return "".join(self._last_words)

    def _read(self) -> None:
        if self.popen.stdout is None:
            return
        with self.popen.stdout as out:
            for line in out:
                self._post(partial(self._heard, self, line.decode("utf-8", "replace")))
        code = self.popen.wait()
        self._post(partial(self._ended, self, code))

    def _drain(self) -> None:
        if self.popen.stderr is None:
            return
        with self.popen.stderr as err:
            for line in err:
                self._last_words.append(line.decode("utf-8", "replace"))


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """In the machine's byte order (a file's may differ, and torch takes no other)."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
