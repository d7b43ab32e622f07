"""Models that are known and can be fetched: a list that is shipped, may be brought up to date, and works without a network.

An entry's hash decides whether what arrives is what was meant; where none is known the entry says so, and the user is asked.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.paths import check_writable, home

FORMAT = "napari-brainseg-known-models/1"
MOST_BYTES = 2**20
_FILE = "known-models.json"


class KnownModel(BaseModel):
    """One model that can be fetched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^\w[\w.-]{0,79}$")
    title: str = Field(max_length=200)
    url: str = Field(pattern=r"^https://[^\s]+$", max_length=1000)
    size: int = Field(default=0, ge=0, le=2**34)
    """Bytes; 0 where it is not known."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    hash_from: str = Field(default="", max_length=200)
    """Where the hash is from."""
    licence: str = Field(max_length=1000)
    terms: str = Field(default="", max_length=300)
    citation: str = Field(default="", max_length=1000)


class _List(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = Field(pattern=f"^{FORMAT}$")
    models: tuple[KnownModel, ...] = Field(max_length=500)


def known() -> tuple[KnownModel, ...]:
    """The list: the user's newer one where there is one that can be read, else the shipped one."""
    own = home() / _FILE
    if plain.is_file(own):
        try:
            return _parsed(plain.read(own, MOST_BYTES), str(own))
        except (OSError, InputError):
            pass  # the shipped one is never damaged
    shipped = resources.files("brainseg_engine") / "models" / "known.json"
    return _parsed(shipped.read_bytes(), "the list of known models")


def find(name: str) -> KnownModel:
    """The entry of that name. Raises InputError naming the choices."""
    entries = known()
    found = next((k for k in entries if k.name == name), None)
    if found is None:
        raise InputError(f"No model '{name}' is known; known are {', '.join(k.name for k in entries)}.")
    return found


def update(source: Path) -> tuple[KnownModel, ...]:
    """Take that file as the list from now on. Raises InputError for one that is none; the old list then stays."""
    try:
        data = plain.read(source, MOST_BYTES)
    except OSError as e:
        raise InputError(f"The list {source} cannot be read: {e.strerror or e}.") from e
    entries = _parsed(data, str(source))
    check_writable(home())
    records.write_json(home() / _FILE, {"format": FORMAT, "models": [k.model_dump() for k in entries]})
    return entries


def _parsed(data: bytes, where: str) -> tuple[KnownModel, ...]:
    try:
        found = _List.model_validate(records.parse_json(data)).models
    except ValidationError as e:
        first = e.errors()[0]
        raise InputError(f"{where} is no list of models: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from e
    except ValueError as e:
        raise InputError(f"{where} is no list of models: {e}.") from e
    if len({k.name for k in found}) != len(found):
        raise InputError(f"{where} names a model twice.")
    return found
