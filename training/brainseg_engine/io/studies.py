"""From files to a Study: four series read at once, each checked, none resampled."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.io import decathlon, dicom, slices
from brainseg_engine.io.derived import slicer
from brainseg_engine.io.formats import read_image
from brainseg_engine.io.image import content_hash, in_words, is_folder, require_head, unreadable
from brainseg_engine.io.layouts import NAMES_KNOWN, ambiguity, find_series, sort_series
from brainseg_engine.io.listing import series_at, volume_of
from brainseg_engine.io.naming import MASK, is_image
from brainseg_engine.io.pair import standing_for
from brainseg_engine.io.segmentation import load_segmentation, require_on_grid
from brainseg_engine.io.series import Layout, Series

_log = logging.getLogger(__name__)
Source = Path | str | Sequence[Path | str] | Mapping[Modality, Path] | Series


@in_words
def load_study(
    source: Source,
    *,
    coding: str | None = None,
    id: str | None = None,
    segmentation: bool = True,
) -> Study:
    """A study from a folder, from files picked by hand (distinguished by name), or from files as assigned to modalities, or
    a :class:`Series` that was found before.

    A folder may also hold image slices (:mod:`brainseg_engine.io.slices`), a file four channels
    (:mod:`brainseg_engine.io.decathlon`).

    ``coding`` names the label coding where files do not tell it, or tell it wrongly. With ``segmentation``, a mask
    found among the files comes with the study. Fewer than four series are no error here (a model says what it needs);
    two candidates for one are, and files of two patients. Raises InputError, GeometryError or CodingError, naming the file.
    """
    series = series_of(source)
    if series.mixed:
        raise InputError(f"{series.folder or series.id}: {series.mixed}")
    for what, candidates in series.ambiguous.items():
        if what != MASK or segmentation:
            raise InputError(ambiguity(what, candidates))
    if not series.files and series.layout is Layout.LISTED:
        raise InputError(f"{series.folder or series.id}: {' '.join(series.problems)}")
    if not series.files:
        raise InputError(f"No image of {series.folder or 'the files given'} tells by its name which series it is: name "
                         f"them {NAMES_KNOWN}, or assign them by hand.")  # fmt: skip
    for note in series.notes:
        _log.warning("%s", note)
    study = Study(id or series.id, read_series(series), coding=coding or series.coding, folder=series.folder)
    if not segmentation or series.segmentation is None:
        return study
    grid = study.reference.grid if slicer.is_slicer(series.segmentation) else None
    mask = load_segmentation(series.segmentation, coding=coding, implied=series.coding, grid=grid)
    require_on_grid(mask, study.volumes.values())
    newer = (study.coding, mask.coding) == ("brats2023", "brats2024")  # the same naming, and the mask tells which
    return replace(study, segmentation=mask, coding=mask.coding if newer else study.coding)


@in_words
def series_of(source: Source) -> Series:
    """What the source's files are; no pixel is read. Raises InputError for paths that are absent or given twice."""
    if isinstance(source, Series):
        return source
    if isinstance(source, Mapping):
        return _assigned({Modality(m): standing_for(Path(p)) for m, p in source.items()})
    if isinstance(source, (str, Path)):
        path = Path(source)
        if is_folder(path):
            return find_series(path)
        source = [path]
    picked = [Path(p) for p in source]
    paths = [
        p for p in picked if standing_for(p) == p or standing_for(p) not in picked
    ]  # both files of a pair are one image
    paths = [standing_for(p) for p in paths]
    if len(paths) == 1 and decathlon.is_case(paths[0]):
        return decathlon.find(paths[0])
    _refuse_twice({str(i): p for i, p in enumerate(paths)})
    series = sort_series(paths)
    if series.unknown:
        raise InputError(
            f"The name of {series.unknown[0]} does not tell which series it is. Name it {NAMES_KNOWN}, "
            "or assign it by hand."
        )
    return series


def read_series(series: Series) -> dict[Modality, Volume]:
    """The images of those files, whatever their layout. Raises as :func:`read_volumes`."""
    if series.layout is Layout.LISTED:
        return {m: volume_of(s, m) for m, s in series.listed.items()}
    if series.layout is Layout.FILES or not series.files:
        return read_volumes(series.files)
    source = next(iter(series.files.values()))
    return slices.read(source) if series.layout is Layout.SLICES else decathlon.read(source)


def read_volumes(files: Mapping[Modality, Path]) -> dict[Modality, Volume]:
    """Read the series at once. Raises what went wrong; when it is several things, all of them in one InputError."""
    with ThreadPoolExecutor(max_workers=max(len(files), 1)) as pool:
        waiting: dict[Modality, Future[Volume]] = {m: pool.submit(read_volume, p, m) for m, p in files.items()}
    errors = [e for f in waiting.values() if isinstance(e := f.exception(), BrainsegError)]
    if len(errors) > 1:
        raise InputError(" ".join(str(e) for e in errors)) from errors[0]
    return {m: f.result() for m, f in waiting.items()}


@in_words
def read_volume(path: Path, modality: Modality) -> Volume:
    """One series: an image file, or DICOM by its folder or any file of it.

    Raises InputError naming the file, the cause and the remedy.
    """
    if not is_image(path) and (is_folder(path) or dicom.holds_dicom(path)):
        return volume_of(series_at(path), modality)
    image = read_image(path)
    require_head(image.grid, path)
    return Volume(
        data=image.data,
        grid=image.grid,
        modality=modality,
        path=path,
        sha256=content_hash(image.data, image.affine),
        header=image.header,
        note=image.note,
    )


def _assigned(files: Mapping[Modality, Path]) -> Series:
    _refuse_twice({m.title: p for m, p in files.items()})
    if not files:
        raise InputError("No file was given. Assign at least one series.")
    ordered = {m: files[m] for m in Modality if m in files}
    named = sort_series(list(ordered.values()))
    return replace(named, files=ordered, segmentation=None, ambiguous={}, unknown=(), problems=[], mixed="")


def _refuse_twice(files: Mapping[str, Path]) -> None:
    seen: dict[tuple[int, int], tuple[str, Path]] = {}
    for what, path in files.items():
        try:
            status = path.stat()
        except OSError as e:
            raise unreadable(path, e) from e
        key = (status.st_dev, status.st_ino)
        if key in seen and status.st_ino:
            other, first = seen[key]
            uses = f" for {other} and for {what}" if not what.isdigit() else ""
            same = "" if path == first else f" ({first} is the same file)"
            raise InputError(f"{path} was given twice{uses}{same}. Give each series its own file.")
        seen[key] = (what, path)
