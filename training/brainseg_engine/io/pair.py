"""Images in two files, ``x.hdr`` and ``x.img``: NIfTI pairs, and Analyze 7.5 as SPM wrote it, read as nibabel reads them.

The header's name stands for the image; that of the voxels leads to it. Analyze tells no orientation: x is taken to run to the
left, unless a ``x.mat`` of SPM beside it tells where the voxels are.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Affine
from brainseg_engine.io import nifti
from brainseg_engine.io.gzipped import MAGIC, inflated
from brainseg_engine.io.image import Header, Image, read_bytes, require_size, three_axes

HEADERS, VOXELS = (".hdr", ".hdr.gz"), (".img", ".img.gz")
_KINDS = {b"ni1\0": (344, nibabel.Nifti1Header), b"ni2\0": (4, nibabel.Nifti2Header)}
_MOST = 4096
"""Bytes of a header."""
_MOST_MAT = 2**16
_AGAIN = "Copy or download it again."
_GUESSED = "Analyze images tell no orientation; x was taken to run to the left"


def read(path: Path) -> Image:
    """The image whose header or voxels are ``path``. Raises InputError."""
    head, body = _both(path)
    header = _header(head)
    dtype, shape, offset = nifti.layout(header, head, 0)
    raw = read_bytes(body)
    need = offset + require_size(shape, dtype.itemsize, head) * dtype.itemsize
    if raw.startswith(MAGIC):
        raw = inflated(raw, need, body)
    data = three_axes(nifti.voxels_of(raw, dtype, shape, offset, body), body)
    if isinstance(header, nibabel.Nifti1Header):
        return nifti.image_of(data, header, head)
    slope, inter = header.get_slope_inter()
    if slope is not None and (slope, inter) != (1.0, 0.0):
        data = (data.astype(np.float64) * slope + inter).astype(np.float32)
    data.setflags(write=False)
    affine, note = _analyze_affine(header, head)
    return Image(data, affine, note=note)


def read_header(path: Path) -> Header:
    """What the header tells, without the voxels. Raises InputError."""
    head, _ = _both(path)
    header = _header(head)
    dtype, shape, _ = nifti.layout(header, head, 0)
    require_size(shape, dtype.itemsize, head)
    if isinstance(header, nibabel.Nifti1Header):
        return nifti.placed_header(header, shape, head)
    affine, note = _analyze_affine(header, head)
    return nifti.header_of(shape, affine, note, True)


def standing_for(path: Path) -> Path:
    """The header, where the path is that of its voxels and the header lies beside them; else the path itself."""
    if not path.name.lower().endswith(VOXELS):
        return path
    return partner(path) or path


def partner(path: Path) -> Path | None:
    """The other file of the pair; None where it is absent, or the name is that of neither."""
    lower = path.name.lower()
    for ends, others in ((HEADERS, VOXELS), (VOXELS, HEADERS)):
        ending = next((e for e in sorted(ends, key=len, reverse=True) if lower.endswith(e)), None)
        if ending is None:
            continue
        stem = path.name[: -len(ending)]
        names = (stem + other for e in others for other in (e, e.upper()))
        return next((p for name in names if plain.is_file(p := path.with_name(name))), None)
    return None


def _both(path: Path) -> tuple[Path, Path]:
    """The header and the voxels. Raises InputError where one of them is absent."""
    other = partner(path)
    is_header = path.name.lower().endswith(HEADERS)
    if other is None and plain.is_file(path):
        absent = "its voxels (.img) are" if is_header else "its header (.hdr) is"
        raise InputError(f"{path} is one of two files: {absent} not beside it. Copy both into one folder.")
    if other is None:
        read_bytes(path)  # says that there is nothing
        raise InputError(f"{path} cannot be read. {_AGAIN}")
    return (path, other) if is_header else (other, path)


def _header(path: Path) -> Any:
    """A NIfTI header of a single file's type (the fields are the same), or SPM's of Analyze. Raises InputError."""
    raw = read_bytes(path)
    if raw.startswith(MAGIC):
        raw = inflated(raw, _MOST, path, whole=False)
    for magic, (at, kind) in _KINDS.items():
        if raw[at : at + 4] == magic and len(raw) >= kind.sizeof_hdr:
            return kind(raw[: kind.sizeof_hdr], check=False)
    if raw[344:348] == b"n+1\0" or raw[4:8] == b"n+2\0":
        raise InputError(f"{path} is a whole NIfTI image and no header alone. Rename it to end in .nii.")
    kind = nibabel.Spm2AnalyzeImage.header_class
    if not kind.may_contain_header(raw):
        raise InputError(f"{path} is no header of a NIfTI or Analyze image. {_AGAIN}")
    try:
        return kind(raw[: kind.sizeof_hdr], check=False)
    except (HeaderDataError, ValueError) as e:
        raise InputError(f"{path} has a damaged header ({e}). {_AGAIN}") from e


def _analyze_affine(header: Any, path: Path) -> tuple[Affine, str]:
    """Index → RAS mm, and what had to be guessed in words. Raises InputError."""
    stem = path.name[: path.name.lower().rindex(".hdr")]
    for spm in (path.with_name(f"{stem}.mat"), path.with_name(f"{stem}.mat.gz")):
        if plain.is_file(spm):
            return _spm_affine(header, spm), ""
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    header["pixdim"][1:4] = np.abs(sizes)
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    return _sound(affine, path), _GUESSED


def _spm_affine(header: Any, path: Path) -> Affine:
    """From SPM's file: ``mat`` counts voxels from 1; the older ``M`` does not know that x runs to the left."""
    from scipy.io import loadmat

    try:
        raw = plain.read(path, _MOST_MAT)
        if raw.startswith(MAGIC):
            raw = inflated(raw, _MOST_MAT, path)
        matrices = loadmat(io.BytesIO(raw), variable_names=["mat", "M"])
        matrix: NDArray[Any] | None = matrices.get("mat")
        if matrix is None:
            matrix = np.diag([-1.0 if header.default_x_flip else 1.0, 1.0, 1.0, 1.0]) @ matrices["M"]
        matrix = np.asarray(matrix, dtype=np.float64)
        matrix = matrix[:, :, 0] if matrix.ndim > 2 else matrix
        from_one = np.eye(4)
        from_one[:3, 3] = 1.0
        affine = matrix @ from_one
    except Exception as e:  # a reader of a rich format: whatever it says, the file tells no place
        raise InputError(f"{path} does not tell where the voxels are ({type(e).__name__}). Convert the image to .nii.gz, or "
                         "move that file away if it belongs to another.") from e  # fmt: skip
    return _sound(affine, path)


def _sound(affine: NDArray[Any], path: Path) -> Affine:
    bounded = affine.shape == (4, 4) and np.isfinite(affine).all() and np.abs(affine).max() < 1e9
    if not bounded or abs(np.linalg.det(affine[:3, :3])) < 1e-13:
        raise InputError(f"{path} tells no voxel size (zero or not a number). Convert it anew from its source.")
    return affine
