"""The text header and the voxels of a MetaImage, with bounds.

ITK's own reader believes the header and dies of a wrong one (``NDims = -1``), with the whole process. Here every field that
it knows is checked before it sees the file (names and forms: https://itk.org/Wiki/MetaIO/Documentation).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.names import inside
from brainseg_engine.io.image import cut_short, require_size, unreadable

_ISAL: Any = isal_zlib.error  # isal's stubs call its exception an instance
_HEAD = 65536  # a header is text of a few hundred bytes
_MOST_FIELDS, _LONGEST = 200, 1000
_AGAIN = "Copy or download it again."
_TYPES: Mapping[str, str] = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
_PLACES = ("Offset", "Position", "Origin", "CenterOfRotation")
_SPACINGS = ("ElementSpacing", "ElementSize")
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_UNITS_MM: Mapping[str, float] = {"um": 1e-3, "cm": 10.0}
"""``DistanceUnits`` other than mm; "?" and absent are mm by the format's documentation."""
_BIG_ENDIAN = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_WORDS = ("ObjectType", "ObjectSubType", "Comment", "Name", "AnatomicalOrientation", "DistanceUnits", "Modality")


@dataclass(frozen=True)
class MetaImageHeader:
    """What the header tells: ``shape`` with x first, ``begin`` where the voxels lie in ``file``, ``packed`` their bytes
    there when they are compressed, else None; ``unit_mm`` the unit of its sizes and places."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channels: int
    begin: int
    packed: int | None
    file: Path
    unit_mm: float = 1.0


def read_header(path: Path) -> MetaImageHeader:
    """The header, checked: nothing in it misleads a reader. Raises InputError."""
    try:
        with plain.opened(path) as f:
            head = f.read(_HEAD)
            held = f.seek(0, 2)
    except OSError as e:
        raise unreadable(path, e) from e
    text, mark, rest = head.partition(b"ElementDataFile")
    if not mark or b"NDims" not in text:
        raise InputError(f"{path} is no MetaImage: it does not start with such a header. {_AGAIN}")
    where, newline, _ = rest.partition(b"\n")
    file, begin = path, len(text) + len(mark) + len(where) + 1
    if where.strip(b" =\r").upper() != b"LOCAL" or not newline:
        file, begin = _beside(path, where.strip(b" =\r")), 0
        try:
            held = file.stat().st_size
        except OSError as e:
            raise unreadable(file, e) from e
    try:
        return _checked(_fields(text), begin, held, path, file)
    except (ValueError, KeyError, OverflowError) as e:
        raise InputError(f"{path} has a damaged header ({e}). {_AGAIN}") from e


def read_voxels(path: Path, head: MetaImageHeader) -> NDArray[Any]:
    """(X, Y, Z, …) of one channel, in the machine's byte order. Raises InputError for what is damaged or cut short."""
    count = math.prod(head.shape)
    need = count * head.dtype.itemsize
    try:
        with plain.opened(head.file) as f:
            f.seek(head.begin)
            raw = f.read(need if head.packed is None else head.packed)
    except OSError as e:
        raise unreadable(path, e) from e
    if head.packed is not None:
        try:
            stream = isal_zlib.decompressobj()
            raw = stream.decompress(raw, need + 1)
        except _ISAL as e:
            raise InputError(f"{path} is damaged: its voxels cannot be decompressed ({e}). {_AGAIN}") from e
        if len(raw) > need:
            raise InputError(f"{path} is damaged: it holds more voxels than its header tells. {_AGAIN}")
    if len(raw) < need:
        raise cut_short(path, len(raw), need)
    data = np.frombuffer(raw, head.dtype, count)
    return data.astype(head.dtype.newbyteorder("="), copy=False).reshape(head.shape, order="F")


def _beside(path: Path, name: bytes) -> Path:
    """The file of the voxels of a ``.mhd``: one name, in the header's own folder. Raises InputError for any other."""
    single = path.suffix.lower() == ".mhd" and b"%" not in name and name.upper() != b"LIST"
    try:
        if single:
            return inside(path.parent, name.decode())
    except ValueError:
        single = False
    where = "another file" if path.suffix.lower() != ".mhd" else "several files, or in another folder"
    raise InputError(f"{path} keeps its voxels in {where}. Convert it to .nii.gz or to a single .mha file.")


def _fields(text: bytes) -> dict[str, str]:
    """Raises ValueError for lines that are no fields, and for a field given twice: readers differ in which one they take."""
    fields: dict[str, str] = {}
    for line in text.decode("latin-1").splitlines():
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]{1,80}", name):
            raise ValueError(f"'{line[:40]}' is no field")
        if name in fields:
            raise ValueError(f"{name} stands there twice")
        if len(value) > _LONGEST or "\0" in value:
            raise ValueError(f"the value of {name} is no text of a header")
        fields[name] = value
    if len(fields) > _MOST_FIELDS:
        raise ValueError(f"it has {len(fields)} fields")
    return fields


def _checked(fields: Mapping[str, str], begin: int, held: int, path: Path, file: Path) -> MetaImageHeader:
    n = _whole(fields["NDims"], 1, 4, "NDims")
    shape = tuple(_whole(word, 1, 2**31 - 1, "DimSize") for word in _words(fields["DimSize"], n, "DimSize"))
    if fields.get("ObjectType", "Image").lower() != "image":
        raise ValueError(f"it is a {fields['ObjectType'][:20]}, no image")
    kind = fields["ElementType"]
    if kind not in _TYPES:
        raise ValueError(f"ElementType is {kind[:20]}")
    channels = _whole(fields.get("ElementNumberOfChannels", "1"), 1, 64, "ElementNumberOfChannels")
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if any(_yes(fields, k) for k in _BIG_ENDIAN) else "<")
    count = require_size((*shape, channels), dtype.itemsize, path)
    if "BinaryData" in fields and not _yes(fields, "BinaryData"):
        raise ValueError("its voxels are written as text")
    if _whole(fields.get("HeaderSize", "0"), -1, 2**31, "HeaderSize") != 0:
        raise ValueError("HeaderSize is for voxels in another file")
    _require_numbers(fields, n)
    room, packed = held - begin, None
    if _yes(fields, "CompressedData"):
        packed = _whole(fields.get("CompressedDataSize", str(room)), 0, 2**40, "CompressedDataSize")
        if packed > room:
            raise cut_short(path, max(room, 0), packed)
    elif room < count * dtype.itemsize:
        raise cut_short(path, max(room, 0), count * dtype.itemsize)
    unit = _UNITS_MM.get(fields.get("DistanceUnits", "").lower(), 1.0)
    return MetaImageHeader(shape, dtype, channels, begin, packed, file, unit)


def _require_numbers(fields: Mapping[str, str], n: int) -> None:
    """Every list of numbers that ITK reads by the number of axes has that many, and no number is out of bounds."""
    table: tuple[tuple[tuple[str, ...], int, Callable[[float], bool]], ...] = (
        (_PLACES, n, lambda v: abs(v) < 1e9),
        (_SPACINGS, n, lambda v: 1e-6 < abs(v) < 1e6),
        (_MATRICES, n * n, lambda v: abs(v) < 1e3),
    )
    for names, count, fits in table:
        for name in names:
            if name in fields and not all(fits(float(word)) for word in _words(fields[name], count, name)):
                raise ValueError(f"{name} is {fields[name][:60]}")
    for name in _WORDS:
        if len(fields.get(name, "")) > 250:
            raise ValueError(f"{name} is longer than readers take")


def _words(value: str, count: int, name: str) -> list[str]:
    words = value.split()
    if len(words) != count:
        raise ValueError(f"{name} has {len(words)} numbers, not {count}")
    return words


def _whole(word: str, low: int, high: int, name: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,19}", word) or not low <= int(word) <= high:
        raise ValueError(f"{name} is {word[:30]}")
    return int(word)


def _yes(fields: Mapping[str, str], name: str) -> bool:
    word = fields.get(name, "False").lower()
    if word not in ("true", "false", "1", "0", "t", "f", "yes", "no"):
        raise ValueError(f"{name} is {word[:20]}")
    return word[0] in "t1y"
