"""Which series of a study are worth fetching for a segmentation: told by words, then by the tags of one image each."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck, ProgressCallback, never, silent
from brainseg_engine.core.paths import private_folder
from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.io.dicom import list_dicom
from brainseg_engine.pacs.records import Pacs, SeriesRow
from brainseg_engine.pacs.retrieving import fetch_some
from brainseg_engine.studies.tag_rules import LEAST_SLICES, judge


def images_of(series: Sequence[SeriesRow], modality: str = "MR") -> list[SeriesRow]:
    """The series of that modality."""
    return [s for s in series if s.modality.strip().upper() == modality]


def by_words(series: Sequence[SeriesRow]) -> list[SeriesRow]:
    """The MR series that neither their words nor their counts of images exclude. One image may be a multi-frame series."""
    return [s for s in images_of(series) if _enough(s) and not judge(_facts(s)).other]


def by_tags(
    pacs: Pacs,
    series: Sequence[SeriesRow],
    folder: Path,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> list[SeriesRow]:
    """Of the MR series those that the tags of one image do not exclude; that image is fetched into the study's ``folder``.

    Which of them is T1, T1ce, T2 or FLAIR is decided with all images. Raises InputError, OutputError, Cancelled.
    """
    candidates = by_words(series)
    private_folder(folder)
    kept = []
    for one in candidates:
        if file := fetch_some(pacs, one, folder, progress, cancelled):
            facts = _tags(file)
            if facts is None or not judge(facts).other:
                kept.append(one)
            else:
                shutil.rmtree(folder / one.uid, ignore_errors=True)  # it was for its tags alone
    return kept


def named(series: Sequence[SeriesRow], wanted: Sequence[str]) -> list[SeriesRow]:
    """The series that these texts name, each by its UID, its number or a part of its description. Raises InputError."""
    chosen: dict[str, SeriesRow] = {}
    for text in wanted:
        asked = text.strip().casefold()
        exact = [s for s in series if asked in (s.uid, str(s.number))]
        fitting = exact or [s for s in series if asked and asked in s.description.casefold()]
        if not fitting:
            there = ", ".join(f"{s.number}: {s.description}" for s in series[:20])
            raise InputError(f"The study has no series '{text}'. It has {there or 'none'}.")
        chosen |= {s.uid: s for s in fitting}
    return list(chosen.values())


def _enough(series: SeriesRow) -> bool:
    return series.images is None or series.images == 1 or series.images >= LEAST_SLICES


def _facts(series: SeriesRow) -> SeriesFacts:
    return SeriesFacts(id=series.uid, description=series.description, modality=series.modality.strip())


def _tags(file: Path) -> SeriesFacts | None:
    """The facts of one image; without its grid where that is a single slice, which says nothing of the series."""
    try:
        listed = list(list_dicom(file, files=[file]).series)
    except InputError:
        return None
    if not listed:
        return None
    facts = listed[0].facts
    return facts if (facts.slices or 0) > 1 else replace(facts, shape=None, spacing=None, coverage_mm=None)
