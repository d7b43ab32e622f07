"""What a compressed frame tells of itself, before a decoder in C believes it: a damaged size costs gigabytes.

Only the first markers are read (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2, 15444-1 A.5.1).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_NO_FRAME = {0xC4, 0xC8, 0xCC}  # tables between those of frames
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_J2K = b"\xff\x4f\xff\x51"
_REACH = 1 << 20


@dataclass(frozen=True)
class Codestream:
    """Rows, columns and components of a frame."""

    rows: int
    columns: int
    components: int


def size_of(stream: bytes) -> Codestream | None:
    """The size that the header of a JPEG, JPEG-LS or JPEG 2000 codestream gives; None for a damaged one."""
    try:
        at = stream.find(_J2K, 0, _REACH)
        if at >= 0 and (at == 0 or stream[4:8] == b"jP  "):
            x, y, left, top = struct.unpack_from(">4I", stream, at + 8)
            (components,) = struct.unpack_from(">H", stream, at + 40)
            return Codestream(y - top, x - left, components)
        if stream[:2] != b"\xff\xd8":
            return None
        return _jpeg(stream)
    except (struct.error, IndexError):
        return None


def _jpeg(stream: bytes) -> Codestream | None:
    at = 2
    while True:
        while stream[at] != 0xFF:
            return None
        while stream[at] == 0xFF:  # markers may be filled up with these
            at += 1
        marker = stream[at]
        at += 1
        if marker in _ALONE:
            continue
        (length,) = struct.unpack_from(">H", stream, at)
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME):
            _, rows, columns, components = struct.unpack_from(">BHHB", stream, at + 2)
            return Codestream(rows, columns, components)
        if marker in (0xDA, 0xD9) or length < 2:  # the scan begins, and no frame was told
            return None
        at += length
