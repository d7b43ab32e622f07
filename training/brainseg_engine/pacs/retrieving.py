"""Series into a private folder: what is there already is not fetched again, what is half there is not there."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.paths import atomic, check_writable, home, private_folder, sweep
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.pacs import audit
from brainseg_engine.pacs.needed import module
from brainseg_engine.pacs.records import Pacs, SeriesRow

ENOUGH = 200
"""Images of a series that are listed to take one of them for its tags."""
IMAGE_BYTES = 256 << 10
"""Room that is asked for before an image is fetched; most take less."""
_CANCELLED = "Cancelled; the images that came are kept, and the rest is fetched when you ask again."


@dataclass(frozen=True)
class Fetched:
    """What came: the study's folder, how many images are there now, how many were fetched by this call, what was odd."""

    folder: Path
    images: int
    new: int
    notes: tuple[str, ...] = ()


def place(pacs: str, study_uid: str) -> Path:
    """The private folder that a study of a PACS is kept in while it is worked on."""
    return home() / "pacs" / pacs / study_uid


def fetch(
    pacs: Pacs,
    series: Sequence[SeriesRow],
    folder: Path,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> Fetched:
    """Fetch these series of one study into ``folder`` (0700): ``<series UID>/<SOP Instance UID>.dcm``.

    Called again, it fetches what is missing. Raises InputError where the PACS fails or an image is missing in the end,
    OutputError, and Cancelled; what came whole stays.
    """
    private_folder(folder)
    uids_by_series = [_listed(pacs, s, cancelled) for s in series]
    if cancelled():
        raise Cancelled(_CANCELLED)
    state = _State(pacs.name, folder, sum(map(len, uids_by_series)), progress)
    check_writable(folder, 0)
    total_new = 0
    for one, uids in zip(series, uids_by_series, strict=True):
        place_of = private_folder(folder / one.uid)
        sweep(place_of)
        missing = _missing(place_of, uids)
        state.there += len(uids) - len(missing)
        check_writable(place_of, len(missing) * IMAGE_BYTES)
        if not uids:
            state.notes.append(f"The series '{one.description or one.number}' holds no image.")
        if missing:
            total_new += _fetch_one(pacs, one, uids, missing, state, cancelled)
    if cancelled():
        raise Cancelled(_CANCELLED)
    return Fetched(folder, state.there, total_new, tuple(state.notes))


def fetch_some(
    pacs: Pacs, series: SeriesRow, folder: Path, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> Path | None:
    """One image from the middle of a series (of a long one, from its beginning), for its tags, into the place where the series
    would lie; None for an empty one.

    Raises as :func:`fetch`.
    """
    place_of = private_folder(folder / series.uid)
    with closing(pacs.instances(series)) as listed:
        uids = list(islice(listed, ENOUGH))
    there = next((u for u in uids if (place_of / f"{u}.dcm").is_file()), None)
    if not uids or there is not None:
        return place_of / f"{there}.dcm" if there else None
    middle = uids[len(uids) // 2]
    _fetch_one(pacs, series, [middle], [middle], _State(pacs.name, folder, 1, progress), cancelled, by_name=True)
    return place_of / f"{middle}.dcm"


def _fetch_one(
    pacs: Pacs, one: SeriesRow, uids: Sequence[str], missing: Sequence[str], state: _State, cancelled: CancelCheck,
    by_name: bool = False,
) -> int:  # fmt: skip
    """Fetch what is missing of one series; how many images came. Raises InputError, Cancelled."""
    taking = _Taking(state, one, state.folder / one.uid, set(missing))
    try:
        pacs.fetch(one, None if len(missing) == len(uids) and not by_name else missing, taking, cancelled)
        left = _missing(state.folder / one.uid, uids)
        if left and not cancelled():  # a stream may leave some out: those are asked for by name
            pacs.fetch(one, left, taking, cancelled)
            left = _missing(state.folder / one.uid, uids)
    finally:
        if taking.came:
            audit.note("fetched", pacs.name, one.study_uid, one.uid, len(taking.came))
    if cancelled():
        raise Cancelled(_CANCELLED)
    state.notes += taking.notes()
    if left:
        raise InputError(
            f"{pacs.name} did not send {len(left)} of the {len(uids)} images of the series "
            f"'{one.description or one.number}'. What came is kept: ask again for the rest."
        )
    return len(taking.came)


def _listed(pacs: Pacs, series: SeriesRow, cancelled: CancelCheck) -> list[str]:
    """The SOP Instance UIDs of a series, each once; fewer where it is ``cancelled``: there may be 40,000, and some PACS tell a
    few hundred a second."""
    uids: dict[str, None] = {}
    with closing(pacs.instances(series)) as listed:
        for uid in listed:
            uids[uid] = None
            if cancelled():
                break
    return list(uids)


def _missing(folder: Path, uids: Sequence[str]) -> list[str]:
    there = {e.name for e in os.scandir(folder) if e.stat().st_size}  # an empty one is what a power failure leaves
    return [u for u in uids if f"{u}.dcm" not in there]


@dataclass
class _State:
    """How far a retrieve is."""

    name: str
    folder: Path
    images: int
    progress: ProgressCallback
    there: int = 0
    notes: list[str] = field(default_factory=list)

    def one_more(self, what: str) -> None:
        self.there += 1
        self.progress(
            Progress(f"fetching {what}".strip(), min(1.0, self.there / max(1, self.images)), self.there, self.images)
        )


class _Taking:
    """Takes each image as it comes, in whichever thread, and writes it whole or not at all."""

    def __init__(self, state: _State, series: SeriesRow, folder: Path, wanted: set[str]) -> None:
        self._state, self._series, self._folder, self._wanted = state, series, folder, wanted
        self.came: dict[str, int] = {}
        self._doubled: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, content: bytes) -> None:
        """Write that file. Raises InputError for what is no DICOM, or not of this series."""
        sop_uid = self._check(content)
        with self._lock:
            if sop_uid in self.came:
                if self.came[sop_uid] != hash(content):
                    self._doubled.add(sop_uid)
                return
            if sop_uid not in self._wanted:
                return  # it is there already, or came after the list was made
            with atomic(self._folder / f"{sop_uid}.dcm", private=True, durable=False) as part:
                part.write_bytes(content)
            self.came[sop_uid] = hash(content)
            self._state.one_more(self._series.description)

    def notes(self) -> list[str]:
        """What a person should know of what came."""
        if not self._doubled:
            return []
        return [
            f"{len(self._doubled)} images of the series '{self._series.description or self._series.number}' came twice with "
            "different content under one SOP Instance UID; the first of each was kept."
        ]

    def _check(self, content: bytes) -> str:
        pydicom = module("pydicom")
        name = self._state.name
        try:
            with quiet():
                dataset = pydicom.dcmread(io.BytesIO(content))
                uids = str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)
                sop_uid = str(dataset.SOPInstanceUID)
                whole = _whole(dataset)
        except Exception as e:  # whatever a parser makes of anything
            raise InputError(
                f"{name} sent something that is not DICOM. Nothing was kept of it; ask who runs it."
            ) from e
        if uids != (self._series.study_uid, self._series.uid):
            raise InputError(f"{name} sent an image of another series than was asked for; it was not kept.")
        if not whole:
            raise InputError(f"{name} sent an image that is cut short; it was not kept. Try again.")
        return sop_uid


def _whole(dataset: Any) -> bool:
    """Whether the pixel data is as long as the header says; compressed data is taken as it is, once there is some."""
    if "Rows" not in dataset:
        return True
    if "PixelData" not in dataset:
        return False
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return True
    frames = int(dataset.get("NumberOfFrames") or 1)
    bits = dataset.Rows * dataset.Columns * int(dataset.get("SamplesPerPixel") or 1) * dataset.BitsAllocated * frames
    return bool(len(dataset.PixelData) >= (bits + 7) // 8)
