"""A fine-tuning on a machine elsewhere: what it needs goes there, how it goes is followed, what came of it is fetched.

The run folder here is as that of a fine-tuning here: status, events, plan, report, the new model. The work there goes on
when the connection ends; ``resume`` finds it again.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from brainseg_engine import models
from brainseg_engine.core import outputs, plain, records
from brainseg_engine.core.errors import Cancelled, DeviceError, InputError, OutputError, TrainingError
from brainseg_engine.core.events import CancelCheck, Event, Failed, Finished, Progress, from_json, never
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import atomic
from brainseg_engine.corrections import Correction, Store, source_of
from brainseg_engine.finetune import FinetuneOptions
from brainseg_engine.finetune.status import LOCK, Recorder, recording
from brainseg_engine.io.formats import beside
from brainseg_engine.remote import anchor_cases
from brainseg_engine.remote.host import PATIENCE
from brainseg_engine.remote.line import LineBroken, SshLine
from brainseg_engine.remote.parcels import Parcel
from brainseg_engine.remote.place import Place
from brainseg_engine.remote.tuning_there import CHUNK, SETTINGS

_log = logging.getLogger(__name__)
T = TypeVar("T")
FILE = "elsewhere.json"
"""Which run of which machine the folder follows."""
_PATH = r"(?:[\w+@-][\w.+@-]*/)*[\w+@-][\w.+@-]*"
LOOK_S = 1.0


class _Follower:
    """The run there, over a connection that is made again where it breaks; every question may be asked twice."""

    def __init__(self, place: Place, run: str, report: Callable[[Event], None]) -> None:
        self.place, self.run, self._report = place, run, report
        self._line: SshLine | None = None
        self.files: Mapping[str, int] = {}
        self.state = ""

    def ask(self, fields: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> Parcel:
        """Its answer. Raises DeviceError where the machine is not to be had, or refuses."""
        was_there = self._line is not None
        for seconds in (*PATIENCE, None):
            try:
                line = self._connected()
                was_there = True
                line.known.clear()  # parts of files: never the same again
                line.send(fields, arrays)
                parcel = line.answer()
            except LineBroken as e:
                self.close()
                if not was_there or seconds is None:
                    raise DeviceError(f"{e} What was begun there goes on: --resume follows it again.") from e
                self._report(Progress(f"the line to {self.place.host} broke; again in {seconds:.0f} s", 0.0))
                threading.Event().wait(seconds)
                continue
            if "why" in parcel.fields:
                raise DeviceError(f"{self.place.host} refuses: {str(parcel.fields['why'])[:500]}")
            return parcel
        raise AssertionError

    def _connected(self) -> SshLine:
        if self._line is None:
            self._line = SshLine(self.place, "device tune")
            self._line.send({"do": "open", "run": self.run})
            opened = self._line.answer().fields
            if "why" in opened:
                raise DeviceError(f"{self.place.host} refuses: {str(opened['why'])[:500]}")
            self.files, self.state = opened["files"], str(opened["state"])
        return self._line

    def put(self, path: str, content: bytes) -> None:
        """That file into what was sent, unless it is there."""
        self._connected()
        if self.files.get(path) == len(content):
            return
        for at in range(0, max(1, len(content)), CHUNK):
            self.ask({"do": "put", "path": path, "at": at}, {"part": np.frombuffer(content[at : at + CHUNK], np.uint8)})

    def close(self) -> None:
        """End the connection; the run goes on."""
        line, self._line = self._line, None
        if line is not None:
            line.close()


def tune(
    options: FinetuneOptions, report: Callable[[Event], None] = lambda _: None, cancelled: CancelCheck = never
) -> dict[str, Any]:
    """As :func:`brainseg_engine.finetune.job.run`, on the machine that ``options.device`` names. Raises the same, and
    DeviceError where that machine cannot be had."""
    place = Place.of(options.device)
    outputs.claim(options.out, outputs.Use.FINETUNING, private=True)
    interrupted = "It is not followed any more; --resume does."
    with held(options.out / LOCK, 0.0), recording(options.out, report, interrupted) as recorder:
        follower = _Follower(place, _run_id(options, place), recorder)
        options = _remembered(options)
        try:
            result = _tuned(options, follower, recorder, lambda: cancelled() or recorder.asked_to_stop())
        finally:
            follower.close()
        recorder.end("done", Finished("finetune", {k: result[k] for k in ("verdict", "words", "model")}))
    return result


def _run_id(options: FinetuneOptions, place: Place) -> str:
    file = options.out / FILE
    try:
        known = records.read_object(file)
    except (OSError, ValueError):
        known = {}
    if known and not options.resume:
        raise TrainingError(
            f"{options.out} already holds a fine-tuning. Add --resume to continue it, or name another --out."
        )
    there = known.get("device")
    if known and there != place.device:
        raise TrainingError(f"{options.out} follows a fine-tuning on {there}: resume it with --device {there}.")
    run = str(known.get("run") or uuid.uuid4().hex)
    records.write_json(file, {**known, "device": place.device, "run": run})
    return run


def _remembered(options: FinetuneOptions) -> FinetuneOptions:
    """With the anchors that the run was begun with, where none are named to resume it; they are noted where they are."""
    known, noted = records.read_object(options.out / FILE), dict[str, str | None]()
    for key in ("anchors", "anchor_split", "anchor_coding"):
        value = getattr(options, key)
        noted[key] = known.get(key) if value is None else str(value if key == "anchor_coding" else value.resolve())
    records.write_json(options.out / FILE, known | {k: v for k, v in noted.items() if v is not None})
    anchors, split = (Path(p) if (p := noted[k]) else None for k in ("anchors", "anchor_split"))
    return replace(options, anchors=anchors, anchor_split=split, anchor_coding=noted["anchor_coding"])


def _tuned(options: FinetuneOptions, follower: _Follower, recorder: Recorder, cancelled: CancelCheck) -> dict[str, Any]:
    recorder(Progress(f"connecting to {follower.place.host}", 0.0))
    follower.ask({"do": "look", "at": 0})
    if follower.state not in ("running", "done"):
        _begin(options, follower, recorder, cancelled)
    _follow(options, follower, recorder, cancelled)
    recorder(Progress(f"fetching from {follower.place.host}", 1.0))
    _fetch(options.out, follower)
    report = _taken(options.out, follower.place)
    follower.ask({"do": "forget"})
    return report


def _taken(out: Path, place: Place) -> dict[str, Any]:
    """Install the model that came, have the store here hold out what the store there did; the report, as of this machine."""
    report = records.read_object(out / "report.json")
    model, name = out / "model.safetensors", str(report["model"]["name"])
    if not _ours(model, name):
        name = models.free_name(name)
    installed = models.add(model, name)
    report["model"] = {**report["model"], "name": name, "file": str(installed)}
    report["notes"] = [*report.get("notes", ()), f"It was made on {place.host}."]
    if (out / anchor_cases.FILE).exists():
        report["notes"].append(f"Which case each anchor's name stands for is in {anchor_cases.FILE}.")
    records.write_json(out / "report.json", report)
    store = Store.existing(Path(records.read_object(out / FILE)["corrections"]))
    held_out = {str(c["name"]) for c in report["corrections"]["held_out"]}
    latest = list(store.latest().values())
    if not any(c.held_out for c in latest):
        for correction in latest:
            if correction.id in held_out:
                store.set_held_out(correction.id)
    return report


def _ours(model: Path, name: str) -> bool:
    """Whether that name is free, or is this very model's."""
    taken = [m.path for m in models.installed() if m.name == name]
    return not taken or models.sha256(taken[-1]) == models.sha256(model)


def _begin(options: FinetuneOptions, follower: _Follower, recorder: Recorder, cancelled: CancelCheck) -> None:
    """Send what is not there yet, and start (or resume) the work."""
    if not options.resume and options.corrections is None:
        raise TrainingError("Name the folder of corrections to learn from: --corrections.")
    images: dict[str, Any] = _sent(options, follower, recorder, cancelled)
    given = {k: v for k, v in asdict(options).items() if k in SETTINGS and v is not None}
    given["resume"] = follower.state != ""
    follower.ask({"do": "start", "options": given, "images": images, "anchors": options.anchors is not None})


def _sent(options: FinetuneOptions, follower: _Follower, recorder: Recorder, cancelled: CancelCheck) -> dict[str, Any]:
    """The base model, the corrections and their images; study → where its images lie there."""
    known = records.read_object(options.out / FILE)
    model = options.model or known.get("model")
    folder = options.corrections or (Path(known["corrections"]) if known.get("corrections") else None)
    if folder is None:
        raise TrainingError("Name the folder of corrections to learn from: --corrections.")
    store = Store.existing(folder)
    base = models.find(model or models.default())
    records.write_json(
        options.out / FILE, {**known, "model": str(base.resolve()), "corrections": str(folder.resolve())}
    )
    follower.put("base.safetensors", _content(base))
    files = [
        p for p in sorted(store.path.rglob("*")) if p.is_file() and not p.is_symlink() and not p.name.startswith(".")
    ]
    for path in files:
        follower.put(f"corrections/{path.relative_to(store.path).as_posix()}", _content(path))
    latest = sorted(store.latest().values(), key=lambda c: c.id)
    images = {}
    for n, correction in enumerate(latest):
        if cancelled():
            raise Cancelled
        recorder(Progress(f"sending {correction.id} to {follower.place.host}", 0.0, n, len(latest)))
        found = _images(correction, follower)
        if found:
            images[correction.study] = {"id": correction.id, "files": found}
    if not images:
        raise InputError(
            f"The images of none of the {len(latest)} corrections in {store.path} are known on this machine."
        )
    if not follower.state:  # one that was begun has what it needs
        anchor_cases.send(options, base, latest, follower.run, follower.put, recorder, cancelled)
    return images


def _images(correction: Correction, follower: _Follower) -> dict[str, str]:
    """Modality → where the image lies there, under a name that tells nothing; {} where it cannot be sent."""
    source = source_of(correction.study)
    if source is None or not source.there or any(beside(p) for p in source.files.values()):
        _log.warning(
            "%s: its images are not known here, or are not a file for each series; it is left out", correction.id
        )
        return {}
    sent = {}
    for modality, path in source.files.items():
        ending = re.sub(r"[^\w.]", "", "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix)
        name = f"images/{correction.id}/{modality.value}{ending}"
        follower.put(name, _content(path))
        sent[modality.value] = name
    return sent


def _content(path: Path) -> bytes:
    try:
        return plain.read(path)
    except OSError as e:
        raise InputError(f"{path} cannot be read: {e.strerror or e}.") from e


def _follow(options: FinetuneOptions, follower: _Follower, recorder: Recorder, cancelled: CancelCheck) -> None:
    """Pass on what happens there until it is over. Raises what ended it, Cancelled where it was stopped."""
    at, asked, unborn = 0, False, time.monotonic() + 120
    last: Event | None = None
    while True:
        seen = follower.ask({"do": "look", "at": at}).fields
        at = int(seen["at"])
        for line in str(seen["events"]).splitlines():
            event = _event(line)
            if isinstance(event, Finished | Failed):
                last = event
            elif event is not None:
                recorder(event)
        if cancelled() and not asked:
            asked = True
            follower.ask({"do": "stop"})
        state = str(seen["state"])
        if state == "done":
            return
        if state in ("stopped", "failed", "killed") or (not state and time.monotonic() > unborn):
            words = last.message if isinstance(last, Failed) else str(seen["said"]).removeprefix("napari-brainseg: ")
            if state == "stopped":
                raise Cancelled(words or "It was stopped.")
            raise TrainingError(f"On {follower.place.host}: {words or 'the fine-tuning ended.'}")
        threading.Event().wait(LOOK_S)


def _event(line: str) -> Event | None:
    try:
        return from_json(line)
    except ValueError:
        return None


def _fetch(out: Path, follower: _Follower) -> None:
    """The files of the run folder, but for what only the work needs."""
    for path, size in sorted(dict(follower.ask({"do": "get"}).fields["files"]).items()):
        if not re.fullmatch(_PATH, path, re.ASCII) or path in (FILE, anchor_cases.FILE):
            continue
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        with atomic(out / path) as part, part.open("wb") as f:
            for at in range(0, int(size), CHUNK):
                f.write(follower.ask({"do": "get", "path": path, "at": at}).arrays["part"].tobytes())
    if not (out / "report.json").exists():
        raise OutputError(f"The fine-tuning on {follower.place.host} is done, but left no report.")
