"""Machines that were used before, and those that the user's ssh is set up for."""

from __future__ import annotations

from pathlib import Path

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.paths import home
from brainseg_engine.remote.place import Place

MOST = 5
_FILE = "machines.json"


def used() -> list[str]:
    """Devices (``ssh:HOST``) that were chosen before, the last one first."""
    try:
        listed = records.read_object(home() / _FILE).get("machines", [])
        return [Place.of(str(device)).device for device in listed][:MOST]
    except (OSError, ValueError, TypeError, BrainsegError):
        return []


def remember(device: str) -> None:
    """Have that device among them. Raises OutputError."""
    machines = [device, *(d for d in used() if d != device)][:MOST]
    home().mkdir(parents=True, exist_ok=True)
    records.write_json(home() / _FILE, {"machines": machines})


def configured(config: Path | None = None) -> list[str]:
    """The hosts that stand by name in ssh's configuration (what it includes from elsewhere is not looked at)."""
    try:
        text = plain.read(config or Path("~/.ssh/config").expanduser(), 2**20).decode("utf-8", "replace")
    except (OSError, RuntimeError, ValueError):
        return []
    hosts = []
    for words in (line.replace("=", " ", 1).split() for line in text.splitlines()):
        if words and words[0].lower() == "host":
            hosts += [w for w in words[1:] if not set(w) & set('*?!"')]
    return list(dict.fromkeys(hosts))
