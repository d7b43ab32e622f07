"""What images are here: one list of series for every format, and the voxels of any of them."""

from __future__ import annotations

from pathlib import Path

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck, ProgressCallback, never, silent
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.io import dicom
from brainseg_engine.io.found import ImageSeries, Listing
from brainseg_engine.io.image import Image, content_hash


def list_series(path: Path, progress: ProgressCallback = silent, cancelled: CancelCheck = never) -> Listing:
    """Every series at or below ``path``. No voxel is read. Raises InputError where there is none, Cancelled."""
    return dicom.list_dicom(Path(path), progress, cancelled)


def read_listed(series: ImageSeries, progress: ProgressCallback = silent, cancelled: CancelCheck = never) -> Image:
    """The voxels of a listed series on its grid. Raises InputError naming what is wrong, Cancelled."""
    if not series.usable or series.grid is None:
        why = " ".join(r.message for r in series.remarks if r.severity == "error")
        raise InputError(f"The series '{series.facts.label}' cannot be used. {why}".strip())
    data = dicom.read_voxels(series, progress, cancelled)
    return Image(data, series.grid.affine, calibrated=series.grid.calibrated)


def volume_of(
    series: ImageSeries, modality: Modality, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> Volume:
    """A listed series as a volume of that modality. Raises as :func:`read_listed`."""
    image = read_listed(series, progress, cancelled)
    return Volume(image.data, image.grid, modality, series.path, content_hash(image.data, image.affine), image.header)
