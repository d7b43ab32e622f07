"""Connections: how each PACS is reached, in one TOML file for the user alone. Secrets are never in it.

[archive]
kind = "dicomweb"
url = "https://pacs.example/dicom-web"
login = "basic"            # none, basic or bearer
user = "anna"
ca = "/etc/ssl/hospital.pem"

[scanner-node]
kind = "dimse"
host = "pacs.example"
port = 104
title = "ARCHIVE"          # the PACS's AE title
own_title = "BRAINSEG"     # ours, as the PACS knows it
retrieve = "get"           # or "move": then it sends to listen:listen_port
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.paths import atomic, home, private_folder
from brainseg_engine.core.records import MOST_TOML, parse_toml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_SECRETS = ("password", "token", "secret", "passphrase")
_TITLE = r"^[ -\[\]-~]{1,16}$"  # what DICOM allows in an AE title: no backslash, no control characters


class _Connection(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    ca: str = ""
    """PEM file of the authority that signed the PACS's certificate, where it is not a public one."""
    certificate: str = ""
    """PEM file of our own certificate, where the PACS asks for one."""
    key: str = ""
    """PEM file of its key, where it is not in the same file."""

    @model_validator(mode="after")
    def _key_with_certificate(self) -> _Connection:
        if self.key and not self.certificate:
            raise ValueError("a key belongs to a certificate: name that too")
        return self


class DicomWeb(_Connection):
    """A PACS reached by DICOMweb (QIDO-RS, WADO-RS, STOW-RS)."""

    kind: Literal["dicomweb"] = "dicomweb"
    url: str
    """The service's root, as https://pacs.example/dicom-web."""
    login: Literal["none", "basic", "bearer"] = "none"
    user: str = ""

    @model_validator(mode="after")
    def _usable(self) -> DicomWeb:
        try:
            parts = urlsplit(self.url)
            parts.port  # noqa: B018  read for its error
        except ValueError as e:
            raise ValueError(f"'{self.url}' is no address ({e})") from e
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the url begins with https:// or http:// and a host")
        if parts.username or parts.password:
            raise ValueError("no user and no password in the url: name the user, the password is asked for")
        if self.login == "basic" and not self.user:
            raise ValueError('login = "basic" needs a user')
        if self.login != "basic" and self.user:
            raise ValueError('a user belongs to login = "basic"')
        return self

    @property
    def host(self) -> str:
        """The host that the PACS runs on."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def tls(self) -> bool:
        """Whether it is encrypted."""
        return urlsplit(self.url).scheme == "https"

    @property
    def where(self) -> str:
        """The place, as it is shown."""
        return self.url


class Dimse(_Connection):
    """A PACS reached by DICOM's own network services (C-ECHO, C-FIND, C-GET or C-MOVE, C-STORE)."""

    kind: Literal["dimse"] = "dimse"
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    title: str = Field(pattern=_TITLE)
    own_title: str = Field("BRAINSEG", pattern=_TITLE)
    tls: bool = False
    retrieve: Literal["get", "move"] = "get"
    listen: str = "127.0.0.1"
    """Where C-MOVE's receiver listens while a retrieve runs."""
    listen_port: int = Field(11112, ge=1, le=65535)

    @model_validator(mode="after")
    def _usable(self) -> Dimse:
        if self.tls and self.retrieve == "move" and not self.certificate:
            raise ValueError('retrieve = "move" over TLS needs a certificate of our own; "get" does not')
        if not self.tls and (self.ca or self.certificate):
            raise ValueError("a certificate needs tls = true")
        return self

    @property
    def where(self) -> str:
        """The place, as it is shown."""
        return f"{self.title} at {self.host}:{self.port}"


Connection = DicomWeb | Dimse
_any: TypeAdapter[Connection] = TypeAdapter(Annotated[Connection, Field(discriminator="kind")])


def file() -> Path:
    """Where the connections are kept."""
    return home() / "pacs.toml"


def check_name(name: str) -> str:
    """The name of a connection. Raises InputError for one that is none."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{name[:60]}' cannot name a connection: letters, digits, '-' and '_' alone, at most 40, a letter or digit first."
        )
    return name


def read() -> dict[str, Connection]:
    """Name → connection; none where there is no file. Raises InputError for a file that cannot be used."""
    path = file()
    try:
        text = plain.read(path, MOST_TOML).decode("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(
            f"{path} cannot be read: {getattr(e, 'strerror', '') or 'it is no text'}. Check the file."
        ) from e
    try:
        tables = parse_toml(text)
    except ValueError as e:
        raise InputError(f"{path} is no TOML file: {e}. Correct it or move it away.") from e
    return {check_name(name): check(name, table, str(path)) for name, table in tables.items()}


def check(name: str, table: Any, where: str) -> Connection:
    """The connection that these settings mean. Raises InputError, saying what is wrong and in which file."""
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: '{name}' is no table. A connection begins with [its name].")
    secret = next((k for k in table if any(word in k.lower() for word in _SECRETS)), None)
    if secret is not None:
        raise InputError(
            f"{where}, [{name}]: '{secret}' does not belong into a file. Delete it there, and call "
            f"'napari-brainseg pacs login {name}', which keeps it in the system's keyring."
        )
    if table.get("kind") not in ("dicomweb", "dimse"):
        raise InputError(f'{where}, [{name}]: kind is "dicomweb" or "dimse".')
    try:
        return _any.validate_python(dict(table))
    except ValidationError as e:
        wrong = e.errors()[0]
        key = next((str(part) for part in reversed(wrong["loc"]) if part not in ("dicomweb", "dimse")), "")
        said = {"missing": "is missing", "extra_forbidden": "is no such setting"}.get(
            wrong["type"], wrong["msg"].removeprefix("Value error, ")
        )
        raise InputError(f"{where}, [{name}]: {f'{key}: ' if key else ''}{said}.") from e


def find(name: str) -> Connection:
    """The connection of that name. Raises InputError where there is none."""
    known = read()
    if name not in known:
        there = f"There are: {', '.join(known)}." if known else "None is set up yet."
        raise InputError(f"There is no connection '{name[:60]}' in {file()}. {there}")
    return known[name]


def save(connections: Mapping[str, Connection]) -> None:
    """Write the file anew, for the user alone. Raises OutputError."""
    blocks = []
    for name, connection in connections.items():
        settings = connection.model_dump(exclude_defaults=True) | {"kind": connection.kind}
        lines = [
            f"{k} = {json.dumps(v, ensure_ascii=False)}"
            for k, v in sorted(settings.items(), key=lambda i: i[0] != "kind")
        ]
        blocks.append("\n".join([f"[{check_name(name)}]", *lines]) + "\n")
    private_folder(file().parent)
    with atomic(file(), private=True) as part:
        part.write_text("\n".join(blocks), encoding="utf-8")
