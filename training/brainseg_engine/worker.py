"""The inference worker: ``python -m brainseg_engine.worker``.

One process that keeps one model warm. Commands come as JSON lines on stdin, events (:mod:`brainseg_engine.core.events`) go out
as JSON lines on stdout, arrays lie in shared memory that the other side owns (:mod:`brainseg_engine.core.shared_arrays`).

Commands
    ``{"do": "warm", "job": ID, "model": PATH, "device": NAME, "tta": BOOL}`` load torch and the model.
    ``{"do": "predict", "job": ID, "model": …, "device": …, "tta": …, "study": …, "labels": ARRAY, "probabilities": ARRAY?}``
    segment the study (:mod:`.core.study_wire`) and write the canonical labels into ``labels`` (uint8, the reference
    series' shape) and, where given, the regions' probabilities into ``probabilities`` (float16, (3, X, Y, Z): WT, TC, ET).
    ``{"do": "doubt", … as predict …, "study": …, "map": ARRAY}`` write where the model doubts (:mod:`.uncertainty`) into
    ``map`` (float16); ``{"do": "score", …, "files": {MODALITY: PATH}}`` say how much it doubts a study that lies in files.
    ``{"do": "propagate", … as predict …, "answer": ARRAY, "corrected": ARRAY, "voxels": ARRAY, "slices": {AXIS: [INDEX, …]},
    "labels": ARRAY}`` carry corrections over to the other slices (:mod:`.adapt`) and write the proposal into ``labels``.
    ``{"do": "prepare", "job": ID, "study": …, "brain": METHOD or PATH, "placed": {MODALITY: MATRIX}, "starts": {MODALITY:
    MATRIX}, "folder": PATH}`` align the series of a raw study (those ``placed`` as the matrix says, ``starts`` from there),
    find the brain and write the prepared study (:mod:`brainseg_engine.prepare.files`) into that folder.
    ``{"do": "cancel", "job": ID}`` stop that job at its next check. ``{"do": "quit"}``, or the end of stdin: exit now.

Every command but the last two is answered by one ``Finished`` or one ``Failed``, ``Progress`` records before it. Jobs run
one after the other, in the order in which they came. The process may be killed at any time: it owns nothing.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from brainseg_engine.core.errors import BrainsegError, Cancelled
from brainseg_engine.core.events import CancelCheck, Event, Failed, Finished, Progress, ProgressCallback
from brainseg_engine.core.labels import Region
from brainseg_engine.core.shared_arrays import ArraySpec, SharedArray
from brainseg_engine.core.study import Modality, Prediction, Study
from brainseg_engine.core.study_wire import fill, prediction_to_wire, study_from_wire

if TYPE_CHECKING:
    from brainseg_engine.prepare import PrepareOptions
    from brainseg_engine.propagate.ahead import SeenAhead

_log = logging.getLogger(__name__)
NICENESS = 10
REST_S, RELEASE_S = 1.0, 30.0
"""The pause after which there is time for what nobody asked for, and the one after which memory is given back."""


class Predicts(Protocol):
    """What the worker needs of a predictor."""

    def predict(
        self, study: Study, *, progress: ProgressCallback = ..., cancelled: CancelCheck = ..., probabilities: bool = ...
    ) -> Prediction:
        """Segment the study."""


MakePredictor = Callable[[Path, str, bool], Predicts]
"""(checkpoint, device, tta) → a predictor; the heavy part."""


class Worker:
    """Runs commands one after the other; ``emit`` takes the events. At most one predictor is kept."""

    def __init__(self, emit: Callable[[Event], None], make: MakePredictor) -> None:
        self._emit = emit
        self._make = make
        self._key: tuple[object, ...] = ()
        self._predictor: Predicts | None = None
        self._cancelled: set[str] = set()
        self._ahead: SeenAhead | None = None

    def cancel(self, job: str) -> None:
        """Ask that job to stop (called from another thread)."""
        self._cancelled.add(job)

    def run(self, command: Mapping[str, Any]) -> None:
        """Run one command that is a job to its end; never raises."""
        job = str(command.get("job", ""))
        try:
            kinds = {
                "predict": self._predict,
                "doubt": self._doubt,
                "score": self._score,
                "propagate": self._propagate,
                "prepare": self._prepare,
            }
            work = kinds.get(str(command.get("do")))
            result = work(job, command) if work is not None else self._warm(command)
        except Cancelled as e:
            self._emit(Failed(job, str(e), cancelled=True))
        except BrainsegError as e:
            self._emit(Failed(job, str(e), traceback.format_exc()))
        except Exception as e:  # whatever a library raised: the window has to hear of it in words
            _log.exception("job %s failed", job)
            self._emit(Failed(job, sentence(e), traceback.format_exc()))
        else:
            self._emit(Finished(job, result))
        finally:
            self._cancelled.discard(job)

    def _warm(self, command: Mapping[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        model, device, tta = Path(command["model"]), str(command["device"]), bool(command["tta"])
        key = (model, model.stat().st_mtime_ns if model.exists() else 0, device, tta)
        if key != self._key or self._predictor is None:
            self._key, self._predictor = (), None  # free the old one first: two may not fit
            self._predictor = self._make(model, device, tta)
            self._key = key
        return {"seconds": {"model": time.perf_counter() - started}}

    def _predict(self, job: str, command: Mapping[str, Any]) -> dict[str, Any]:
        wanted = command.get("probabilities")
        seconds = self._load(job, command)
        with ExitStack() as stack:
            study = study_from_wire(command["study"], stack)
            prediction = self._infer(job, study, probabilities=wanted is not None)
            fill(ArraySpec.from_dict(command["labels"]), prediction.segmentation.labels)
            if wanted is not None and prediction.probabilities is not None:
                none = np.zeros(prediction.segmentation.grid.shape, np.float16)
                stacked = np.stack([prediction.probabilities.get(r, none) for r in Region])
                fill(ArraySpec.from_dict(wanted), stacked)
            self._look_ahead_at(study)
            del study
        sent = prediction_to_wire(prediction)
        return {**sent, "seconds": {**seconds, **sent["seconds"]}}

    def _doubt(self, job: str, command: Mapping[str, Any]) -> dict[str, Any]:
        """Where the model doubts: the map into ``map``, the score in the result."""
        from brainseg_engine.inference.uncertainty import doubt_of

        seconds = self._load(job, command)
        with ExitStack() as stack:
            study = study_from_wire(command["study"], stack)
            prediction = self._infer(job, study, probabilities=True)
            doubt = doubt_of(prediction)
            fill(ArraySpec.from_dict(command["map"]), doubt.map)
            del study
        return {"score": doubt.score.to_dict(), "seconds": {**seconds, **prediction.seconds}}

    def _score(self, job: str, command: Mapping[str, Any]) -> dict[str, Any]:
        """How much the model doubts a study that lies in files; kept for the next time."""
        from brainseg_engine.inference import uncertainty
        from brainseg_engine.io import load_study

        files = {Modality(m): Path(p) for m, p in command["files"].items()}
        study = load_study(files, segmentation=False)
        key = uncertainty.remember_key(list(files.values()), study)
        scores = uncertainty.Scores(uncertainty.model_hash(Path(command["model"])), _passes(command))
        score = scores.get(key)
        if score is None:
            self._load(job, command)
            score = uncertainty.doubt_of(self._infer(job, study, probabilities=True)).score
            scores.put(key, score)
        return {"key": key, "score": score.to_dict()}

    def _propagate(self, job: str, command: Mapping[str, Any]) -> dict[str, Any]:
        """What the corrections of a few slices mean for the others."""
        from brainseg_engine.inference.predictor import Predictor
        from brainseg_engine.propagate import Corrected, propose
        from brainseg_engine.propagate.ahead import SeenAhead

        seconds = self._load(job, {**command, "tta": False})
        with ExitStack() as stack:
            study = study_from_wire(command["study"], stack)
            answer, labels, voxels = (
                stack.enter_context(SharedArray.attach(ArraySpec.from_dict(command[name]))).array.copy()
                for name in ("answer", "corrected", "voxels")
            )
            slices = {int(axis): tuple(indices) for axis, indices in command["slices"].items()}
            corrected = Corrected(labels, slices, voxels != 0)
            predictor = cast(Predictor, self._predictor)
            self._ahead = self._ahead or SeenAhead()
            seen = self._ahead.of(predictor, study, self._emit, lambda: job in self._cancelled)
            proposal = propose(
                predictor,
                study,
                answer,
                corrected,
                seen=seen,
                progress=self._emit,
                cancelled=lambda: job in self._cancelled,
            )
            fill(ArraySpec.from_dict(command["labels"]), proposal.labels)
            del study
        return {"changed": proposal.changed, "steps": proposal.steps, "seconds": {**seconds, **proposal.seconds}}

    def _look_ahead_at(self, study: Study) -> None:
        """Propagating begins from what the model makes of the study: when there is time, that is computed in advance."""
        from brainseg_engine.inference.predictor import Predictor
        from brainseg_engine.propagate.ahead import SeenAhead

        if isinstance(self._predictor, Predictor):
            self._ahead = self._ahead or SeenAhead()
            self._ahead.ask(self._predictor, study)

    def rest(self, busy: CancelCheck) -> None:
        """Nothing is asked for, until ``busy()``."""
        if self._ahead is not None:
            self._ahead.work(busy)

    def _prepare(self, job: str, command: Mapping[str, Any]) -> dict[str, Any]:
        """A raw study made ready, into a folder that the other side owns."""
        self._emit(Progress("checking", 0.0))
        from brainseg_engine.prepare import files, prepare

        with ExitStack() as stack:
            study = study_from_wire(command["study"], stack)
            options = _options(command)
            prepared = prepare(study, options, progress=self._emit, cancelled=lambda: job in self._cancelled)
            if job in self._cancelled:
                raise Cancelled
            self._emit(Progress("writing", 0.97))
            folder = files.save(prepared, Path(command["folder"]))
            del study, prepared
        return {"folder": str(folder)}

    def _load(self, job: str, command: Mapping[str, Any]) -> Mapping[str, float]:
        """Have the predictor ready; stage → seconds."""
        self._emit(Progress("loading the model", 0.0))
        seconds: Mapping[str, float] = self._warm(command)["seconds"]
        if job in self._cancelled:
            raise Cancelled
        return seconds

    def _infer(self, job: str, study: Study, *, probabilities: bool) -> Prediction:
        if self._predictor is None:
            raise Cancelled

        def cancelled() -> bool:
            return job in self._cancelled

        made = self._predictor.predict(study, progress=self._emit, cancelled=cancelled, probabilities=probabilities)
        if cancelled():
            raise Cancelled
        return made


def _options(command: Mapping[str, Any]) -> PrepareOptions:
    """How a study is to be prepared."""
    from brainseg_engine.prepare import PrepareOptions, Rigid
    from brainseg_engine.prepare.brain_mask import METHODS

    def motions(name: str) -> dict[Modality, Rigid]:
        return {Modality(m): Rigid(np.array(matrix, dtype=np.float64)) for m, matrix in command.get(name, {}).items()}

    brain = command["brain"]
    return PrepareOptions(
        brain=brain if brain in METHODS else Path(brain), transforms=motions("placed"), starts=motions("starts")
    )


def _passes(command: Mapping[str, Any]) -> str:
    """How a score was averaged, as its file's name tells."""
    return "flips" if command.get("tta") else "one"


def sentence(error: Exception) -> str:
    """An unexpected error in words for the user."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or "OutOfMemory" in name or "out of memory" in str(error).lower():
        return (
            "There was not enough memory for this study. Close other programs or use the device 'cpu', then try again."
        )
    return f"The segmentation failed unexpectedly ({name}: {error}). Nothing was changed; the log has the details."


class Runs(Protocol):
    """Whatever runs commands: a :class:`Worker`, or what has them run elsewhere."""

    def run(self, command: Mapping[str, Any]) -> None:
        """Run one command that is a job to its end; never raises."""

    def cancel(self, job: str) -> None:
        """Ask that job to stop (called from another thread)."""

    def rest(self, busy: CancelCheck) -> None:
        """Nothing is asked for, until ``busy()``."""


def serve(worker: Runs, commands: IO[bytes]) -> None:
    """Run commands until ``quit`` or the end of ``commands``; then leave the process at once."""
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in commands:
            try:
                command = json.loads(line)
                what = command["do"]
            except (ValueError, KeyError, TypeError):
                _log.error("not a command: %r", line[:200])
                continue
            if what == "quit":
                break
            if what == "cancel":
                worker.cancel(str(command.get("job", "")))
            else:
                waiting.put(command)
        os._exit(0)  # the window has gone: a pass in mid-flight is nobody's

    threading.Thread(target=listen, name="commands", daemon=True).start()
    threading.Thread(target=_watch_parent, name="parent", daemon=True).start()
    while True:
        worker.run(_next(waiting, worker))


def _next(waiting: queue.Queue[dict[str, Any]], worker: Runs) -> dict[str, Any]:
    """The next command. What nobody asked for waits for a pause: the window still shows the last answer, and memory that is given
    back is faulted in anew by the next study, which costs a third of its time."""
    from brainseg_engine.core.device import release_heap

    with suppress(queue.Empty):
        return waiting.get(timeout=REST_S)
    worker.rest(lambda: not waiting.empty())
    with suppress(queue.Empty):
        return waiting.get(timeout=RELEASE_S)
    release_heap()
    return waiting.get()


def main(make: MakePredictor | None = None) -> None:
    """Entry of the process; ``make`` replaces the real predictor (tests)."""
    emit = own_stdout()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    _step_back()
    serve(Worker(emit, make or _predictor), sys.stdin.buffer)


def _predictor(model: Path, device: str, tta: bool) -> Predicts:
    from brainseg_engine.core.device import cores, keep_heap

    keep_heap()
    from brainseg_engine.inference.predictor import Predictor

    return Predictor(model, device=device, tta=tta, threads=max(1, cores() - 1))


def own_stdout() -> Callable[[Event], None]:
    """Keep the real stdout for events alone: whatever a library prints from here on goes to stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    lock = threading.Lock()

    def emit(event: Event) -> None:
        try:
            with lock:
                channel.write(event.to_json() + "\n")
                channel.flush()
        except OSError:  # nobody listens any more
            os._exit(0)

    return emit


def _step_back() -> None:
    """Lower priority than the window's."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
        return
    import psutil

    psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)


def _watch_parent() -> None:
    """Leave when the parent has gone, even if something else kept its end of the pipe open (POSIX)."""
    parent = os.getppid()
    while os.name == "posix" and os.getppid() == parent:
        time.sleep(1.0)
    if os.name == "posix":
        os._exit(0)


if __name__ == "__main__":
    main()
