"""NRRD (``.nrrd``), the format of 3D Slicer: one file, its voxels raw or gzip-compressed.

pynrrd reads the text of the header, after bounds were set; the voxels are read here, and inflated no further than the
header tells (http://teem.sourceforge.net/nrrd/format.html).
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip_lib
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Affine
from brainseg_engine.io.image import Header, Image, require_size, three_axes, unreadable

_HEAD = 65536
_MOST_SEGMENTS = 1000
_AGAIN = "Copy or download it again."
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"), "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "int16", "int16_t"), "u2": ("ushort", "unsigned short", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"), "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "int64", "int64_t"), "u8": ("ulonglong", "unsigned long long", "uint64", "uint64_t"),
    "f4": ("float",), "f8": ("double",),
}  # fmt: skip
_UNITS = {"m": 1000.0, "cm": 10.0, "um": 1e-3, "\N{MICRO SIGN}m": 1e-3, "micron": 1e-3, "microns": 1e-3}
"""Millimetres of a unit of space; of others and of none it is one."""
_TO_RAS = {
    "left-posterior-superior": (-1.0, -1.0, 1.0), "lps": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0), "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0), "las": (-1.0, 1.0, 1.0),
}  # fmt: skip
_DAMAGED: Any = (ValueError, KeyError, TypeError, IndexError, OverflowError, UnicodeError)


def read(path: Path) -> Image:
    """The image in a ``.nrrd`` file, in its own data type. Raises InputError."""
    fields, begin = _fields(path)
    header, axis = _header(fields, path)
    if header.channels != 1:
        raise InputError(f"{path} holds several numbers per voxel. Split it into one file per series and give those.")
    data = _voxels(fields, begin, path)
    data = three_axes(data if axis is None else np.take(data, 0, axis), path)
    data.setflags(write=False)
    return Image(data, header.affine, note=header.note, calibrated=header.calibrated)


def read_header(path: Path) -> Header:
    """The header alone, without the voxels. Raises InputError."""
    return _header(_fields(path)[0], path)[0]


@dataclass(frozen=True)
class Segment:
    """One segment of a Slicer segmentation: it is where its ``layer`` has its ``value``."""

    name: str
    value: int
    layer: int


def read_segments(path: Path) -> tuple[Header, NDArray[Any], list[Segment]]:
    """Of a Slicer segmentation: its grid, the layers (L, X, Y, Z), and the segments. Raises InputError."""
    fields, begin = _fields(path)
    header, axis = _header(fields, path)
    data = _voxels(fields, begin, path)
    layers = data[None] if axis is None else np.moveaxis(data, axis, 0)
    segments = []
    try:
        for i in range(_MOST_SEGMENTS):
            if f"Segment{i}_Name" not in fields and f"Segment{i}_LabelValue" not in fields:
                break
            values = (
                fields.get(f"Segment{i}_{what}", other)
                for what, other in (("Name", ""), ("LabelValue", 1), ("Layer", 0))
            )
            name, value, layer = values
            segments.append(Segment(str(name), int(value), int(layer)))
    except _DAMAGED as e:
        raise InputError(f"{path} has a damaged header: a segment's value is no number. {_AGAIN}") from e
    return header, layers, segments


def _fields(path: Path) -> tuple[dict[str, Any], int]:
    """The header's fields, and where the voxels begin."""
    import nrrd

    try:
        with plain.opened(path) as f:
            head = f.read(_HEAD)
    except OSError as e:
        raise unreadable(path, e) from e
    ends = [head.find(blank) + len(blank) for blank in (b"\n\n", b"\r\n\r\n") if blank in head]
    if not head.startswith(b"NRRD000") or not ends:
        raise InputError(f"{path} is no NRRD image: it does not start with such a header. {_AGAIN}")
    try:
        fields = dict(nrrd.read_header(io.BytesIO(head[: min(ends)])))
    except (nrrd.NRRDError, *_DAMAGED) as e:
        raise InputError(f"{path} has a damaged header. {_AGAIN}") from e
    if "data file" in fields or "datafile" in fields:
        raise InputError(f"{path} keeps its voxels in another file. Convert it to .nii.gz or to a single .nrrd file.")
    if any(int(fields.get(k, 0)) for k in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise InputError(f"{path} skips a part of its voxels, which is not read. Convert it to .nii.gz.")
    return fields, min(ends)


def _header(fields: dict[str, Any], path: Path) -> tuple[Header, int | None]:
    """What the fields tell, and the axis that is none of space (its channels)."""
    try:
        sizes = [int(n) for n in fields["sizes"]]
        domain = _axes_of_space(fields, len(sizes))
        others = [a for a in range(len(sizes)) if a not in domain]
        if len(domain) != 3 or len(others) > 1 or min(sizes) < 1:
            raise InputError(
                f"{path} has {len(domain)} axes in space, and a 3D image has three. Give the whole volume."
            )
        require_size(sizes, 8, path)
        affine, note, calibrated = _affine(fields, domain)
        channels = math.prod(sizes[a] for a in others)
        shape = tuple(sizes[a] for a in domain)
        header = Header(shape, affine, channels, note, calibrated)
        _ = header.grid  # an affine that is none is found here
    except _DAMAGED as e:
        raise InputError(f"{path} has a damaged header: its sizes or directions are none. {_AGAIN}") from e
    return header, others[0] if others else None


def _axes_of_space(fields: dict[str, Any], axes: int) -> list[int]:
    directions = fields.get("space directions")
    if directions is not None:
        return [a for a, v in enumerate(directions) if v is not None and not np.isnan(np.asarray(v, dtype=float)).any()]
    kinds = fields.get("kinds", ["domain"] * axes)
    return [a for a, kind in enumerate(kinds) if kind in ("domain", "space")]


def _affine(fields: dict[str, Any], domain: list[int]) -> tuple[Affine, str, bool]:
    """Index → RAS mm, what had to be guessed in words, and whether voxel sizes are known."""
    affine = np.eye(4)
    space = str(fields.get("space", "")).lower().removesuffix("-time").removesuffix("t")
    note = "" if space in _TO_RAS else "it does not tell its space; left, posterior, superior was taken"
    if "space directions" in fields:
        affine[:3, :3] = np.array([np.asarray(fields["space directions"][a], dtype=np.float64) for a in domain]).T
        affine[:3, 3] = np.asarray(fields.get("space origin", (0, 0, 0)), dtype=np.float64)
        calibrated = True
        units = {str(unit).strip().lower() for unit in fields.get("space units", ())}
        affine[:3] *= _UNITS.get(units.pop(), 1.0) if len(units) == 1 else 1.0
    else:
        sides = np.asarray(fields["spacings"], dtype=np.float64)[domain] if "spacings" in fields else np.ones(3)
        affine[:3, :3] = np.diag(sides)
        note, calibrated = "it tells no directions, so its orientation and place are only guessed", "spacings" in fields
    return np.diag([*_TO_RAS.get(space, (-1.0, -1.0, 1.0)), 1.0]) @ affine, note, calibrated


def _voxels(fields: dict[str, Any], begin: int, path: Path) -> NDArray[Any]:
    kind = next((k for k, names in _TYPES.items() if fields.get("type") in names), None)
    encoding = str(fields.get("encoding", "")).lower()
    if kind is None or encoding not in ("raw", "gzip", "gz"):
        raise InputError(f"{path} has voxels of a kind that is not read. Convert it to .nii.gz.")
    dtype = np.dtype(kind).newbyteorder(">" if fields.get("endian") == "big" else "<")
    shape = tuple(int(n) for n in fields["sizes"])
    need = require_size(shape, dtype.itemsize, path) * dtype.itemsize
    try:
        with plain.opened(path) as f:
            f.seek(begin)
            raw = f.read(need) if encoding == "raw" else _inflated(f.read(), need, path)
    except OSError as e:
        raise unreadable(path, e) from e
    if len(raw) < need:
        raise InputError(f"{path} is damaged or cut short: it holds {len(raw) / need:.0%} of its voxels. {_AGAIN}")
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="), copy=False).reshape(shape, order="F")


def _inflated(packed: bytes, need: int, path: Path) -> bytes:
    broken: Any = (igzip_lib.IsalError, zlib.error)
    try:
        stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        raw: bytes = stream.decompress(packed, need + 1)
    except broken as e:
        raise InputError(f"{path} is damaged: its voxels cannot be decompressed. {_AGAIN}") from e
    if len(raw) > need:
        raise InputError(f"{path} is damaged: it holds more voxels than its header tells. {_AGAIN}")
    return raw
