"""Values of DICOM elements as plain text and numbers, whatever is wrong with them: an absent, empty or broken value is none."""

from __future__ import annotations

import math
import struct
from typing import Any

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_ESCAPE = b"\x1b"
"""Begins a character of more than a byte (ISO 2022, as in Japan and Korea), the others of which may look like ASCII."""
_ASCII = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"}


def text(dataset: Any, tag: int) -> str:
    """The element's value as text without padding; several values stay joined by a backslash; "" for none."""
    try:
        element = dataset.get_item(tag)
        if element is None or element.value is None:
            return ""
        value = element.value
        if isinstance(value, bytes):
            if element.VR in _ASCII or (value.isascii() and _ESCAPE not in value):
                return value.decode("ascii", "replace").strip(" \0\t\r\n")
            value = dataset[tag].value  # the character set counts
        if isinstance(value, str):
            return value.strip(" \0")
        return "\\".join(str(v).strip() for v in value) if hasattr(value, "__iter__") else str(value)
    except Exception:  # a header may hold anything: a value that cannot be decoded is none
        return ""


def texts(dataset: Any, tag: int) -> tuple[str, ...]:
    """The element's values as text."""
    whole = text(dataset, tag)
    return tuple(v.strip() for v in whole.split("\\")) if whole else ()


def numbers(dataset: Any, tag: int) -> tuple[float, ...]:
    """The element's values as numbers; () where any of them is none, or not finite."""
    try:
        element = dataset.get_item(tag)
        if element is None or element.value is None:
            return ()
        value = element.value
        if isinstance(value, bytes) and element.VR in _BINARY:
            kind = _BINARY[element.VR]
            order = "<" if element.is_little_endian else ">"
            raw_values: Any = struct.unpack(f"{order}{len(value) // struct.calcsize(kind)}{kind}", value)
        elif isinstance(value, bytes) and element.VR not in _ASCII:
            decoded = dataset[tag].value  # implicit VR: the dictionary knows
            if isinstance(decoded, bytes):
                decoded = decoded.decode("ascii").strip(" \0").split("\\")
            raw_values = decoded if hasattr(decoded, "__iter__") and not isinstance(decoded, str) else [decoded]
        elif isinstance(value, bytes):
            raw_values = value.decode("ascii").replace(",", ".").strip(" \0").split("\\")
        else:
            raw_values = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        values = tuple(float(v) for v in raw_values)
    except Exception:  # as above
        return ()
    return values if all(map(math.isfinite, values)) else ()


def number(dataset: Any, tag: int) -> float | None:
    """The element's first value as a number; None where there is none."""
    several = numbers(dataset, tag)
    return several[0] if several else None
