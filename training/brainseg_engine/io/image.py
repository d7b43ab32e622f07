"""What every reader returns, and the troubles that are the same for all formats."""

from __future__ import annotations

import functools
import hashlib
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.geometry import Affine, Grid

MOST_VOXELS = 2**27
"""Of one file, all channels together: 512×512×512. A head at 0.5 mm has some 80 million."""
MOST_BYTES = 2**30
"""Of its voxels."""
LARGEST_MM, SMALLEST_MM, FINEST_MM, FINEST_CUBE_MM = 1000.0, 1.0, 0.05, 0.15
"""Sides of an image of a head, and of its voxels in one and in all directions, beyond which its header cannot be right: 1 mm
told in cm are 0.1."""
_P = ParamSpec("_P")
_T = TypeVar("_T")


def in_words(read: Callable[_P, _T]) -> Callable[_P, _T]:
    """A reader whose every failure is an InputError: files are damaged in more ways than anybody foresees, and one that
    astonishes a library is one bad file, never the end of the other cases' work. Its first argument is what it reads."""

    @functools.wraps(read)
    def door(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return read(*args, **kwargs)
        except BrainsegError:
            raise
        except OSError as e:
            raise unreadable(Path(e.filename) if isinstance(e.filename, str) else _first(args), e) from e
        except MemoryError as e:
            raise InputError(
                f"{_first(args)} needs more memory than there is. Close other programs, or resample it."
            ) from e
        except Exception as e:
            what = f"{type(e).__name__}: {e}"[:200]
            raise InputError(f"{_first(args)} cannot be read ({what}): it is damaged, or of a kind that is not known. Export it "
                             "again.") from e  # fmt: skip

    return door


def _first(args: Sequence[Any]) -> Path:
    return Path(args[0]) if args and isinstance(args[0], str | Path) else Path("What was given")


def require_size(shape: Sequence[int], itemsize: int, path: Path) -> int:
    """The number of voxels that a header tells. Raises InputError for one that no image of a head has: nothing may be
    allocated on the word of a damaged header."""
    count = 1
    for side in shape:
        count *= int(side)  # Python's own: no number overflows
    if any(side < 1 for side in shape):
        raise InputError(f"{path} has a damaged header: its size is {_times(shape)}. Copy or download it again.")
    if count > MOST_VOXELS or count * itemsize > MOST_BYTES:
        raise InputError(f"{path} tells a size of {_times(shape)} voxels of {8 * itemsize} bits, more than an image of a head "
                         "has. If it is none, it is damaged; else resample it.")  # fmt: skip
    return count


def _times(shape: Sequence[int]) -> str:
    return "×".join(str(n)[:12] for n in shape)


@dataclass(frozen=True)
class Image:
    """One file's voxels ``data`` (X, Y, Z), read-only, and where they are (``affine``: index → RAS mm).

    ``note`` says what about the geometry had to be guessed ("" when nothing); ``header`` is nibabel's, or None.
    ``calibrated`` is False where the file says that nobody knows its voxel sizes.
    """

    data: NDArray[Any]
    affine: Affine
    header: Any = None
    note: str = ""
    calibrated: bool = True

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return Grid(self.data.shape, self.affine, self.calibrated)


@dataclass(frozen=True)
class Header:
    """What a file tells before its voxels. ``shape`` (X, Y, Z); ``channels`` is 1 for an ordinary image; see :class:`Image`."""

    shape: tuple[int, ...]
    affine: Affine
    channels: int = 1
    note: str = ""
    calibrated: bool = True

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return Grid(self.shape, self.affine, self.calibrated)  # type: ignore[arg-type]


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises InputError when it cannot be opened or is empty."""
    try:
        raw = plain.read(path)
    except OSError as e:
        raise unreadable(path, e) from e
    if not raw:
        raise InputError(f"{path} is empty (0 bytes). Copy or download it again.")
    return raw


def is_folder(path: Path) -> bool:
    """True for a folder. Raises InputError when there is nothing, or nothing that may be looked at."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as e:
        raise unreadable(path, e) from e


def unreadable(path: Path, error: OSError) -> InputError:
    """The sentence for a file or folder that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"There is no file or folder {path}. Check the path.")
    if isinstance(error, PermissionError):
        return InputError(f"{path} may not be read (permission denied). Ask for read access, or copy it elsewhere.")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path} is a folder, and a file is expected. Name the image itself.")
    return InputError(f"{path} cannot be read: {error.strerror or error}. Copy it to another place and try again.")


def cut_short(path: Path, held: int, need: int) -> InputError:
    """The sentence for a file that ends before its voxels do; both numbers in bytes."""
    return InputError(f"{path} is cut short: {need - held:,} of its {need:,} bytes of voxels are missing. Copy or download it "
                      "again.")  # fmt: skip


def require_head(grid: Grid, path: Path) -> None:
    """Raise InputError for a size that no head can have, before memory is asked for it. Nothing where sizes are not known."""
    sides = [n * mm for n, mm in zip(grid.shape, grid.spacing, strict=True)]
    too_fine = min(grid.spacing) < FINEST_MM or max(grid.spacing) < FINEST_CUBE_MM
    if grid.calibrated and (max(sides) > LARGEST_MM or max(sides) < SMALLEST_MM or too_fine):
        size, voxel = ("×".join(f"{mm:.4g}" for mm in numbers) for numbers in (sides, grid.spacing))
        raise InputError(
            f"{path} would be {size} mm large (voxels of {voxel} mm), which no head is: the voxel sizes in its header are "
            "wrong, or their unit is (mm, cm, metre or micron). Convert it anew from its source, or correct the header."
        )


def three_axes(data: NDArray[Any], path: Path) -> NDArray[Any]:
    """The array without trailing axes of length 1; InputError unless three axes are left, each longer than 1."""
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    size = "×".join(str(n) for n in data.shape)
    if data.ndim > 3:
        raise InputError(
            f"{path} has {data.ndim} axes ({size}), and one 3D image is expected. "
            "Split it: series into one file each, a mask into one image with a value per class."
        )
    if data.ndim < 3 or min(data.shape) < 2:
        raise InputError(
            f"{path} is a single slice or line ({size}), and a 3D image is expected. Give the whole volume."
        )
    return data


def with_background(data: NDArray[Any]) -> NDArray[Any]:
    """The array (X, Y, Z) with numbers where a program wrote NaN for "nothing was measured here": around the head, or where a
    turned image ends. These become 0, or the least value where there are negative ones, as a background is. NaN that does
    not reach the border of the array lies within the head, and stays for :mod:`brainseg_engine.studies.checks` to refuse."""
    if data.dtype.kind != "f" or not np.isnan(data.min()):
        return data
    from scipy import ndimage

    undefined = np.isnan(data)
    if undefined.all():
        return data
    pieces, n = ndimage.label(undefined)
    faces = [np.unique(pieces[(slice(None),) * axis + (side,)]) for axis in range(data.ndim) for side in (0, -1)]
    around = np.zeros(n + 1, dtype=np.bool_)
    around[np.concatenate(faces)] = True
    around[0] = False
    out = np.where(around[pieces], min(0, np.nanmin(data)), data).astype(data.dtype, copy=False)
    out.setflags(write=False)
    return out


def content_hash(data: NDArray[Any], affine: Affine) -> str:
    """SHA-256 of voxel values, shape and affine, in hex.

    The same for every way in which a file may keep them (compression, data type, byte order), so that a copy is
    recognised. The affine counts to 0.001 mm.
    """
    digest = hashlib.sha256()
    digest.update(repr(tuple(int(n) for n in data.shape)).encode())
    digest.update((np.round(affine, 3) + 0.0).astype("<f8").tobytes())  # + 0.0 turns −0.0 into 0.0
    digest.update(_values(data).ravel(order="F").data)
    return digest.hexdigest()


def _values(data: NDArray[Any]) -> NDArray[Any]:
    """The values in the smallest of a few types that holds them all, whatever type they came in."""
    if data.dtype == np.bool_:
        return data.view(np.uint8)
    low, high = data.min(), data.max()
    if data.dtype.kind == "f":
        whole = np.isfinite(low) and np.isfinite(high) and max(abs(low), abs(high)) < 2**31
        if not whole or not np.array_equal(data, np.rint(data)):
            single = data.astype("<f4")
            return single if np.array_equal(single, data, equal_nan=True) else data.astype("<f8")
    for kind in ("<u1", "<i2", "<i4", "<i8"):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return data.astype(kind, copy=False)
    return data.astype("<u8")
