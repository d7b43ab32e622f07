"""A worker whose work is done elsewhere: ``python -m brainseg_engine.remote.bridge ssh:HOST``.

It speaks :mod:`brainseg_engine.worker`'s protocol to the window, so that the window asks a machine elsewhere as it asks its
own; compressing and waiting for the line happen in this process.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import BrainsegError, Cancelled
from brainseg_engine.core.events import CancelCheck, Event, Failed, Finished
from brainseg_engine.core.shared_arrays import ArraySpec, SharedArray
from brainseg_engine.core.study import Modality
from brainseg_engine.core.study_wire import FILLED, fill
from brainseg_engine.remote.host import Answered, Asked, Host
from brainseg_engine.remote.place import Place
from brainseg_engine.remote.wording import local, nameless
from brainseg_engine.worker import own_stdout, sentence, serve

_log = logging.getLogger(__name__)


class Bridge:
    """Has each command run on that host. See :class:`brainseg_engine.worker.Runs`."""

    def __init__(self, emit: Callable[[Event], None], host: Host) -> None:
        self._emit, self._host = emit, host
        self._cancelled: set[str] = set()

    def cancel(self, job: str) -> None:
        """See :class:`brainseg_engine.worker.Runs`."""
        self._cancelled.add(job)

    def rest(self, busy: CancelCheck) -> None:
        """See :class:`brainseg_engine.worker.Runs`: the worker there looks ahead by itself."""

    def run(self, command: Mapping[str, Any]) -> None:
        """See :class:`brainseg_engine.worker.Runs`."""
        job = str(command.get("job", ""))
        try:
            event: Event = self._score(job, command) if command.get("do") == "score" else self._shared(job, command)
        except Cancelled as e:
            event = Failed(job, str(e), cancelled=True)
        except BrainsegError as e:
            event = Failed(job, str(e), traceback.format_exc())
        except Exception as e:  # the window has to hear of it in words
            _log.exception("job %s failed", job)
            event = Failed(job, sentence(e), traceback.format_exc())
        self._cancelled.discard(job)
        self._emit(event)

    def _asked(self, job: str, asked: Asked) -> Answered:
        return self._host.run(asked, self._emit, lambda: job in self._cancelled)

    def _shared(self, job: str, command: Mapping[str, Any]) -> Event:
        """A command whose arrays lie in shared memory: what comes back is put there too."""
        specs = {name: ArraySpec.from_dict(v) for name, v in command.items() if _is_spec(v)}
        fields = {name: value for name, value in command.items() if name not in specs}
        room = {n: (spec.shape, np.dtype(spec.dtype)) for n, spec in specs.items() if n in FILLED}
        with ExitStack() as stack:

            def seen(spec: ArraySpec) -> NDArray[Any]:
                return stack.enter_context(SharedArray.attach(spec)).array

            given = {name: seen(spec) for name, spec in specs.items() if name not in FILLED}
            study = command.get("study")
            if study is not None:
                for v in study["volumes"]:
                    given[f"study:{v['modality']}"] = seen(ArraySpec.from_dict(v["array"]))
                fields["study"] = nameless(study)
            answered = self._asked(job, Asked(with_device(fields), given, room))
            del given
        for name, array in answered.filled.items():
            fill(specs[name], array)
        return local(answered.event, study["id"] if study is not None else "", self._host.place)

    def _score(self, job: str, command: Mapping[str, Any]) -> Event:
        """A study that lies in files here, which the other machine has not: its voxels go there, its score is kept here."""
        from brainseg_engine.core.study_wire import study_to_wire
        from brainseg_engine.inference import uncertainty
        from brainseg_engine.io import load_study

        files = {Modality(m): Path(p) for m, p in command["files"].items()}
        study = load_study(files, segmentation=False)
        key = uncertainty.remember_key(list(files.values()), study)
        passes = "flips" if command.get("tta") else "one"
        scores = uncertainty.Scores(uncertainty.model_hash(Path(command["model"])), passes)
        score = scores.get(key)
        if score is None:
            fields = {name: command[name] for name in ("job", "model", "tta")}
            fields |= {"do": "doubt", "study": nameless(study_to_wire(study, {}))}
            given = {f"study:{m.value}": v.data for m, v in study.volumes.items()}
            room = {"map": (study.reference.grid.shape, np.dtype(np.float16))}
            answered = self._asked(job, Asked(with_device(fields), given, room))
            if isinstance(answered.event, Failed):
                return local(answered.event, study.id, self._host.place)
            score = uncertainty.Score.from_dict(answered.event.result["score"])
            scores.put(key, score)
        return Finished(job, {"key": key, "score": score.to_dict()})


def with_device(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The command for the machine there, which takes its GPU where it has one."""
    return {**fields, "device": "auto"}


def _is_spec(value: object) -> bool:
    return isinstance(value, Mapping) and {"name", "kind", "shape", "dtype"} <= set(value)


def main() -> None:
    """Entry of the process."""
    emit = own_stdout()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    serve(Bridge(emit, Host(Place.of(sys.argv[1]))), sys.stdin.buffer)


if __name__ == "__main__":
    main()
