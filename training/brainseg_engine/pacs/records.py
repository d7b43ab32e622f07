"""What is asked of a PACS and what it answers, whatever it is spoken to by."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck

_UID = re.compile(r"[0-9][0-9.]{0,63}")
MOST_STUDIES = 500
"""Answers of one search that are taken; a search that fits more is to be narrowed."""


@dataclass(frozen=True)
class Query:
    """A search for studies; what is empty is not asked for. ``since`` and ``until`` are study dates, both included.

    ``*`` and ``?`` are the server's wildcards; a name without any is looked for by its beginning.
    """

    patient_id: str = ""
    name: str = ""
    accession: str = ""
    since: date | None = None
    until: date | None = None
    modality: str = "MR"
    study_uid: str = ""

    def matching(self) -> dict[str, str]:
        """Keyword → value, as DICOM writes what is to be matched."""
        days = [d.strftime("%Y%m%d") if d else "" for d in (self.since, self.until)]
        name = self.name.strip()
        asked = {
            "PatientID": self.patient_id.strip(),
            "PatientName": name if not name or "*" in name or "?" in name else f"{name}*",
            "AccessionNumber": self.accession.strip(),
            "StudyDate": f"{days[0]}-{days[1]}" if any(days) else "",
            "ModalitiesInStudy": self.modality.strip().upper(),
            "StudyInstanceUID": self.study_uid,
        }
        return {keyword: value for keyword, value in asked.items() if value}


@dataclass(frozen=True)
class StudyRow:
    """One study as the PACS tells it; texts as they are there, counts None where it does not tell them."""

    uid: str
    patient_id: str = ""
    name: str = ""
    birth_date: str = ""
    date: str = ""
    time: str = ""
    description: str = ""
    accession: str = ""
    modalities: tuple[str, ...] = ()
    series: int | None = None
    images: int | None = None

    @property
    def day(self) -> str:
        """Its date, as 2025-03-14 where the PACS wrote one."""
        d = self.date
        return f"{d[:4]}-{d[4:6]}-{d[6:8]}" if len(d) == 8 and d.isdigit() else d

    @property
    def person(self) -> str:
        """Its patient's name as people write it: family name, given names; of several ways to write it the first."""
        written = next((way for way in self.name.split("=") if way.strip(" ^")), "")
        family, *given = (part.strip() for part in written.split("^")[:3])
        return ", ".join(filter(None, (family, " ".join(filter(None, given)))))


@dataclass(frozen=True)
class SeriesRow:
    """One series of a study as the PACS tells it."""

    study_uid: str
    uid: str
    number: int | None = None
    modality: str = ""
    description: str = ""
    images: int | None = None


Receive = Callable[[bytes], None]
"""Takes one DICOM file, as it came."""


class Pacs(Protocol):
    """A PACS that can be spoken to. Every method raises InputError with a sentence that says what is wrong, and where."""

    name: str

    def test(self) -> str:
        """A sentence that says that all is well."""

    def studies(self, query: Query) -> Iterator[StudyRow]:
        """The studies that fit, as they arrive; at most :data:`MOST_STUDIES`, each once."""

    def series(self, study_uid: str) -> list[SeriesRow]:
        """The series of a study, by their numbers."""

    def instances(self, series: SeriesRow) -> Generator[str]:
        """The SOP Instance UIDs of a series as they arrive, each as often as the PACS tells it; none of a series that it does not
        have. Closed before its end, the rest is not asked for."""

    def fetch(self, series: SeriesRow, wanted: Sequence[str] | None, receive: Receive, cancelled: CancelCheck) -> None:
        """Have the images of a series sent: those ``wanted``, or None for all; stops soon where ``cancelled``."""

    def store(self, file: Path) -> str:
        """Send one DICOM file; "" when the PACS took it, else why it refused. Sending it again doubles nothing."""

    def close(self) -> None:
        """End what is open."""


def uid_of(value: object, what: str, name: str) -> str:
    """A UID as the PACS ``name`` sent it, fit for addresses and file names. Raises InputError."""
    text = str(value or "").strip().rstrip("\0")
    if not _UID.fullmatch(text):
        raise InputError(f"{name} sent a {what} that is no UID ('{text[:70]}'). Its answer cannot be used.")
    return text


def count_of(value: object) -> int | None:
    """A count as sent; None where it is absent or no number."""
    try:
        return int(str(value)) if value not in (None, "") else None
    except ValueError:
        return None


def texts_of(value: Any) -> tuple[str, ...]:
    """One or several values as texts."""
    if value in (None, ""):
        return ()
    return (
        tuple(str(v) for v in value) if isinstance(value, list | tuple) or hasattr(value, "append") else (str(value),)
    )


def day_of(text: str) -> date | None:
    """A date given as 2025-03-14 or 20250314; None for "". Raises InputError."""
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError as e:
        raise InputError(f"'{text[:40]}' is no date. Write it as 2025-03-14.") from e
