"""A lab's naming, remembered: series that a user assigned by hand are proposed so again for other patients.

Of a name only a keyed digest is kept, so that nobody can read a patient out of the file: of the description and plane, or of
what a file's name does not share with the others of its study; numbers count as one another.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from brainseg_engine.core.paths import home
from brainseg_engine.core.records import read_object, write_json
from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.core.study import Modality
from brainseg_engine.io.naming import stem

MOST = 500
"""Names kept; the oldest go first."""
_UNUSED = "none"


def remembered(series: Sequence[SeriesFacts]) -> dict[str, Modality | None]:
    """Series id → the use it was given under that name (None: it was left out). Names never seen are absent."""
    salt, known = _read()
    keys = _keys(series, salt)
    uses = {f.id: known[k] for f in series if (k := keys[f.id]) in known}
    return {i: None if use == _UNUSED else Modality(use) for i, use in uses.items()}


def remember(series: Sequence[SeriesFacts], uses: Mapping[str, Modality | None]) -> None:
    """Keep the uses (series id → use) that a user gave by hand. Raises OutputError when it cannot be written."""
    salt, known = _read()
    salt = salt or secrets.token_hex(16)
    keys = _keys(series, salt)
    for id_, use in uses.items():
        if key := keys.get(id_, ""):
            known.pop(key, None)
            known[key] = use.value if use is not None else _UNUSED
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"salt": salt, "series": dict(list(known.items())[-MOST:])}, private=True)


def forget() -> None:
    """Remove everything remembered."""
    _path().unlink(missing_ok=True)


def _keys(series: Sequence[SeriesFacts], salt: str) -> dict[str, str]:
    """Series id → its name's key; "" for a name of which nothing may be kept, and for one that two series share."""
    files = [f for f in series if f.file_name]
    split = {f.id: re.findall(r"[a-z0-9+]+", stem(f.file_name).lower()) for f in files}
    shared = set.intersection(*map(set, split.values())) if len(split) > 1 else None
    keys = {}
    for f in series:
        if f.file_name:
            words = [] if shared is None else [w for w in split[f.id] if w not in shared]
        else:
            words = re.findall(r"[a-z0-9+*]+", f"{f.description or f.protocol} {f.plane}".lower())
        keys[f.id] = re.sub(r"\d{2,}", "#", " ".join(words))
    values = list(keys.values())
    return {i: _digest(k, salt) if k and values.count(k) == 1 else "" for i, k in keys.items()}


def _digest(key: str, salt: str) -> str:
    return hashlib.blake2b(key.encode(), key=salt.encode()[:64], digest_size=12).hexdigest()


def _path() -> Path:
    return home() / "series_names.json"


def _read() -> tuple[str, dict[str, str]]:
    """The salt and digest → use; "" and nothing where there is no such file, or it is damaged."""
    try:
        stored = read_object(_path())
        salt, series = stored["salt"], stored["series"]
        legal = {*Modality, _UNUSED}
        return str(salt), {k: v for k, v in series.items() if v in legal}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "", {}
