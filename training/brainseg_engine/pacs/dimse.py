"""A PACS over DICOM's own network services: C-ECHO, C-FIND, C-GET or C-MOVE, C-STORE (PS3.4, PS3.7)."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.pacs import services
from brainseg_engine.pacs.associations import Associations
from brainseg_engine.pacs.connections import Dimse
from brainseg_engine.pacs.dimse_retrieval import ImageReceiver, Retrieval
from brainseg_engine.pacs.needed import module
from brainseg_engine.pacs.records import MOST_STUDIES, Query, Receive, SeriesRow, StudyRow, count_of, texts_of, uid_of

BATCH = 200
"""Images asked for by their UIDs in one request."""
_PENDING = (0xFF00, 0xFF01)
_NOT_DICOM = "{} sent an answer that is not DICOM. Ask who runs the PACS."


class DimsePacs:
    """See :class:`brainseg_engine.pacs.records.Pacs`."""

    def __init__(self, name: str, connection: Dimse) -> None:
        module("pynetdicom")
        self.name, self._connection = name, connection
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # its notes name patients
        self._associations = Associations(name, connection)
        self._retrieval = Retrieval(name, connection, self._associations)

    def test(self) -> str:
        """See the protocol."""
        with self._associations.kept((services.ECHO, services.PLAIN)) as association:
            status = association.send_c_echo()
        if status.get("Status") != 0:
            raise InputError(f"{self.name} took the connection, but answered no C-ECHO. Ask who runs the PACS.")
        with self._associations.kept((services.FIND, services.PLAIN)) as association:
            if not association.accepted_contexts:
                raise InputError(f"{self.name} answers, but does not let {self._connection.own_title} search (C-FIND).")
        return f"{self.name} answers over DICOM ({self._connection.where})."

    def studies(self, query: Query) -> Iterator[StudyRow]:
        """See the protocol."""
        keys = dict.fromkeys(
            ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "StudyDescription",
             "AccessionNumber", "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"), ""
        )  # fmt: skip
        seen: set[str] = set()
        for row in map(self._study, self._find("STUDY", keys | query.matching())):
            if row.uid not in seen:
                seen.add(row.uid)
                yield row
            if len(seen) == MOST_STUDIES:
                return

    def series(self, study_uid: str) -> list[SeriesRow]:
        """See the protocol."""
        keys = dict.fromkeys(("SeriesNumber", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances"), "")
        rows: dict[str, SeriesRow] = {}
        for answer in self._find("SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": "", **keys}):
            with self._readable():
                uid = uid_of(answer.get("SeriesInstanceUID"), "series", self.name)
                rows[uid] = SeriesRow(
                    study_uid, uid, count_of(answer.get("SeriesNumber")), _text(answer, "Modality"),
                    _text(answer, "SeriesDescription"), count_of(answer.get("NumberOfSeriesRelatedInstances")),
                )  # fmt: skip
        return sorted(rows.values(), key=lambda s: (s.number is None, s.number or 0))

    def instances(self, series: SeriesRow) -> Generator[str]:
        """See the protocol."""
        keys = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.uid, "SOPInstanceUID": ""}
        with closing(self._find("IMAGE", keys)) as answers:
            for answer in answers:
                with self._readable():
                    uid = uid_of(answer.get("SOPInstanceUID"), "SOP Instance UID", self.name)
                yield uid

    def fetch(self, series: SeriesRow, wanted: Sequence[str] | None, receive: Receive, cancelled: CancelCheck) -> None:
        """See the protocol. By C-GET, or by C-MOVE to a receiver that is there for this call alone."""
        taking = ImageReceiver(receive, cancelled)
        keys = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.uid}
        requests: list[tuple[str, dict[str, Any]]] = [("SERIES", dict(keys))]
        if wanted is not None:
            groups = [list(wanted[i : i + BATCH]) for i in range(0, len(wanted), BATCH)]
            requests = [("IMAGE", {**keys, "SOPInstanceUID": group}) for group in groups]
        retrieve = self._retrieval.get if self._connection.retrieve == "get" else self._retrieval.move
        for level, asked in requests:
            if cancelled():
                return
            retrieve(_dataset(level, asked), taking)
            taking.require_taken()

    def store(self, file: Path) -> str:
        """See the protocol."""
        pydicom = module("pydicom")
        with quiet():
            dataset = pydicom.dcmread(file)
            kind, syntax = str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID)
            with self._associations.kept((kind, (syntax,))) as association:
                if not association.accepted_contexts:
                    return f"{self.name} does not take this kind of object"
                status = association.send_c_store(dataset)
        if "Status" not in status:
            raise self._associations.broken()
        code = int(status.Status)
        if code == 0 or code & 0xF000 == 0xB000:  # warnings: it is stored
            return ""
        room = " (it has no room left)" if code & 0xFF00 == 0xA700 else ""
        return f"{self.name} refused it{room}: status {code:04X}H{_comment(status)}"

    def close(self) -> None:
        """See the protocol."""
        self._associations.close()

    def _find(self, level: str, keys: dict[str, Any]) -> Generator[Any]:
        with self._associations.kept((services.FIND, services.PLAIN)) as association:
            if not association.accepted_contexts:
                raise InputError(f"{self.name} does not let {self._connection.own_title} search (C-FIND).")
            status = None
            for answer, identifier in association.send_c_find(_dataset(level, keys), services.FIND):
                status = answer.get("Status")
                if status in _PENDING and identifier is not None:
                    yield identifier
                elif status in _PENDING:
                    raise InputError(_NOT_DICOM.format(self.name))
            if status is None:
                raise self._associations.broken()
            if status != 0:
                raise InputError(f"{self.name} could not search (C-FIND: status {status:04X}H). Search for less.")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """What pydicom, which reads an element when it is asked for, makes of one that is none."""
        try:
            with quiet():
                yield
        except InputError:
            raise
        except Exception as e:
            raise InputError(_NOT_DICOM.format(self.name)) from e

    def _study(self, answer: Any) -> StudyRow:
        with self._readable():
            return StudyRow(
                uid_of(answer.get("StudyInstanceUID"), "study", self.name), _text(answer, "PatientID"),
                _text(answer, "PatientName"), _text(answer, "PatientBirthDate"), _text(answer, "StudyDate"),
                _text(answer, "StudyTime"), _text(answer, "StudyDescription"), _text(answer, "AccessionNumber"),
                texts_of(answer.get("ModalitiesInStudy")), count_of(answer.get("NumberOfStudyRelatedSeries")),
                count_of(answer.get("NumberOfStudyRelatedInstances")),
            )  # fmt: skip


def _dataset(level: str, keys: Mapping[str, Any]) -> Any:
    pydicom = module("pydicom")
    asked = pydicom.Dataset()
    asked.QueryRetrieveLevel = level
    if any(not str(v).isascii() for v in keys.values()):
        asked.SpecificCharacterSet = "ISO_IR 192"
    with quiet():
        for keyword, value in keys.items():
            setattr(asked, keyword, value)
    return asked


def _text(answer: Any, keyword: str) -> str:
    """A text of an answer. Where no character set is named, UTF-8 is taken where it is that."""
    text = str(answer.get(keyword) or "")
    if "SpecificCharacterSet" in answer or text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _comment(status: Any) -> str:
    said = str(status.get("ErrorComment") or "").strip()
    return f" ({said[:80]})" if said else ""
