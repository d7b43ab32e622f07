"""Which model the user wants used where none is named, and which ones were before: ``models.json`` in the user's folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from brainseg_engine.core import records
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import check_writable, home

_log = logging.getLogger(__name__)
_FILE = "models.json"
_KEPT = 50

Entry = dict[str, str]
"""{"name", "when"}."""


def current() -> str:
    """The model chosen, "" where none was."""
    entries = history()
    return entries[-1]["name"] if entries else ""


def history() -> list[Entry]:
    """The choices, oldest first; the last is the present one. [] for a file that is absent or damaged."""
    try:
        entries = records.read_object(home() / _FILE)["default"]
        return [{"name": str(e["name"]), "when": str(e["when"])} for e in entries]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as e:
        _log.warning("%s cannot be read (%s), so no model counts as chosen", home() / _FILE, e)
        return []


def choose(name: str, before: str) -> None:
    """Make it the default. ``before``: what was used until now, which a roll back of the first choice returns to."""

    def chosen(entries: list[Entry]) -> list[Entry]:
        entries = entries or [_entry(before)]
        return entries if entries[-1]["name"] == name else [*entries, _entry(name)]

    _rewrite(chosen)


def before(usable: Collection[str]) -> str:
    """What ``back`` would return to, "" for nothing."""
    rest = _undone(history(), usable)
    return rest[-1]["name"] if rest else ""


def back(usable: Collection[str]) -> str:
    """Undo the last choice; returns the default there is now. Raises CheckpointError when there is nothing to return to."""

    def undone(entries: list[Entry]) -> list[Entry]:
        rest = _undone(entries, usable)
        if not rest:
            raise CheckpointError("There is no default model before this one to return to.")
        return rest

    return _rewrite(undone)[-1]["name"]


def _undone(entries: list[Entry], usable: Collection[str]) -> list[Entry]:
    """Without the last choice, and without those before it that are gone or the same."""
    present, rest = entries[-1]["name"] if entries else "", entries[:-1]
    while rest and (rest[-1]["name"] not in usable or rest[-1]["name"] == present):
        rest.pop()
    return rest


def _rewrite(change: Callable[[list[Entry]], list[Entry]]) -> list[Entry]:
    check_writable(home())
    with held(home() / ".models.lock"):
        entries = change(history())[-_KEPT:]
        records.write_json(home() / _FILE, {"default": entries})
    return entries


def _entry(name: str) -> Entry:
    return {"name": name, "when": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")}
