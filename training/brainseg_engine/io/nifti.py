"""NIfTI-1 and NIfTI-2 single files, plain or gzip-compressed, read and written through memory.

isal (un)compresses several times faster than zlib and frees the interpreter meanwhile, so that four files are read by
four threads. The header is nibabel's; the voxels are not copied after decompression.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.io.gzipped import MAGIC, inflated
from brainseg_engine.io.image import (
    MOST_BYTES,
    Header,
    Image,
    cut_short,
    read_bytes,
    require_size,
    three_axes,
    unreadable,
)

_HEADERS = {348: (nibabel.Nifti1Header, b"n+1\x00", 344), 540: (nibabel.Nifti2Header, b"n+2\x00", 4)}
_ISAL: Any = IsalError  # isal's stubs call its exception an instance
_DAMAGED: Any = (OSError, IsalError)
_FARTHEST = 1e9
"""No number of an affine is larger, in whatever unit."""
_FLAT = 1e-13
"""Voxels of less volume, in whatever unit, are none: some 0.05 micron a side in metres."""
_AGAIN = "Copy or download it again."
_PLACE = (
    "dim_info", "pixdim", "slice_start", "slice_end", "slice_code", "slice_duration", "toffset", "xyzt_units",
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_UNITS_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
"""NIfTI's codes for metre, mm and micron."""
_UNCALIBRATED = b"voxel sizes are not known"
"""The description in a file whose grid is not calibrated. The unit "unknown" alone does not tell: many files in mm have it."""


def read(path: Path) -> Image:
    """The image in a ``.nii`` or ``.nii.gz`` file; the file's data type is kept unless it is scaled (then float32)."""
    data, header = _read(path)
    return image_of(three_axes(data, path), header, path)


def read_channels(path: Path) -> Image:
    """As :func:`read`, of an image with four axes: ``data`` is (X, Y, Z, channels)."""
    data, header = _read(path)
    if data.ndim != 4 or min(data.shape[:3]) < 2:
        size = "×".join(str(n) for n in data.shape)
        raise InputError(
            f"{path} has {data.ndim} axes ({size}), and an image of several channels has four. Give the right file."
        )
    return image_of(data, header, path)


def read_header(path: Path) -> Header:
    """The header alone, without the voxels. Raises InputError where it cannot be read."""
    try:
        with plain.opened(path) as f:
            packed = f.read(len(MAGIC)) == MAGIC
            f.seek(0)
            raw = igzip.GzipFile(fileobj=f).read(max(_HEADERS)) if packed else f.read(max(_HEADERS))
    except EOFError as e:
        raise InputError(f"{path} is cut short: its gzip stream ends too early. {_AGAIN}") from e
    except FileNotFoundError as e:
        raise unreadable(path, e) from e
    except _DAMAGED as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise unreadable(path, e) from e
        raise InputError(f"{path} is damaged: its gzip stream cannot be decompressed ({e}). {_AGAIN}") from e
    header = _header(raw, path)
    dtype, shape, _ = layout(header, path)
    require_size(shape, dtype.itemsize, path)
    return placed_header(header, shape, path)


def placed_header(header: Any, shape: tuple[int, ...], path: Path) -> Header:
    """What the header, whose voxels have that ``shape``, tells of an image. Raises InputError where it tells no place."""
    affine, note = affine_of(header)
    if affine is None:
        raise _no_sizes(path)
    return header_of(shape, affine, note, not _uncalibrated(header))


def header_of(shape: tuple[int, ...], affine: Affine, note: str, calibrated: bool) -> Header:
    """The record of an image of that shape, whose trailing axes of length 1 are dropped and further ones are channels."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return Header(shape[:3], affine, int(np.prod(shape[3:], dtype=object)), note, calibrated)


def _read(path: Path) -> tuple[NDArray[Any], Any]:
    raw = read_bytes(path)
    packed = _is_packed(raw, path)
    header = _header(inflated(raw, max(_HEADERS), path, whole=False) if packed else raw, path)
    dtype, shape, offset = layout(header, path)
    if packed:
        raw = inflated(raw, offset + require_size(shape, dtype.itemsize, path) * dtype.itemsize, path)
    return voxels_of(raw, dtype, shape, offset, path), header


def image_of(voxels: NDArray[Any], header: Any, path: Path) -> Image:
    """The image of these stored voxels, scaled as the header tells. Raises InputError where it tells no place."""
    data = _scaled(voxels, header)
    data.setflags(write=False)  # also where it was converted, so that it never depends on the file
    affine, note = affine_of(header)
    if affine is None:
        raise _no_sizes(path)
    return Image(data, affine, header, note, calibrated=not _uncalibrated(header))


def affine_of(header: Any) -> tuple[Affine | None, str]:
    """Voxel → RAS mm as the header tells it, and what had to be guessed, in words.

    Metres and microns become mm; an unknown unit is mm, as nearly every file without one means it.
    The sform counts first, then the qform, then the voxel size alone (which tells no orientation: nibabel's
    convention, x to the left, is taken). None when not even that is usable.
    """
    scale = _mm(header)
    sform, qform = _sform(header, scale), _qform(header, scale)
    shape = tuple(header.get_data_shape()[:3])
    if sform is not None:
        if qform is not None and (apart := Grid(shape, sform).corner_distance(Grid(shape, qform))) > 1.0:
            return sform, f"its sform and qform place the image {apart:.1f} mm apart; the sform is used"
        return sform, ""
    if qform is not None:
        return qform, "its sform is singular; the qform is used" if int(header["sform_code"]) > 0 else ""
    sizes = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64)) * scale
    if not np.isfinite(sizes).all() or sizes.min() <= 0 or sizes.max() > _FARTHEST:
        return None, ""
    clean = nibabel.Nifti1Header()
    clean.set_data_shape(shape)
    clean["pixdim"][1:4] = sizes
    return clean.get_base_affine(), "it has no usable sform or qform, so its orientation and place are only guessed"


def encode(data: NDArray[Any], grid: Grid, header: Any, compress: bool) -> bytes:
    """A whole NIfTI file: ``data`` (X, Y, Z), uint8 or float32, on ``grid``.

    ``header``: nibabel's header whose forms, codes and units are kept (its forms must tell ``grid``), or None. Its free
    texts are not: scanners and converters put names into them.
    """
    new = _without_texts(header, grid) if header is not None else _fresh(grid)
    new.set_data_dtype(data.dtype)
    new.set_data_shape(data.shape)
    new.set_slope_inter(1.0, 0.0)
    new["vox_offset"] = int(new["sizeof_hdr"]) + 4
    voxels = np.asarray(data, dtype=data.dtype.newbyteorder("<")).tobytes(order="F")
    raw: bytes = new.binaryblock + b"\0\0\0\0" + voxels
    return igzip.compress(raw, compresslevel=2, mtime=0) if compress else raw  # a fixed time: equal data, equal files


def _no_sizes(path: Path) -> InputError:
    return InputError(f"{path} tells no voxel size (zero or not a number). Convert it anew from its source.")


def _is_packed(raw: bytes, path: Path) -> bool:
    """Whether it is gzip. Raises InputError when it should be and is not."""
    if raw.startswith(MAGIC):
        return True
    if path.name.lower().endswith(".gz"):
        if _sizeof_hdr(raw) in _HEADERS:
            raise InputError(f"{path} is not gzip-compressed though its name ends in .gz. Rename it to end in .nii.")
        raise InputError(f"{path} is not a gzip file, so it is no .nii.gz image. {_AGAIN}")
    return False


def _sizeof_hdr(raw: bytes) -> int:
    if len(raw) < 4:
        return 0
    return next((n for n in (struct.unpack("<i", raw[:4])[0], struct.unpack(">i", raw[:4])[0]) if n in _HEADERS), 0)


def _header(raw: bytes, path: Path) -> Any:
    size = _sizeof_hdr(raw)
    if raw.startswith(MAGIC):
        raise InputError(
            f"{path} was compressed with gzip twice. Decompress it once (gunzip); what that gives can be read."
        )
    if not size or len(raw) < size:
        raise InputError(f"{path} is no NIfTI image: it does not start with a NIfTI header. {_AGAIN}")
    kind, magic, at = _HEADERS[size]
    if raw[at : at + 4] != magic:
        raise InputError(f"{path} is no single-file NIfTI image (its magic word is {raw[at : at + 4]!r}). Convert it.")
    return kind(raw[:size], check=False)


def layout(header: Any, path: Path, least: int | None = None) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type, shape and place of the voxels, as far as they can be true; ``least``: the first place that they may have (where the
    header ends, unless given). Raises InputError."""
    try:
        dtype, shape = header.get_data_dtype(), header.get_data_shape()
        offset = float(header["vox_offset"])
    except (HeaderDataError, ValueError, KeyError) as e:
        raise InputError(f"{path} has a damaged NIfTI header ({e}). {_AGAIN}") from e
    if dtype.kind not in "iuf" or not dtype.itemsize:
        raise InputError(f"{path} holds {dtype} voxels, and plain numbers are expected. Convert it to a scalar image.")
    if dtype.itemsize > 8:  # 80- and 128-bit floats differ between machines
        raise InputError(f"{path} holds {8 * dtype.itemsize}-bit numbers. Convert it to float32.")
    if not shape or min(shape) < 1:
        raise InputError(f"{path} has a damaged NIfTI header (its shape is {shape}). {_AGAIN}")
    if not -MOST_BYTES <= offset <= MOST_BYTES:  # no number fails too
        raise InputError(f"{path} has a damaged NIfTI header (its voxels begin at {offset:g}). {_AGAIN}")
    return dtype, shape, max(int(offset), int(header["sizeof_hdr"]) if least is None else least)


def voxels_of(raw: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, path: Path) -> NDArray[Any]:
    """The stored voxels in ``raw``, in the machine's byte order. Raises InputError where they are cut short."""
    count = int(np.prod(shape, dtype=object))
    if len(raw) < offset + count * dtype.itemsize:
        raise cut_short(path, max(len(raw) - offset, 0), count * dtype.itemsize)
    data = np.frombuffer(raw, dtype=dtype, count=count, offset=offset)
    native = data.astype(dtype.newbyteorder("="), copy=False)
    return native.reshape(shape, order="F")


def _scaled(data: NDArray[Any], header: Any) -> NDArray[Any]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        return data
    inter = inter if np.isfinite(inter) else 0.0
    if (slope, inter) == (1.0, 0.0):
        return data
    return (data.astype(np.float64) * slope + inter).astype(np.float32)


def _mm(header: Any) -> float:
    """How many mm the header's unit of length is."""
    return _UNITS_MM.get(int(header["xyzt_units"]) & 7, 1.0)


def _sform(header: Any, scale: float) -> Affine | None:
    return _usable(header.get_sform(), scale) if int(header["sform_code"]) > 0 else None


def _qform(header: Any, scale: float) -> Affine | None:
    """As nibabel reads it from a file: a sign of the third axis that is none is 1, negative voxel sizes are positive."""
    if int(header["qform_code"]) <= 0:
        return None
    mended = header.copy()
    mended["pixdim"][1:4] = np.abs(mended["pixdim"][1:4])
    if float(mended["pixdim"][0]) not in (-1.0, 1.0):
        mended["pixdim"][0] = 1
    try:
        return _usable(mended.get_qform(), scale)
    except (HeaderDataError, ValueError):  # a quaternion longer than 1
        return None


def _usable(affine: NDArray[Any], scale: float) -> Affine | None:
    a = np.asarray(affine, dtype=np.float64)
    bounded = np.isfinite(a).all() and np.abs(a).max() < _FARTHEST
    return np.diag([scale, scale, scale, 1.0]) @ a if bounded and abs(np.linalg.det(a[:3, :3])) > _FLAT else None


def _without_texts(header: Any, grid: Grid) -> Any:
    """A header with nothing but where and how large the voxels of the other are."""
    new = type(header)()
    for name in _PLACE:
        new[name] = header[name]
    if not grid.calibrated:
        new["descrip"] = _UNCALIBRATED
    return new.as_byteswapped("<")


def _fresh(grid: Grid) -> Any:
    header = nibabel.Nifti1Header()
    header.set_data_shape(grid.shape)
    header.set_sform(grid.affine, code=1)
    header.set_qform(grid.affine, code=1, strip_shears=True)
    header.set_xyzt_units("mm" if grid.calibrated else "unknown", "sec")
    if not grid.calibrated:
        header["descrip"] = _UNCALIBRATED
    return header


def _uncalibrated(header: Any) -> bool:
    return bytes(header["descrip"].item()) == _UNCALIBRATED and header.get_xyzt_units()[0] == "unknown"
