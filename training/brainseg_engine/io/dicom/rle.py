"""RLE frames, one segment after the other: the decoder for whole frames ends the program where a segment is damaged.

DICOM PS3.5 annex G: a header of 16 numbers, then one PackBits segment for each byte of a pixel, the highest first.
"""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_HEADER = 64


def decoded(stream: bytes, rows: int, columns: int, kind: np.dtype[np.generic]) -> NDArray[np.generic]:
    """The frame (rows, columns) of that integer type, one sample a pixel. Raises ValueError for a damaged one, ImportError."""
    from rle.rle import decode_segment

    size, planes = rows * columns, kind.itemsize
    if len(stream) < _HEADER or size < 1:
        raise ValueError("no header")
    count, *offsets = struct.unpack_from("<16I", stream)
    bounds = [*offsets[:planes], len(stream)]
    if count != planes or bounds[0] != _HEADER:
        raise ValueError("another number of segments")
    whole = np.empty((size, planes), dtype=np.uint8)
    for n, (begin, end) in enumerate(pairwise(bounds)):
        if not 0 < end - begin <= 2 * size + _HEADER:  # a run of one is two bytes; more would only cost memory
            raise ValueError("a segment of no such length")
        plane = decode_segment(stream[begin:end])
        if len(plane) < size:
            raise ValueError("a segment that ends too early")
        whole[:, n] = np.frombuffer(plane, dtype=np.uint8, count=size)
    return whole.view(kind.newbyteorder(">")).reshape(rows, columns).astype(kind)
