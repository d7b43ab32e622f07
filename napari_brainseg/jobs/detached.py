"""A fine-tuning as a process of its own, which outlives the window."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from brainseg_engine.errors import OutputError
from brainseg_engine.finetune import announce

LOG = "process.log"
NICE = 5
"""Painting goes before training."""


def launch(command: Sequence[str], out: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, what it writes going into ``process.log`` of the run folder.

    The folder tells at once which process works there. Raises OutputError when nothing can be written or started.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / LOG).open("wb") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=out.parent, **_apart()
            )
    except OSError as e:
        raise OutputError(f"The fine-tuning cannot be started in {out}: {e.strerror or e}. Free some space.") from e
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process(process.pid).nice(NICE if sys.platform != "win32" else psutil.BELOW_NORMAL_PRIORITY_CLASS)
    announce(out, process.pid)
    return process


def last_words(out: Path) -> str:
    """The last line that the process of that run folder wrote, "" for none."""
    try:
        lines = (out / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    told = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return told.removeprefix("napari-brainseg: ")


def _apart() -> dict[str, Any]:
    """What keeps the process out of the window's group: neither Ctrl-C there nor closing it reaches the process."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}
