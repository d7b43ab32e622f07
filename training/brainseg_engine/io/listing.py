"""What images are here: one list of series for every format, and the voxels of any of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck, ProgressCallback, never, silent
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.io import archive, dicom
from brainseg_engine.io.found import ImageSeries, Listing, Workspace
from brainseg_engine.io.image import Image, content_hash, is_folder


def list_series(path: Path, progress: ProgressCallback = silent, cancelled: CancelCheck = never) -> Listing:
    """Every series at or below ``path``: a folder, a CD's DICOMDIR, an archive, or one file. No voxel is read.

    An archive is unpacked into a private folder, which lives until :meth:`Listing.close`, or as long as a series of the
    list does. Raises InputError where there is no image at all, and Cancelled.
    """
    path = Path(path)
    if not is_folder(path) and archive.is_archive(path):
        workspace, packed = archive.unpack(path, progress, cancelled)
        try:
            listing = dicom.list_dicom(workspace.folder, progress, cancelled, named=path)
        except BaseException:
            workspace.close()
            raise
        return replace(_living_in(workspace, listing), skipped=(*packed, *listing.skipped))
    return dicom.list_dicom(path, progress, cancelled)


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


def _living_in(workspace: Workspace, listing: Listing) -> Listing:
    """The listing, each series of which keeps the unpacked files."""
    patients = tuple(
        replace(
            p,
            visits=tuple(replace(v, series=tuple(replace(s, workspace=workspace) for s in v.series)) for v in p.visits),
        )
        for p in listing.patients
    )
    return replace(listing, patients=patients, workspace=workspace)
