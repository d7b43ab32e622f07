"""What was fetched from a PACS and sent to it: one line of JSON each, for the user alone; no pixel data, no names."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from brainseg_engine.core import plain
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.paths import home, private_folder
from brainseg_engine.core.records import dumps


def file() -> Path:
    """Where the audit is kept."""
    return home() / "pacs-audit.jsonl"


def note(action: Literal["fetched", "sent", "refused"], pacs: str, study_uid: str, series_uid: str, objects: int,
         sop_uids: Sequence[str] = (), why: str = "") -> None:  # fmt: skip
    """Add one line: when, who, what, from or to where, how many objects; those sent by their UIDs. Raises OutputError."""
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "user": _user(), "action": action, "pacs": pacs,
        "study": study_uid, "series": series_uid, "objects": objects,
    }  # fmt: skip
    more = {"sop_instances": list(sop_uids), "why": why}
    line = dumps(entry | {k: v for k, v in more.items() if v}) + "\n"
    private_folder(file().parent)
    try:
        handle = plain.appending(file(), private=True)
        try:
            os.lseek(handle, max(os.fstat(handle).st_size - 1, 0), os.SEEK_SET)
            if os.read(handle, 1) not in (b"", b"\n"):
                line = "\n" + line  # the last one was cut off, by a power failure or a full disk
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError as e:
        raise OutputError(f"The audit file {file()} cannot be written: {e.strerror or e}. Free some space.") from e


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
