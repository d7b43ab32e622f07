"""What is sent to a PACS: kept here until the PACS has it, and offered again until then.

One folder a sending, ``outbox/<id>``: the objects, and ``job.json`` that says which of them the PACS has. The same objects
to the same PACS are the same sending, and before one is sent again the PACS is asked whether it has it: so nothing is
doubled, whatever stopped the last attempt.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from brainseg_engine.core import records
from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import atomic, home, private_folder, sweep
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.pacs import audit
from brainseg_engine.pacs.connections import check_name
from brainseg_engine.pacs.needed import module
from brainseg_engine.pacs.records import Pacs, Query, SeriesRow, StudyRow, uid_of

FORMAT = "napari-brainseg-outbox/1"
_DESCRIBED = (
    "Modality", "SeriesDescription", "PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID",
    "SOPClassUID",
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One object to be sent. ``sent``: the PACS has it; ``message``: why it refused it, where it did."""

    sop_uid: str
    series_uid: str
    modality: str = ""
    description: str = ""
    sent: bool = False
    message: str = ""


@dataclass(frozen=True)
class Job:
    """One sending: some objects of one study, to one PACS."""

    id: str
    pacs: str
    study_uid: str
    patient_id: str
    patient_name: str
    created: str
    items: tuple[Item, ...]

    @property
    def folder(self) -> Path:
        """Where its objects are kept."""
        return folder() / self.id

    @property
    def waiting(self) -> tuple[Item, ...]:
        """The objects that the PACS does not have yet."""
        return tuple(i for i in self.items if not i.sent)


def folder() -> Path:
    """Where the sendings are kept."""
    return home() / "outbox"


def put(pacs: str, files: Sequence[Path]) -> list[Job]:
    """Copy the objects into the outbox, a sending for each study; what waits there already stays as it is.

    Folders stand for the DICOM files in them. Raises InputError for a file that is no DICOM object, and for two different
    objects of one SOP Instance UID; OutputError.
    """
    check_name(pacs)
    by_study: dict[str, dict[str, tuple[Path, Mapping[str, str]]]] = {}
    for file in _files(files):
        description = _described(file)
        study = by_study.setdefault(description["StudyInstanceUID"], {})
        other = study.setdefault(description["SOPInstanceUID"], (file, description))[0]
        if other != file and other.read_bytes() != file.read_bytes():
            raise InputError(f"{other} and {file} are two objects with one SOP Instance UID. Send one of them.")
    return [_put_one(pacs, study_uid, objects) for study_uid, objects in by_study.items()]


def _put_one(pacs: str, study_uid: str, objects: Mapping[str, tuple[Path, Mapping[str, str]]]) -> Job:
    digest = hashlib.sha256("\n".join([pacs, study_uid, *sorted(objects)]).encode()).hexdigest()[:16]
    first = next(iter(objects.values()))[1]
    items = tuple(
        Item(uid, description["SeriesInstanceUID"], description["Modality"], description["SeriesDescription"])
        for uid, (_, description) in objects.items()
    )
    job = Job(digest, pacs, study_uid, first["PatientID"], first["PatientName"],
              datetime.now(UTC).isoformat(timespec="seconds"), items)  # fmt: skip
    private_folder(folder())
    private_folder(job.folder)
    with held(job.folder / ".lock"):
        with contextlib.suppress(InputError):
            return _read(job.folder)
        sweep(job.folder)
        for uid, (file, _) in objects.items():
            with atomic(job.folder / f"{uid}.dcm", private=True) as part:
                shutil.copyfile(file, part)
        _write(job)  # last: where it is, everything it names is
    return job


def jobs(pacs: str | None = None) -> list[Job]:
    """The sendings that wait, the oldest first; those to one PACS where it is named."""
    waiting = []
    for place in sorted(folder().iterdir()) if folder().is_dir() else []:
        with contextlib.suppress(InputError):
            waiting.append(_read(place))
    return sorted((j for j in waiting if pacs in (None, j.pacs)), key=lambda j: j.created)


def study_at(pacs: Pacs, job: Job, *, new_study: bool = False) -> StudyRow | None:
    """The study of the PACS that the objects go to; None where it has none and ``new_study`` allows to make it.

    Raises InputError where the PACS has no such study, or has it for another patient.
    """
    there = next(iter(pacs.studies(Query(modality="", study_uid=job.study_uid))), None)
    if there is None and not new_study:
        raise InputError(
            f"{pacs.name} has no study {job.study_uid}, so the results would stand alone there. Send them to the PACS that the "
            "study came from, or allow a new study (--new-study)."
        )
    if there is not None and there.patient_id.strip() != job.patient_id.strip():
        raise InputError(
            f"{pacs.name} has the study {job.study_uid} for another patient id than the results tell, so nothing was sent. "
            "Make the results on the study as it is there."
        )
    return there


def send(pacs: Pacs, job: Job, progress: ProgressCallback = silent, cancelled: CancelCheck = never) -> Job:
    """Send what waits of it; returns how it stands then. When the PACS has all of it, it leaves the outbox.

    Raises InputError where the connection fails and Cancelled; what was sent counts as sent, the rest stays.
    """
    with held(job.folder / ".lock"):
        job = _read(job.folder)
        series = sorted({i.series_uid for i in job.waiting})
        known = {uid for s in series for uid in pacs.instances(SeriesRow(job.study_uid, s))}
        for n, item in enumerate(job.items):
            progress(Progress("sending", n / len(job.items), n, len(job.items)))
            if item.sent:
                continue
            if cancelled():
                raise Cancelled("Cancelled; what was not sent is kept, and can be sent again.")
            job = _send_one(pacs, job, n, known)
        progress(Progress("sending", 1.0, len(job.items), len(job.items)))
    if not job.waiting:
        drop(job)
    return job


def _send_one(pacs: Pacs, job: Job, n: int, known: Container[str]) -> Job:
    item = job.items[n]
    there = item.sop_uid in known
    refusal = "" if there else pacs.store(job.folder / f"{item.sop_uid}.dcm")
    now = replace(item, sent=not refusal, message=refusal)
    job = replace(job, items=(*job.items[:n], now, *job.items[n + 1 :]))
    _write(job)
    if not there:
        action = "refused" if refusal else "sent"
        audit.note(action, pacs.name, job.study_uid, item.series_uid, 1, [item.sop_uid], refusal)  # type: ignore[arg-type]
    return job


def drop(job: Job) -> None:
    """Take the sending out of the outbox, whatever is left of it."""
    shutil.rmtree(job.folder, ignore_errors=True)


def _files(given: Sequence[Path]) -> Iterator[Path]:
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*.dcm") if p.is_file())
            if not inside:
                raise InputError(f"{path} holds no DICOM object (*.dcm). Name the folder that 'export' wrote.")
            yield from inside
        elif path.is_file():
            yield path
        else:
            raise InputError(f"There is no file or folder {path}. Check the path.")


def _described(file: Path) -> dict[str, str]:
    """What is to be known of an object before it is sent. Raises InputError for what is none."""
    pydicom = module("pydicom")
    try:
        with quiet():
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_DESCRIBED))
            description = {keyword: str(dataset.get(keyword) or "").strip() for keyword in _DESCRIBED}
            dataset.file_meta.TransferSyntaxUID  # noqa: B018  read for its error
    except Exception as e:  # whatever a parser makes of anything
        raise InputError(f"{file} is no DICOM file, so it cannot be sent to a PACS. Export the result first.") from e
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        uid_of(description[keyword], keyword, str(file))
    return description


def _read(place: Path) -> Job:
    """The sending kept in that folder. Raises InputError for what is none."""
    try:
        record = records.read_object(place / "job.json", most=2**24)
        if record.pop("format") != FORMAT:
            raise ValueError("of another version")
        items = tuple(Item(**item) for item in record.pop("items"))
        for item in items:
            uid_of(item.sop_uid, "SOP Instance UID", str(place))
        return Job(**record | {"id": place.name}, items=items)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{place} is no sending of this program. Move it away.") from e


def _write(job: Job) -> None:
    record = {k: v for k, v in asdict(job).items() if k != "id"}
    records.write_json(job.folder / "job.json", {"format": FORMAT, **record}, private=True)
