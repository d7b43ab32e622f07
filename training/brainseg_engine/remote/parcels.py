"""What goes over the connection: a line of JSON, and after it the arrays that the line names, compressed.

``{…, "arrays": {NAME: {"dtype": "<f4", "shape": [240, 240, 155], "digest": HEX, "bytes": N}}}`` is followed by N bytes (zlib)
of each, in that order. Where ``bytes`` is absent, the other side has the array from the parcel before.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from brainseg_engine.core.records import count_of, dumps, parse_json, text_of

MOST_LINE = 8 * 2**20
MOST_BYTES = 64 * 2**30
CHUNK = 2**18
_LEVEL = 1  # a whole study of 143 MB: 0.1 s and 5 to 18 times smaller; higher levels gain nothing
_KINDS = "buif"
_ISAL: Any = IsalError  # isal's stubs call its exception an instance

Sent = Callable[[float], None]
"""Called with the part (0…1) that has gone."""


class Reads(Protocol):
    """A binary pipe to read from."""

    def readline(self, limit: int, /) -> bytes:
        """A line, or what there is of it."""

    def read(self, size: int, /) -> bytes:
        """As many bytes; fewer at the end."""


class Writes(Protocol):
    """A binary pipe to write to."""

    def write(self, data: bytes, /) -> Any:
        """Write all."""

    def flush(self) -> None:
        """Have it go."""


@dataclass(frozen=True, eq=False)
class Parcel:
    """JSON fields, and arrays by name. ``digests``: of the arrays."""

    fields: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


class Damaged(ValueError):
    """What came is no parcel."""


def digest(array: NDArray[Any]) -> str:
    """Of what the array holds."""
    return hashlib.blake2b(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, digest_size=16).hexdigest()


def write(
    pipe: Writes,
    fields: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]] | None = None,
    known: Collection[str] = (),
    sent: Sent = lambda _: None,
) -> set[str]:
    """Send them; of the arrays those alone whose digests are not ``known``. The digests of all. Raises OSError."""
    heads: dict[str, dict[str, Any]] = {}
    bodies: list[bytes] = []
    for name, array in (arrays or {}).items():
        data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        heads[name] = {"dtype": data.dtype.str, "shape": list(data.shape), "digest": digest(data)}
        if heads[name]["digest"] not in known:
            bodies.append(isal_zlib.compress(data.reshape(-1).view(np.uint8).data, _LEVEL))
            heads[name]["bytes"] = len(bodies[-1])
    pipe.write(dumps({**fields, **({"arrays": heads} if heads else {})}).encode() + b"\n")
    whole, gone = sum(map(len, bodies)), 0
    for body in bodies:
        for at in range(0, len(body), CHUNK):
            pipe.write(body[at : at + CHUNK])
            gone += len(body[at : at + CHUNK])
            sent(gone / whole)
    pipe.flush()
    return {head["digest"] for head in heads.values()}


def read(
    pipe: Reads, known: Mapping[str, NDArray[Any]] | None = None, heard: Callable[[], None] = lambda: None
) -> Parcel:
    """The next parcel; ``known``: digest → an array that came before; ``heard`` is called as bytes come.

    Raises EOFError at the end, Damaged for what is no parcel.
    """
    line = pipe.readline(MOST_LINE)
    if not line.endswith(b"\n"):
        raise EOFError
    heard()
    try:
        fields = parse_json(line)
        heads = {text_of(name): _head(head) for name, head in fields.pop("arrays", {}).items()}
    except (ValueError, AttributeError, TypeError, KeyError) as e:
        raise Damaged(f"not a parcel: {line[:120]!r}") from e
    arrays = {}
    for name, (dtype, shape, mark, size) in heads.items():
        if size is not None:
            arrays[name] = _unpacked(_body(pipe, size, heard), dtype, shape)
        elif known is not None and mark in known:
            arrays[name] = known[mark]
        else:
            raise Damaged(f"the array '{name}' did not come before")
    return Parcel(fields, arrays, {name: head[2] for name, head in heads.items()})


def _head(head: Mapping[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...], str, int | None]:
    dtype = np.dtype(text_of(head["dtype"], 8))
    shape = tuple(count_of(n, 0, 2**31) for n in head["shape"])
    if dtype.kind not in _KINDS or len(shape) > 8 or math.prod(shape) * dtype.itemsize > MOST_BYTES:
        raise ValueError("an array that no study has")
    size = count_of(head["bytes"], 0, MOST_BYTES) if "bytes" in head else None
    return dtype, shape, text_of(head["digest"], 64), size


def _body(pipe: Reads, size: int, heard: Callable[[], None]) -> bytes:
    parts = []
    while size:
        part = pipe.read(min(size, CHUNK))
        if not part:
            raise EOFError
        heard()
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _unpacked(body: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    try:
        stream = isal_zlib.decompressobj()
        data = stream.decompress(body, expected + 1)
    except _ISAL as e:
        raise Damaged(f"an array came damaged: {e}") from e
    if len(data) != expected:
        raise Damaged(f"an array of {expected} bytes came with {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape)
