"""A fine-tuning as a process of its own, which outlives the window."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from brainseg_engine.core import outputs, plain
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import home
from brainseg_engine.finetune import announce

LOG = "process.log"
LOCK = "lock"
"""Which a process holds as long as it works in the folder, and for some seconds what a killed one has left."""
PATIENCE_S = 20.0
NICE = 5
"""Painting goes before training."""


def launch(command: Sequence[str], out: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, what it writes going into ``process.log`` of the run folder.

    The folder tells at once which process works there. Raises OutputError when nothing can be written or started,
    another process works there, or the folder holds what is not ours.
    """
    place = {**os.environ, "BRAINSEG_HOME": str(home())}  # absolute: the process stands elsewhere
    outputs.claim(out, outputs.Use.FINETUNING, private=True, made_before=_made_before)
    try:
        with held(out / LOCK, PATIENCE_S):
            pass
        (out / LOG).unlink(missing_ok=True)  # never through a link that somebody put there
        with (out / LOG).open("xb") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=out.parent, env=place,
                **_apart(),
            )  # fmt: skip
    except OSError as e:
        raise OutputError(f"The fine-tuning cannot be started in {out}: {e.strerror or e}. Free some space.") from e
    if sys.platform != "win32":  # there it was set at the start, for the interpreter behind a launcher too
        with contextlib.suppress(psutil.Error, OSError):
            psutil.Process(process.pid).nice(NICE)
    try:
        announce(out, process.pid)
    except OutputError:  # nobody would ever find it
        process.kill()
        process.wait()
        raise
    threading.Thread(target=process.wait, name="brainseg-detached", daemon=True).start()  # lest it stays as a zombie
    return process


def _made_before(out: Path) -> bool:
    """Whether an earlier version made the folder, which it did not mark."""
    return plain.is_file(out / "status.json") or {p.name for p in out.iterdir()} <= {LOCK, LOG}


def last_line(out: Path) -> str:
    """The last line that the process of that run folder wrote, "" for none."""
    try:
        lines = plain.read(out / LOG).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last.removeprefix("napari-brainseg: ")


def _apart() -> dict[str, Any]:
    """What keeps the process out of the window's group: neither Ctrl-C there nor closing it reaches the process."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    return {"start_new_session": True}
