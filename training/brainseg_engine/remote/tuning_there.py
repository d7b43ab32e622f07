"""The far side of a fine-tuning elsewhere: ``napari-brainseg device tune``, started by ssh.

A run has a folder of its own, ``received-runs/<id>`` in the user's folder: ``home`` (what was sent: corrections, their images,
the base model) and ``run`` (the run folder). The fine-tuning is a process of its own with that home, which goes on when the
connection ends. Commands: ``open``, ``put``, ``start``, ``look``, ``get``, ``stop``, ``forget``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import outputs, plain, records
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.names import require_inside
from brainseg_engine.core.paths import home, private_folder
from brainseg_engine.finetune import FinetuneOptions, announce, ask_to_stop, command, status_of
from brainseg_engine.finetune.status import EVENTS
from brainseg_engine.remote import parcels
from brainseg_engine.remote.line import HELLO, mine
from brainseg_engine.remote.parcels import Parcel
from brainseg_engine.remote.serving import SILENCE_S

CHUNK = 2**24
KEPT_THERE = ("data", "training", "lock", "stop", "status.json", EVENTS)
"""Of the run folder: what is not fetched."""
ANCHORS, ANCHOR_SPLIT = "anchors", "anchors.csv"
"""Of what was sent: the anchors' folder, and which of them are replayed and which are scored."""
SETTINGS = ("minutes", "epochs", "parts", "seed", "name", "mix", "pull", "rate", "precision", "set", "resume")
"""The options that the asking side decides."""
_RUN = re.compile(r"[0-9a-f]{32}")
_PATH = re.compile(r"(?:[\w.+@-]+/)*[\w.+@-]+", re.ASCII)
_MOST_EVENTS = 2**20


class TuningThere:
    """One connection; the run that it is about is opened first."""

    def __init__(self, pipe_in: IO[bytes], pipe_out: IO[bytes]) -> None:
        self._in, self._out = pipe_in, pipe_out
        self._place = Path()
        self._heard_at = time.monotonic()

    def run(self) -> None:
        """Greet, and answer until the asking side has gone."""
        self._out.write(HELLO + records.dumps(mine()).encode() + b"\n")
        self._out.flush()
        threading.Thread(target=self._watch, daemon=True).start()
        with contextlib.suppress(EOFError, OSError, parcels.Damaged):
            while True:
                self._answer(parcels.read(self._in, heard=self._hear))

    def _hear(self) -> None:
        self._heard_at = time.monotonic()

    def _watch(self) -> None:
        """An asking side that says nothing for so long has gone, whatever the network says."""
        while time.monotonic() - self._heard_at < SILENCE_S:
            time.sleep(1.0)
        os._exit(0)

    def _answer(self, parcel: Parcel) -> None:
        what = str(parcel.fields.get("do"))
        if what in ("hello", "beat"):
            return
        try:
            fields, arrays = (
                getattr(self, f"_{what}")(parcel) if what in _COMMANDS else ({"why": f"no command {what}"}, {})
            )
        except (BrainsegError, OSError, ValueError, KeyError, TypeError) as e:
            fields, arrays = {"why": str(e) or type(e).__name__}, {}
        parcels.write(self._out, fields, arrays)

    def _open(self, parcel: Parcel) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """The run of that id, new or known; how large each of the files is that were sent already."""
        run = str(parcel.fields["run"])
        if not _RUN.fullmatch(run):
            raise ValueError("a run's id is expected")
        private_folder(home() / "received-runs")
        self._place = private_folder(home() / "received-runs" / run)
        sent = private_folder(self._place / "home")
        sizes = {p.relative_to(sent).as_posix(): p.stat().st_size for p in sent.rglob("*") if p.is_file()}
        status = status_of(self._place / "run")
        return {"files": sizes, "state": status.state if status is not None else ""}, {}

    def _put(self, parcel: Parcel) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """A part of a file into ``home``."""
        path = self._inside("home", parcel.fields["path"])
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with path.open("r+b") as f:
            f.truncate(
                int(parcel.fields["at"])
            )  # a part may come twice, where the line broke between it and the answer
            f.seek(0, os.SEEK_END)
            f.write(parcel.arrays["part"].tobytes())
        return {"size": path.stat().st_size}, {}

    def _start(self, parcel: Parcel) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Begin, or resume, the fine-tuning as a process of its own."""
        sent, out = self._place / "home", self._place / "run"
        status = status_of(out)
        if status is not None and status.state == "running":
            return {"started": True}, {}
        images = parcel.fields["images"]
        noted = {
            key: {
                "id": f["id"],
                "folder": None,
                "files": {m: str(self._inside("home", p)) for m, p in f["files"].items()},
            }
            for key, f in images.items()
        }
        records.write_json(sent / "sources.local.json", noted, private=True)
        given = {k: v for k, v in parcel.fields["options"].items() if k in SETTINGS}
        if parcel.fields.get("anchors"):
            given |= {"anchors": self._inside("home", ANCHORS), "anchor_split": self._inside("home", ANCHOR_SPLIT)}
        options = FinetuneOptions(out, str(sent / "base.safetensors"), sent / "corrections", device="auto", **given)
        samples = home() / "samples"  # phantoms are made once for all runs
        samples.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            (sent / "samples").symlink_to(samples)
        outputs.claim(out, outputs.Use.FINETUNING, private=True)
        with (self._place / "process.log").open("wb") as log:
            process = subprocess.Popen(
                command(options), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "BRAINSEG_HOME": str(sent)}, cwd=self._place,
            )  # fmt: skip
        announce(out, process.pid)
        threading.Thread(target=process.wait, daemon=True).start()  # lest it stays as a zombie, which looks alive
        return {"started": True}, {}

    def _look(self, parcel: Parcel) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """What has happened since: the events' text from that byte on, and how the run stands."""
        out, at = self._place / "run", int(parcel.fields["at"])
        text = b""
        with contextlib.suppress(OSError), plain.opened(out / EVENTS) as f:
            f.seek(at)
            text = f.read(_MOST_EVENTS)
        text = text[: text.rfind(b"\n") + 1]
        status = status_of(out)
        said = ""
        with contextlib.suppress(OSError):
            lines = plain.read(self._place / "process.log").decode("utf-8", "replace").strip().splitlines()
            said = lines[-1] if lines else ""
        state = status.state if status is not None else ""
        return {"events": text.decode("utf-8", "replace"), "at": at + len(text), "state": state, "said": said[:500]}, {}

    def _get(self, parcel: Parcel) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """A part of a file of the run folder; without a path, which there are."""
        out = self._place / "run"
        if not parcel.fields.get("path"):
            files = (p for p in out.rglob("*") if p.is_file() and not p.is_symlink())
            named = {p.relative_to(out).as_posix(): p.stat().st_size for p in files}
            return {
                "files": {n: s for n, s in named.items() if n.split("/")[0] not in KEPT_THERE and _PATH.fullmatch(n)}
            }, {}
        with plain.opened(self._inside("run", parcel.fields["path"])) as f:
            f.seek(int(parcel.fields["at"]))
            return {}, {"part": np.frombuffer(f.read(CHUNK), np.uint8)}

    def _stop(self, _: Parcel) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Ask it to end after its present step."""
        ask_to_stop(self._place / "run")
        return {}, {}

    def _forget(self, _: Parcel) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Remove all that was sent, and what came of it."""
        shutil.rmtree(self._place, ignore_errors=True)
        return {"there": self._place.exists()}, {}

    def _inside(self, part: str, path: object) -> Path:
        if not _PATH.fullmatch(str(path)) or ".." in str(path).split("/") or self._place == Path():
            raise ValueError(f"{path!r} is no path of this run")
        whole = self._place / part / str(path)
        require_inside(self._place / part, whole)
        return whole


_COMMANDS = ("open", "put", "start", "look", "get", "stop", "forget")


def main() -> None:
    """Serve the one who started it, through stdin and stdout."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with channel:
        TuningThere(sys.stdin.buffer, channel).run()
