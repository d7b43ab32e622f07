"""From what a hospital hands out to one study: its visit chosen, its four series found, none of them prepared.

Folders whose files' names tell the series go the short way (:func:`brainseg_engine.io.series_of`). DICOM, archives and
other folders are listed series by series, and tags, words and voxels say which series is which.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck, ProgressCallback, never, silent
from brainseg_engine.core.study import Modality
from brainseg_engine.io import dicom, find_series, series_of
from brainseg_engine.io.archive import is_archive
from brainseg_engine.io.found import ImageSeries, Listing, Patient, Visit
from brainseg_engine.io.listing import list_series, volume_of
from brainseg_engine.io.naming import is_image, stem
from brainseg_engine.io.series import Layout, Series
from brainseg_engine.studies.appearance import Look, look
from brainseg_engine.studies.assignment import Wanted, assign, assigned
from brainseg_engine.studies.identify import Choices, identify, worth_a_look
from brainseg_engine.studies.listed import check_listing, is_volume
from brainseg_engine.studies.remembered import remembered
from brainseg_engine.studies.settled import settled

T = TypeVar("T")


@dataclass(frozen=True)
class Which:
    """Which of several patients (from 1) and of that patient's visits (from 1, or by their day); None where there is one."""

    patient: int | None = None
    visit: int | date | None = None

    @property
    def chooses(self) -> bool:
        """Whether it chooses at all."""
        return self.patient is not None or self.visit is not None

    def suffix(self, listing: Listing) -> str:
        """What tells the study's id from those of the others of the listing; "" where it is the only one."""
        several = len(listing.patients) > 1, any(len(p.visits) > 1 for p in listing.patients)
        marks = [f"p{self.patient}"] * (several[0] and self.patient is not None)
        marks += [f"v{self._number(listing)}"] * (several[1] and self.visit is not None)
        return "".join(f"-{mark}" for mark in marks)

    def _number(self, listing: Listing) -> int:
        """The visit's number; 0 for a day that there is none of."""
        if not isinstance(self.visit, date):
            return self.visit or 0
        person = listing.patients[min((self.patient or 1) - 1, len(listing.patients) - 1)]
        return next((i + 1 for i, v in enumerate(person.visits) if v.day == self.visit), 0)


ANY = Which()


@dataclass(frozen=True)
class Incoming:
    """One visit of one patient, and what its series were taken for."""

    patient: Patient
    visit: Visit
    choices: Choices

    def chosen(self) -> dict[Modality, ImageSeries]:
        """Modality → the series chosen for it."""
        by_id = {s.facts.id: s for s in self.visit.series}
        return {m: by_id[i] for m, i in self.choices.chosen.items()}


def is_export(path: Path) -> bool:
    """Whether the path is listed series by series: an archive, DICOM, or a folder that is no study by its files' names."""
    if path.is_file():
        return is_archive(path) or (not is_image(path) and dicom.holds_dicom(path))
    if not path.is_dir():
        return False
    try:
        return not find_series(path).files and dicom.holds_dicom(path)
    except InputError:
        return dicom.holds_dicom(path)


def find_study(
    source: Path,
    wanted: Wanted | None = None,
    *,
    which: Which = ANY,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> Series:
    """The study's four series, for :func:`brainseg_engine.io.load_study`; ``wanted`` names series by hand.

    ``which`` chooses among several patients and visits. Raises InputError where there is no MR study, where several
    could be meant, and for a name that fits no series; Cancelled.
    """
    if not is_export(source):
        return settled(assigned(source, wanted) if wanted else series_of(source))
    source = _place(source)
    listing = list_series(source, progress, cancelled)
    identified_visit = identified(*choose(listing, source, which), wanted, cancelled=cancelled)
    series = identified_visit.chosen()
    missing = [m.title for m in Modality if m not in series]
    return Series(
        id=neutral_id(source, listing) + which.suffix(listing),
        files={m: s.path or s.slices[0].path for m, s in series.items()},
        problems=[f"No series of this study was found to be {', '.join(missing)}. Assign it by hand."]
        if missing
        else [],
        folder=source if source.is_dir() else source.parent,
        layout=Layout.LISTED,
        notes=tuple(
            f"{s.facts.label}: {r.message}" for s in series.values() for r in s.remarks if r.severity == "warning"
        ),
        listed=series,
    )


def study_id(source: Path, wanted: Wanted | None = None, which: Which = ANY) -> str:
    """The id that :func:`find_study` gives the study, without looking for its series. Raises InputError."""
    if is_export(source):
        with list_series(_place(source)) as listing:
            return neutral_id(_place(source), listing) + which.suffix(listing)
    return (assigned(source, wanted) if wanted else series_of(source)).id


def choose(listing: Listing, source: Path, which: Which = ANY) -> tuple[Patient, Visit]:
    """The one visit that is meant. Raises InputError where that is not said, and where there is none."""
    wrong = next((f for f in check_listing(listing) if f.severity == "error"), None)
    if wrong is not None:
        raise InputError(f"{source}: {wrong.message}")
    people = [p for p in listing.patients if any(is_volume(s) for v in p.visits for s in v.series)]
    several = f"{source} holds {len(people)} patients, who are never mixed"
    person = _one(people, which.patient, "patient", several)
    visits = [v for v in person.visits if any(is_volume(s) for s in v.series)]
    days = ", ".join(f"{i + 1}: {v.day or 'no date'}" for i, v in enumerate(visits))
    several = f"{source} holds {len(visits)} studies of one patient ({days})"
    number = which.visit
    if isinstance(number, date):
        number = next((i + 1 for i, v in enumerate(visits) if v.day == number), None)
        if number is None:
            raise InputError(f"There is no study of {which.visit}: {several}. Choose one of them.")
    return person, _one(visits, number, "visit", several)


def identified(
    patient: Patient,
    visit: Visit,
    wanted: Wanted | None = None,
    *,
    voxels: bool = True,
    cancelled: CancelCheck = never,
) -> Incoming:
    """What the visit's series are, by tags, names, voxels and what was remembered; ``wanted`` stands above all.

    Without ``voxels`` none is read.
    """
    usable = {s.facts.id: s for s in visit.series if s.usable}
    facts = [s.facts for s in usable.values()]
    looks = _looks([usable[i] for i in worth_a_look(facts)] if voxels else [], cancelled)
    known = remembered(facts)
    by_tags, choices = identify(facts, {}, known), identify(facts, looks, known)
    if len(by_tags.chosen) > len(choices.chosen):  # what tags tell is not given up for what voxels look like
        choices = by_tags
    return Incoming(patient, visit, assign(facts, wanted, choices) if wanted else choices)


def _place(source: Path) -> Path:
    """The folder of a DICOMDIR or of a slice; folders and archives as they are."""
    return source if source.is_dir() or is_archive(source) else source.parent


def neutral_id(source: Path, listing: Listing) -> str:
    """A name for the study's files: that of the folder or archive; where that bears what identifies the patient, "study-" and
    some digits that tell it from others."""
    name = source.resolve().name
    name = stem(name).removesuffix(".zip").removesuffix(".ZIP") if not source.is_dir() else name
    identifying = {
        w.casefold() for s in listing.series for text in _identifying(s) for w in text.replace("^", " ").split()
    }
    plain = re.sub(r"[._ ]", "-", name.casefold())
    if not any(len(w) > 2 and (w in name.casefold() or w in plain) for w in identifying):
        return name
    studies = sorted({s.facts.study_uid for s in listing.series})
    return f"study-{hashlib.sha256(' '.join(studies).encode()).hexdigest()[:8]}"


def _identifying(series: ImageSeries) -> tuple[str, ...]:
    i = series.identity
    days = (f"{y}-{m}-{d}" for y, m, d in _days(i.birth_date, i.study_date))
    turned = (f"{d}-{m}-{y}" for y, m, d in _days(i.birth_date, i.study_date))
    american = (f"{m}-{d}-{y}" for y, m, d in _days(i.birth_date, i.study_date))
    return i.patient_id, i.name, i.birth_date, i.study_date, i.study_uid, *days, *turned, *american


def _days(*dates: str) -> list[tuple[str, str, str]]:
    """Year, month and day of DICOM dates, as written."""
    return [(d[:4], d[4:6], d[6:8]) for d in dates if len(d) == 8 and d.isdigit()]


def _one(candidates: list[T], number: int | None, what: str, several: str) -> T:
    if number is not None and not 1 <= number <= len(candidates):
        raise InputError(f"There is no number {number}: {several}. Choose from 1 to {len(candidates)}.")
    if number is None and len(candidates) > 1:
        raise InputError(f"{several}. Choose one of them by its number (--{what} N), or give its folder alone.")
    return candidates[(number or 1) - 1]


def _looks(series: list[ImageSeries], cancelled: CancelCheck) -> Mapping[str, Look]:
    """What the voxels of these series look like; one that cannot be read has no look."""
    looks: dict[str, Look] = {}
    for s in series:
        try:
            seen = look(volume_of(s, Modality.T1, cancelled=cancelled)) if s.facts.calibrated and is_volume(s) else None
        except InputError:
            continue
        if seen is not None:
            looks[s.facts.id] = seen
    return looks
