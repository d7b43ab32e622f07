"""JSON and TOML from files: one door in, with bounds, and one door out.

What is read may come from anybody: it is bounded in size and depth, and its numbers are numbers. What is written holds any
file name of this machine, also one that is no UTF-8 (its bytes become JSON escapes and come back as they were).
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain

MOST_BYTES = 64 * 2**20
MOST_DEPTH = 64
MOST_TOML = 2**20
_DIGITS = 19
_LONG_KEY = re.compile(r"""(?<!["'\w-])(?>["'\w-]++[ \t]*+\.[ \t]*+){64}""")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json(path: Path, *, most: int = MOST_BYTES) -> Any:
    """The content of a JSON file. Raises OSError, ValueError."""
    return parse_json(plain.read(path, most))


def read_object(path: Path, *, most: int = MOST_BYTES) -> dict[str, Any]:
    """The JSON object in that file. Raises OSError, ValueError for any other content too."""
    content = read_json(path, most=most)
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text. Raises ValueError: damaged, nested too deeply, or with numbers out of all bounds.

    ``finite`` refuses what JSON does not know and Python writes all the same: NaN and infinity.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")  # Windows' editors begin a file with a mark
        value = json.loads(text, parse_int=_int, parse_float=_float if finite else float,
                           parse_constant=_constant if finite else float)  # fmt: skip
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e
    _require_bounded(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text. Raises ValueError."""
    if len(text) > MOST_TOML:
        raise ValueError(f"it has more than {MOST_TOML} characters")
    if _LONG_KEY.search(text):  # the parser needs the square of its length
        raise ValueError("it is nested too deeply")
    try:
        tree = tomllib.loads(text)
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e
    _require_bounded(tree)
    return tree


def dumps(value: Any, *, indent: int | None = None, finite: bool = False) -> str:
    """JSON text of any value: text that is no Unicode is escaped, so that the result can be encoded. Raises ValueError
    for NaN where ``finite``."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str, allow_nan=not finite)
    return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def write_json(path: Path, value: Any, *, indent: int | None = 1, private: bool = False) -> None:
    """Write a JSON file, whole or not at all. Raises OutputError."""
    from brainseg_engine.core.paths import atomic

    with atomic(path, private=private) as part:
        part.write_text(dumps(value, indent=indent) + "\n", encoding="utf-8")


def text_of(value: object, most: int = 10_000) -> str:
    """The text, as a field of a record: raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"text is expected, not {str(value)[:40]!r}")
    return value


def number_of(value: object, low: float = -1e15, high: float = 1e15) -> float:
    """The number, within its bounds. Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"a number from {low:g} to {high:g} is expected, not {str(value)[:40]!r}")
    return float(value)


def count_of(value: object, low: int = 0, high: int = 10**15) -> int:
    """The whole number, within its bounds. Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"a whole number from {low} to {high} is expected, not {str(value)[:40]!r}")
    return value


def _int(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number too large")
    return value


def _constant(word: str) -> float:
    raise ValueError(f"'{word}' is no number")


def _require_bounded(value: Any) -> None:
    level = [value]
    for _ in range(MOST_DEPTH):
        if any(isinstance(v, int) and not -(2**64) < v < 2**64 for v in level):
            raise ValueError("a number too large")
        level = [inner for v in level if isinstance(v, dict | list)
                 for inner in (v.values() if isinstance(v, dict) else v)]  # fmt: skip
        if not level:
            return
    raise ValueError("it is nested too deeply")
