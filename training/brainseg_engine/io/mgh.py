"""FreeSurfer's volumes (``.mgz``, ``.mgh``). The header is nibabel's; the voxels are big-endian and follow it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.io.gzipped import MAGIC, inflated
from brainseg_engine.io.image import Header, Image, cut_short, read_bytes, require_size, three_axes, unreadable

_HEAD = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_AGAIN = "Copy or download it again."
_GUESSED = "it does not tell its orientation; FreeSurfer's (coronal) was taken"


def read(path: Path) -> Image:
    """The image in the file, in its own data type. Raises InputError."""
    raw = read_bytes(path)
    packed = raw.startswith(MAGIC)
    head, dtype, shape = _header(inflated(raw, _HEAD, path, whole=False) if packed else raw, path)
    need = require_size(shape, dtype.itemsize, path) * dtype.itemsize
    if packed:
        raw = inflated(raw, _HEAD + need, path)
    if len(raw) < _HEAD + need:
        raise cut_short(path, max(len(raw) - _HEAD, 0), need)
    data = np.frombuffer(raw, dtype, need // dtype.itemsize, _HEAD).astype(dtype.newbyteorder("="))
    data = three_axes(data.reshape(shape, order="F"), path)
    data.setflags(write=False)
    return Image(data, head.affine, note=head.note)


def read_header(path: Path) -> Header:
    """The header alone, without the voxels. Raises InputError."""
    try:
        with plain.opened(path) as f:
            raw = f.read(2**16)
    except OSError as e:
        raise unreadable(path, e) from e
    return _header(inflated(raw, _HEAD, path, whole=False) if raw.startswith(MAGIC) else raw, path)[0]


def _header(raw: bytes, path: Path) -> tuple[Header, np.dtype[Any], tuple[int, ...]]:
    if len(raw) < _HEAD or raw[:4] != b"\0\0\0\1":
        raise InputError(f"{path} is no FreeSurfer volume: it does not start with such a header. {_AGAIN}")
    header: Any = MGHHeader(raw[:_HEAD], check=False)
    kind, frames = int(header["type"]), int(header["dims"][3])
    if kind not in _TYPES:
        raise InputError(f"{path} holds voxels of a kind that is not read (type {kind}). Convert it to .nii.gz.")
    dtype = np.dtype(_TYPES[kind])
    shape = tuple(int(n) for n in header["dims"][: 4 if frames != 1 else 3])
    require_size(shape, dtype.itemsize, path)
    affine: NDArray[Any] = np.asarray(header.get_affine(), dtype=np.float64)
    if not np.isfinite(affine).all() or np.abs(affine).max() > 1e9 or abs(np.linalg.det(affine[:3, :3])) < 1e-13:
        raise InputError(f"{path} tells no voxel size (zero or not a number). Convert it anew from its source.")
    has_geometry = int.from_bytes(raw[28:30], "big", signed=True) > 0
    return Header(shape[:3], affine, frames, "" if has_geometry else _GUESSED), dtype, shape
