"""How `fuzz.py` spoils what it gives to a door, and the door itself."""

from __future__ import annotations

import json
import random

ODD = [
    0, 1, -1, 2**31, -(2**31), 2**63, 10**18, 1e308, -1e308, 1e-308, 0.1, True, False, None, "", "x", "..", "../..",
    "/etc/passwd", "/", "\x00", "\x1b[2J", "\ud800", "[/]", "x" * 300, "x" * 100_000, [], {}, [[]], {"a": {}}, [0] * 1000, "NaN",
    "2020-01-01T00:00:00Z", "00" * 32,
]  # fmt: skip
WORDS = [b"9" * 5000, b"-1", b"nan", b"inf", b"1e999", b"[" * 100_000, b'{"a":' * 50_000, b"\x00" * 64, b"\xff" * 8, b"\n", b'"',
         b"=", b"NDims = 1000\n", b"../", b"2147483647", b"1e-30"]  # fmt: skip


refused: list[str] = []


def door(act, *args, also: type[Exception] = Exception, **kwargs):  # type: ignore[no-untyped-def]
    """Call it; what it refuses in words is a refusal, what it raises otherwise a failure."""
    from brainseg_engine.core.errors import BrainsegError

    try:
        return act(*args, **kwargs)
    except BrainsegError as e:
        assert len(str(e)) < 5000, "a sentence of more than 5000 characters"
        refused.append(str(e))
    except Exception as e:
        if also is Exception or not isinstance(e, also):
            raise
        refused.append(str(e))
    return None


def bytes_changed(raw: bytes, r: random.Random, most: int | None = None) -> bytes:
    """A few bytes, runs or words of it are others; ``most``: within the first bytes alone."""
    out = bytearray(raw)
    for _ in range(r.choice((1, 1, 2, 4, 16))):
        reach = max(min(len(out), most or len(out)), 1)
        at = r.randrange(reach)
        match r.randrange(6):
            case 0 | 1:
                out[at : at + 1] = bytes([r.randrange(256)])
            case 2:
                out[at : at + r.choice((2, 4, 8))] = r.choice(
                    (b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", r.randbytes(4))
                )
            case 3:
                out[at : at + r.randrange(1, 40)] = r.choice(WORDS)
            case 4:
                del out[at : at + r.randrange(1, 60)]
            case 5 if r.random() < 0.3:
                del out[at:]
    return bytes(out)


def value_changed(value: object, r: random.Random) -> object:
    """A JSON value in which something, somewhere, is something else."""
    if isinstance(value, dict) and value and r.random() < 0.85:
        out = dict(value)
        key = r.choice(list(out))
        match r.randrange(5):
            case 0:
                del out[key]
            case 1:
                out[str(r.choice(ODD))[:1000]] = out[key]
            case _:
                out[key] = value_changed(out[key], r)
        return out
    if isinstance(value, list) and value and r.random() < 0.7:
        at = r.randrange(len(value))
        return [*value[:at], value_changed(value[at], r), *value[at + 1 :]]
    return r.choice(ODD)


def json_changed(raw: bytes, r: random.Random) -> bytes:
    if r.random() < 0.35:
        return bytes_changed(raw, r)
    value = json.loads(raw)
    for _ in range(r.choice((1, 1, 2, 3))):
        value = value_changed(value, r)
    return json.dumps(value).encode()
