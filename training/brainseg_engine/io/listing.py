"""What images are here: one list of series for every format, and the voxels of any of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck, ProgressCallback, never, silent
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.io import archive, dicom, nifti
from brainseg_engine.io.dicom.scan import is_dicom, plain_files
from brainseg_engine.io.file_series import list_files
from brainseg_engine.io.formats import read_image
from brainseg_engine.io.found import ImageSeries, Listing, UnpackedFolder
from brainseg_engine.io.image import Image, content_hash, is_folder, with_background
from brainseg_engine.io.naming import is_image
from brainseg_engine.io.pair import standing_for


def list_series(
    path: Path,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
    *,
    unpacked: Callable[[Path, Path, ProgressCallback, CancelCheck], Listing] | None = None,
) -> Listing:
    """Every series at or below ``path``: a folder, a CD's DICOMDIR, an archive, or one file. No voxel is read.

    ``unpacked`` lists what is no archive, or no more: :func:`list_unpacked`, or that in another process.

    An archive is unpacked into a private folder, which lives until :meth:`Listing.close`, or as long as a series of the
    list does. Raises InputError where there is no image at all, and Cancelled.
    """
    path = Path(path)
    unpacked = unpacked or list_unpacked
    if is_folder(path) or not archive.is_archive(path):
        return unpacked(path, path, progress, cancelled)
    workspace, packed = archive.unpack(path, progress, cancelled)
    try:
        listing = unpacked(workspace.folder, path, progress, cancelled)
    except BaseException:
        workspace.close()
        raise
    return replace(_living_in(workspace, listing), skipped=(*packed, *listing.skipped))


def list_unpacked(path: Path, named: Path, progress: ProgressCallback, cancelled: CancelCheck) -> Listing:
    """DICOM and image files together; ``named`` is what messages call the place."""
    if path.name.upper() == "DICOMDIR" and not path.is_dir():
        path = path.parent
    files = plain_files(path)
    images = [f for f in files if is_image(f)]
    if not images:
        return dicom.list_dicom(path, progress, cancelled, files=files, named=named)
    patients, skipped = list_files(images, path if path.is_dir() else path.parent, progress, cancelled)
    others = [f for f in files if f not in set(images)]
    if any(is_dicom(f) for f in others):
        more = dicom.list_dicom(path, progress, cancelled, files=others, named=named)
        return Listing((*patients, *more.patients), (*skipped, *more.skipped))
    if not patients:
        reasons = "; ".join(f"{s.paths[0].name} {s.reason}" for s in skipped[:3])
        raise InputError(f"{named} holds no image that can be used: {reasons}. Give the folder that holds the images.")
    return Listing(patients, skipped)


def series_at(path: Path, progress: ProgressCallback = silent, cancelled: CancelCheck = never) -> ImageSeries:
    """The one series that a path stands for: the only one of a folder, or the one that a DICOM file is a slice of.

    Raises InputError where it is none, or stands for several; Cancelled.
    """
    path = standing_for(Path(path))
    if is_folder(path):
        series = [s for s in list_series(path, progress, cancelled).series if s.usable]
        what = f"{path} holds"
    elif is_image(path):
        series = [s for p in list_files([path], path.parent)[0] for v in p.visits for s in v.series]
        what = f"{path} holds"
    else:
        beside = _listed_before(path.parent, _state(path.parent))
        series = [s for s in beside.series if any(x.path == path for x in s.slices)]
        what = f"{path} is a part of"
        if not series:
            whole = next((s for s in beside.skipped if path in s.paths), None)
            raise InputError(
                f"{path} {whole.reason if whole else 'belongs to no series'}. Give another file of the series."
            )
    if len(series) != 1:
        labels = ", ".join(f"'{s.facts.label}'" for s in series[:6]) + (", …" if len(series) > 6 else "")
        raise InputError(
            f"{what} {len(series)} series{f' ({labels})' if series else ''}, and one is wanted. Name a file of it."
        )
    return series[0]


@lru_cache(maxsize=1)
def _listed_before(folder: Path, state: object) -> Listing:
    """The DICOM series of one folder (not of those below it), kept while its files stay as they are: four series often lie
    in one."""
    return dicom.list_dicom(folder, files=sorted(p for p in folder.iterdir() if plain.is_file(p)))


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    with os.scandir(folder) as entries:
        files = [(e.name, e.stat()) for e in entries if e.is_file()]
    return tuple(sorted((name, s.st_size, s.st_mtime_ns) for name, s in files))


def read_listed(series: ImageSeries, progress: ProgressCallback = silent, cancelled: CancelCheck = never) -> Image:
    """The voxels of a listed series on its grid. Raises InputError naming what is wrong, Cancelled."""
    if not series.usable or series.grid is None:
        why = " ".join(r.message for r in series.remarks if r.severity == "error")
        raise InputError(f"The series '{series.facts.label}' cannot be used. {why}".strip())
    if series.path is not None:
        if series.channel is None:
            return read_image(series.path)
        whole = nifti.read_channels(series.path)
        return replace(whole, data=with_background(whole.data[..., series.channel]))
    data = dicom.read_voxels(series, progress, cancelled)
    return Image(with_background(data), series.grid.affine, calibrated=series.grid.calibrated)


def volume_of(
    series: ImageSeries, modality: Modality, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> Volume:
    """A listed series as a volume of that modality; of DICOM its path is a file of it. Raises as :func:`read_listed`."""
    image = read_listed(series, progress, cancelled)
    path = series.path or (series.slices[0].path if series.slices and series.workspace is None else None)
    return Volume(
        image.data, image.grid, modality, path, content_hash(image.data, image.affine), image.header, image.note
    )


def _living_in(workspace: UnpackedFolder, listing: Listing) -> Listing:
    """The listing, each series of which keeps the unpacked files."""
    patients = tuple(
        replace(
            p,
            visits=tuple(replace(v, series=tuple(replace(s, workspace=workspace) for s in v.series)) for v in p.visits),
        )
        for p in listing.patients
    )
    return replace(listing, patients=patients, workspace=workspace)
