"""Scanned headers → patients, their visits, and the series of each, with what is to be known of every series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brainseg_engine.core.events import CancelCheck, ProgressCallback, never, silent
from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.io.dicom import tags as t
from brainseg_engine.io.dicom.facts import day, facts
from brainseg_engine.io.dicom.geometry import Stack, stack
from brainseg_engine.io.dicom.grouping import Part, parts
from brainseg_engine.io.dicom.headers import Frame
from brainseg_engine.io.dicom.patients import persons
from brainseg_engine.io.dicom.scan import plain_files, require_some, scan
from brainseg_engine.io.dicom.values import number
from brainseg_engine.io.found import Identity, ImageSeries, Listing, Patient, Remark, SliceSource, Visit


def list_dicom(
    path: Path,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
    *,
    files: Sequence[Path] | None = None,
    named: Path | None = None,
) -> Listing:
    """The DICOM series at or below ``path`` (a folder, a DICOMDIR, a file), or of ``files`` alone.

    ``named`` is what messages call it, where it is not ``path``.

    No pixel is read. Raises InputError where there is no DICOM image at all, Cancelled.
    """
    if files is None:
        files = plain_files(path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path)
    scanned = scan(files, progress, cancelled)
    require_some(scanned, named or path)
    people = persons(scanned.frames)
    patients = tuple(Patient(f"patient {i + 1}", _visits(frames)) for i, frames in enumerate(people))
    return Listing(patients, scanned.skipped)


def _visits(frames: Sequence[Frame]) -> tuple[Visit, ...]:
    studies: dict[str, list[Frame]] = defaultdict(list)
    for f in frames:
        studies[f.instance.study_uid].append(f)
    dated = sorted(studies.values(), key=lambda fs: min(f.instance.study_date or "~" for f in fs))
    return tuple(
        Visit(
            f"study {i + 1} ({i + 1} of {len(dated)})" if len(dated) > 1 else "study 1",
            tuple(_series_of(fs)),
            day(min(f.instance.study_date or "~" for f in fs)),
        )
        for i, fs in enumerate(dated)
    )


def _series_of(frames: Sequence[Frame]) -> list[ImageSeries]:
    by_uid: dict[str, list[Frame]] = defaultdict(list)
    for f in frames:
        by_uid[f.instance.series_uid].append(f)
    entries = [s for group in by_uid.values() for s in _entries(group)]
    return sorted(entries, key=lambda s: (s.facts.number is None, s.facts.number or 0))


def _entries(frames: Sequence[Frame]) -> list[ImageSeries]:
    """One series' parts; a series without any is one entry that says why."""
    refusal = next((f.instance.refusal for f in frames if f.instance.refusal), "")
    if not refusal and any(f.instance.columns < 1 or f.instance.rows < 1 for f in frames):
        refusal = "Its header tells no number of rows or columns: the file is damaged."
    split = [] if refusal else parts(frames)
    if not split:
        refusal = (
            refusal or "It does not tell where its pictures lie in the patient (no position, direction or pixel size)."
        )
        bare = Part(tuple(frames), np.eye(3))
        return [
            ImageSeries(
                facts(bare, None, 0), None, (Remark("no-volume", "error", refusal),), identity=_identity(frames[0])
            )
        ]
    return [_entry(part, i) for i, part in enumerate(split)]


def _entry(part: Part, index: int) -> ImageSeries:
    first = part.frames[0]
    assert first.spacing is not None
    placed = stack(
        np.array([f.position for f in part.frames], dtype=np.float64),
        part.axes,
        first.spacing,
        (first.instance.columns, first.instance.rows),
        number(first.instance.header, t.SLICE_THICKNESS),
    )
    in_order = [part.frames[i] for i in placed.order]
    damaged = [k for k, f in zip(placed.places, in_order, strict=True) if f.instance.truncated]
    slices = tuple(_source(f, k) for k, f in zip(placed.places, in_order, strict=True) if not f.instance.truncated)
    missing = sorted({*placed.missing, *damaged})
    remarks = [*part.remarks, *placed.remarks, *_missing(placed, placed.missing, damaged)]
    series_facts: SeriesFacts = facts(part, placed.grid, index)
    if part.directions > 1:
        remarks.append(
            Remark(
                "directions", "warning", f"The series has slices in {part.directions} directions, as localisers have."
            )
        )
    return ImageSeries(
        series_facts, placed.grid, tuple(remarks), slices,
        missing_mm=tuple(placed.distances[k] for k in missing), identity=_identity(first),
    )  # fmt: skip


def _source(f: Frame, k: int) -> SliceSource:
    assert f.position is not None
    i = f.instance
    return SliceSource(k, i.path, f.index + 1, i.sop_uid, i.sop_class, f.position, f.slope, f.intercept)


def _missing(placed: Stack, missing: Sequence[int], damaged: Sequence[int]) -> list[Remark]:
    remarks = []
    if missing:
        remarks.append(Remark("missing-slices", "warning",
                            f"{_slices(missing)} missing, at {_named(placed, missing)}; the image is empty there."))  # fmt: skip
    if damaged:
        remarks.append(Remark("truncated", "warning",
                            f"{_slices(damaged)} cut short in the file, at {_named(placed, damaged)}; the image is empty there. "
                            "Export or copy the series again."))  # fmt: skip
    return remarks


def _slices(which: Sequence[int]) -> str:
    return "1 slice is" if len(which) == 1 else f"{len(which)} slices are"


def _named(placed: Stack, which: Sequence[int]) -> str:
    shown = [placed.name(k) for k in which[:6]]
    return ", ".join(shown) + (", …" if len(which) > len(shown) else "")


def _identity(frame: Frame) -> Identity:
    i = frame.instance
    return Identity(i.patient[0], i.patient[1], i.patient[2], i.study_uid, i.study_date)
