"""MetaImage (``.mha``; ``.mhd`` with its voxels in a file beside it), the format of BRATS 2012–2015. ITK's world is LPS; ours
is RAS.

Only the geometry is ITK's, and only after :mod:`.metaimage` has checked the header: the voxels never go through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.geometry import Affine, Grid
from brainseg_engine.io import metaimage
from brainseg_engine.io.image import Header, Image, three_axes

_SIZES, _UNKNOWN = "VoxelSizes", "unknown"
"""A field of our own in the header of a file whose grid is not calibrated."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(path: Path) -> Image:
    """The image in a ``.mha`` or ``.mhd`` file, in its own data type."""
    head = metaimage.read_header(path)
    geometry = _geometry(path)
    if head.channels != 1:
        raise InputError(f"{path} holds several numbers per voxel. Split it into one file per series and give those.")
    data = three_axes(metaimage.read_voxels(path, head), path)
    data.setflags(write=False)
    return Image(data, _affine(geometry, head.unit_mm), calibrated=_is_calibrated(geometry))


def read_header(path: Path) -> Header:
    """The header alone, without the voxels."""
    head = metaimage.read_header(path)
    geometry = _geometry(path)
    channels = int(np.prod(head.shape[3:], dtype=object)) * head.channels
    return Header(head.shape[:3], _affine(geometry, head.unit_mm), channels, calibrated=_is_calibrated(geometry))


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


def _geometry(path: Path) -> Any:
    """ITK's reader with the header read, which was checked before: it crashes on damaged ones. No voxel is read by it."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as e:
        raise InputError(f"{path} is damaged: its header cannot be read. Copy or download it again.") from e
    if reader.GetDimension() < 3:
        raise InputError(f"{path} is a single slice or line ({'×'.join(map(str, reader.GetSize()))}), and a 3D image is "
                         "expected. Give the whole volume.")  # fmt: skip
    return reader


def _is_calibrated(reader: Any) -> bool:
    return not (reader.HasMetaDataKey(_SIZES) and reader.GetMetaData(_SIZES) == _UNKNOWN)


def _affine(image: Any, unit_mm: float) -> Affine:
    """Index → RAS mm; ITK hands the unit on and does not apply it."""
    n = image.GetDimension()  # 4 when a trailing axis of length 1 was dropped
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(n, n)[:3, :3] * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    affine[:3] *= unit_mm
    return _LPS_TO_RAS @ affine
