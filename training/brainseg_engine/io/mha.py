"""MetaImage (``.mha``), the format of BRATS 2012–2015, through SimpleITK. ITK's world is LPS; ours is RAS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.io.image import Header, Image, three_axes, unreadable

_HEAD = 65536  # a header is text of a few hundred bytes
_SIZES, _UNKNOWN = "VoxelSizes", "unknown"
"""A field of our own in the header of a file whose grid is not calibrated."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(path: Path) -> Image:
    """The image in a ``.mha`` file, in its own data type."""
    import SimpleITK as sitk

    _require_whole(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as e:
        raise InputError(f"{path} is damaged or cut short: it cannot be read. Copy or download it again.") from e
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path} holds several numbers per voxel. Split it into one file per series and give those.")
    data = three_axes(sitk.GetArrayFromImage(image).transpose(), path)
    data.setflags(write=False)
    calibrated = not (image.HasMetaDataKey(_SIZES) and image.GetMetaData(_SIZES) == _UNKNOWN)
    return Image(data, _affine(image), calibrated=calibrated)


def read_header(path: Path) -> Header:
    """The header alone, without the voxels."""
    import SimpleITK as sitk

    _require_whole(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as e:
        raise InputError(f"{path} is damaged: its header cannot be read. Copy or download it again.") from e
    shape = tuple(int(n) for n in reader.GetSize())
    calibrated = not (reader.HasMetaDataKey(_SIZES) and reader.GetMetaData(_SIZES) == _UNKNOWN)
    channels = int(np.prod(shape[3:])) * reader.GetNumberOfComponents()
    return Header(shape[:3], _affine(reader), channels, calibrated=calibrated)


def write(data: NDArray[Any], grid: Grid, path: Path) -> None:
    """Write ``data`` (X, Y, Z) on ``grid``. A sheared grid, which the format cannot tell, is refused."""
    import SimpleITK as sitk

    affine = _LPS_TO_RAS @ grid.affine
    spacing = np.array(grid.spacing)
    direction = affine[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise OutputError(f"Cannot write {path}: a MetaImage cannot hold sheared axes. Save as .nii.gz.")
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose()))
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    if not grid.calibrated:
        image.SetMetaData(_SIZES, _UNKNOWN)
    sitk.WriteImage(image, str(path), useCompression=True)


def _require_whole(path: Path) -> None:
    """Raise InputError unless the file is a MetaImage with all its voxels inside (ITK itself would print to stderr)."""
    try:
        with path.open("rb") as f:
            head = f.read(_HEAD)
            held = f.seek(0, 2)
    except OSError as e:
        raise unreadable(path, e) from e
    text, mark, rest = head.partition(b"ElementDataFile")
    if not mark or b"NDims" not in text:
        raise InputError(f"{path} is no MetaImage: it does not start with such a header. Copy or download it again.")
    where, _, _ = rest.partition(b"\n")
    if where.strip(b" =\r").upper() != b"LOCAL":
        raise InputError(f"{path} keeps its voxels in another file. Convert it to .nii.gz or to a single .mha file.")
    fields = dict(re.findall(r"(\w+) *= *(.*?) *\r?\n", text.decode("latin-1")))
    size = fields.get("CompressedDataSize", "")
    begin = len(text) + len(mark) + len(where) + 1
    if size.isdigit() and held < begin + int(size):
        part = max(held - begin, 0) / int(size)
        raise InputError(f"{path} is cut short: it holds {part:.0%} of its voxels. Copy or download it again.")


def _affine(image: Any) -> Affine:
    n = image.GetDimension()  # 4 when a trailing axis of length 1 was dropped
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(n, n)[:3, :3] * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return _LPS_TO_RAS @ affine
