"""A PACS over DICOM's own network services: C-ECHO, C-FIND, C-GET or C-MOVE, C-STORE (PS3.4, PS3.7)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.events import CancelCheck
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.pacs.connections import Dimse
from brainseg_engine.pacs.needed import module
from brainseg_engine.pacs.reaching import ANSWER_S, CONNECT_S, context, reach
from brainseg_engine.pacs.records import MOST_STUDIES, Query, Receive, SeriesRow, StudyRow, count_of, texts_of, uid_of

_FIND, _GET, _MOVE = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 3, 2))  # Study Root, FIND, GET, MOVE
_ECHO = "1.2.840.10008.1.1"
IMAGES = (
    "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.3", "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7",
)  # fmt: skip
"""What is retrieved: MR (classic, enhanced, enhanced colour), CT, secondary captures, SEG, label map."""
DOCUMENTS = (
    "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.104.1",
)  # fmt: skip
"""RT structure set, structured reports, encapsulated PDF."""
_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_COMPRESSED = (
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
)  # fmt: skip
"""Transfer syntaxes that can be read here; each is offered in a context of its own, so that the PACS need not convert."""
BATCH = 200
"""Images asked for by their UIDs in one request."""
_PENDING = (0xFF00, 0xFF01)


class DimsePacs:
    """See :class:`brainseg_engine.pacs.records.Pacs`."""

    def __init__(self, name: str, connection: Dimse) -> None:
        module("pynetdicom")
        self.name, self._connection = name, connection
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # its notes name patients
        self._tls = (context(name, connection), connection.host) if connection.tls else None
        self._reached = False
        self._open: dict[tuple[tuple[str, tuple[str, ...]], ...], Any] = {}

    def test(self) -> str:
        """See the protocol."""
        with self._associated((_ECHO, _PLAIN)) as association:
            status = association.send_c_echo()
        if status.get("Status") != 0:
            raise InputError(f"{self.name} took the connection, but answered no C-ECHO. Ask who runs the PACS.")
        with self._associated((_FIND, _PLAIN)) as association:
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
        for told in self._find("STUDY", keys | query.matching()):
            row = self._study(told)
            if row.uid not in seen:
                seen.add(row.uid)
                yield row
            if len(seen) == MOST_STUDIES:
                return

    def series(self, study_uid: str) -> list[SeriesRow]:
        """See the protocol."""
        keys = dict.fromkeys(("SeriesNumber", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances"), "")
        found: dict[str, SeriesRow] = {}
        for told in self._find("SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": "", **keys}):
            uid = uid_of(told.get("SeriesInstanceUID"), "series", self.name)
            found[uid] = SeriesRow(
                study_uid, uid, count_of(told.get("SeriesNumber")), _text(told, "Modality"), _text(told, "SeriesDescription"),
                count_of(told.get("NumberOfSeriesRelatedInstances")),
            )  # fmt: skip
        return sorted(found.values(), key=lambda s: (s.number is None, s.number or 0))

    def instances(self, series: SeriesRow) -> list[str]:
        """See the protocol."""
        keys = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.uid, "SOPInstanceUID": ""}
        return [uid_of(told.get("SOPInstanceUID"), "SOP Instance UID", self.name) for told in self._find("IMAGE", keys)]

    def fetch(self, series: SeriesRow, wanted: Sequence[str] | None, receive: Receive, cancelled: CancelCheck) -> None:
        """See the protocol. By C-GET, or by C-MOVE to a receiver that is there for this call alone."""
        taking = _ImageReceiver(receive, cancelled)
        keys = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.uid}
        requests: list[tuple[str, dict[str, Any]]] = [("SERIES", dict(keys))]
        if wanted is not None:
            groups = [list(wanted[i : i + BATCH]) for i in range(0, len(wanted), BATCH)]
            requests = [("IMAGE", {**keys, "SOPInstanceUID": group}) for group in groups]
        by_get = self._connection.retrieve == "get"
        for level, asked in requests:
            if cancelled():
                return
            (self._get if by_get else self._move)(_dataset(level, asked), taking)
            taking.require_taken()

    def _get(self, asked: Any, taking: _ImageReceiver) -> None:
        pynetdicom = module("pynetdicom")
        roles = [pynetdicom.build_role(kind, scp_role=True) for kind in (*IMAGES, *DOCUMENTS)]
        handlers = [(pynetdicom.evt.EVT_C_STORE, taking.take)]
        with self._associated_once((_GET, _PLAIN), *_storage(), roles=roles, handlers=handlers) as association:
            self._follow(association, association.send_c_get(asked, _GET), taking, "C-GET")

    def _move(self, asked: Any, taking: _ImageReceiver) -> None:
        pynetdicom = module("pynetdicom")
        connection = self._connection
        receiver = pynetdicom.AE(connection.own_title)
        receiver.require_called_aet = True
        for kind, syntaxes in _storage():
            receiver.add_supported_context(kind, list(syntaxes))
        serving = context(self.name, connection, serving=True) if connection.tls else None
        try:
            server = receiver.start_server(
                (connection.listen, connection.listen_port), block=False, ssl_context=serving,
                evt_handlers=[(pynetdicom.evt.EVT_C_STORE, taking.take)],
            )  # fmt: skip
        except OSError as e:
            raise InputError(
                f"{self.name}: images cannot be received at {connection.listen}:{connection.listen_port} "
                f"({e.strerror or e}). Choose another address or port (listen, listen_port), as the PACS knows it."
            ) from e
        try:
            with self._associated_once((_MOVE, _PLAIN)) as association:
                answers = association.send_c_move(asked, connection.own_title, _MOVE)
                self._follow(association, answers, taking, "C-MOVE")
        finally:
            server.shutdown()
            server.server_close()

    def _follow(self, association: Any, answers: Iterator[Any], taking: _ImageReceiver, service: str) -> None:
        """Hear the answers of C-GET or C-MOVE to their end; what was not sent is found out by who asked."""
        status = None
        for told, _ in answers:
            status = told.get("Status")
            if taking.stop:
                association.abort()
                return
        if status is None:
            taking.require_taken()
            raise self._broken()
        if status == 0xA801:
            raise InputError(
                f"{self.name} does not know where to send to: it has no entry for the AE title "
                f"'{self._connection.own_title}'. Have it entered there with this computer's address and port "
                f'{self._connection.listen_port}, or set retrieve = "get".'
            )
        if status not in (0x0000, 0xB000, 0xFE00):
            raise InputError(
                f"{self.name} could not send the images ({service}: status {status:04X}H). Try again later."
            )

    def store(self, file: Path) -> str:
        """See the protocol."""
        pydicom = module("pydicom")
        with quiet():
            dataset = pydicom.dcmread(file)
            kind, syntax = str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID)
            with self._associated((kind, (syntax,))) as association:
                if not association.accepted_contexts:
                    return f"{self.name} does not take this kind of object"
                status = association.send_c_store(dataset)
        if "Status" not in status:
            raise self._broken()
        code = int(status.Status)
        if code == 0 or code & 0xF000 == 0xB000:  # warnings: it is stored
            return ""
        room = " (it has no room left)" if code & 0xFF00 == 0xA700 else ""
        return f"{self.name} refused it{room}: status {code:04X}H{_comment(status)}"

    def close(self) -> None:
        """See the protocol."""
        while self._open:
            _release(self._open.popitem()[1])

    def _find(self, level: str, keys: dict[str, Any]) -> Iterator[Any]:
        with self._associated((_FIND, _PLAIN)) as association:
            if not association.accepted_contexts:
                raise InputError(f"{self.name} does not let {self._connection.own_title} search (C-FIND).")
            status = None
            for told, identifier in association.send_c_find(_dataset(level, keys), _FIND):
                status = told.get("Status")
                if status in _PENDING and identifier is not None:
                    yield identifier
                elif status in _PENDING:
                    raise InputError(f"{self.name} sent an answer that is not DICOM. Ask who runs the PACS.")
            if status is None:
                raise self._broken()
            if status != 0:
                raise InputError(f"{self.name} could not search (C-FIND: status {status:04X}H). Search for less.")

    def _study(self, told: Any) -> StudyRow:
        with quiet():
            return StudyRow(
                uid_of(told.get("StudyInstanceUID"), "study", self.name), _text(told, "PatientID"), _text(told, "PatientName"),
                _text(told, "PatientBirthDate"), _text(told, "StudyDate"), _text(told, "StudyTime"),
                _text(told, "StudyDescription"), _text(told, "AccessionNumber"), texts_of(told.get("ModalitiesInStudy")),
                count_of(told.get("NumberOfStudyRelatedSeries")), count_of(told.get("NumberOfStudyRelatedInstances")),
            )  # fmt: skip

    @contextmanager
    def _associated(self, *contexts: tuple[str, Sequence[str]]) -> Iterator[Any]:
        """An association over these presentation contexts, kept open for the next call; dropped where the block fails.

        Raises InputError.
        """
        key = tuple((kind, tuple(syntaxes)) for kind, syntaxes in contexts)
        association = self._open.pop(key, None)
        if association is None or not association.is_established:
            association = self._associate(contexts)
        try:
            yield association
        except BaseException:
            association.abort()
            raise
        self._open[key] = association

    @contextmanager
    def _associated_once(self, *contexts: tuple[str, Sequence[str]], roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Iterator[Any]:  # fmt: skip
        association = self._associate(contexts, roles, handlers)
        try:
            yield association
        finally:
            _release(association)

    def _associate(
        self, contexts: Sequence[tuple[str, Sequence[str]]], roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Any:
        pynetdicom, connection = module("pynetdicom"), self._connection
        ae = pynetdicom.AE(connection.own_title)
        ae.connection_timeout = ae.acse_timeout = CONNECT_S
        ae.network_timeout = ae.dimse_timeout = ANSWER_S
        if not self._reached:  # what is wrong with the way is said in words; pynetdicom says nothing of it
            reach(self.name, connection)
            self._reached = True
        wanted = [pynetdicom.presentation.build_context(kind, list(syntaxes)) for kind, syntaxes in contexts]
        association = ae.associate(
            connection.host, connection.port, wanted, ae_title=connection.title, ext_neg=list(roles), tls_args=self._tls,
            evt_handlers=list(handlers),
        )  # fmt: skip
        if not association.is_established:
            raise self._not_associated(association)
        return association

    def _not_associated(self, association: Any) -> BrainsegError:
        name, connection = self.name, self._connection
        if association.is_rejected:
            told = association.acceptor.primitive
            if told.result_source == 1 and told.diagnostic == 7:
                return InputError(
                    f"{name}: the PACS does not go by the AE title '{connection.title}'. Check title: capitals count."
                )
            if told.result_source == 1 and told.diagnostic == 3:
                return InputError(
                    f"{name}: the PACS does not know our AE title '{connection.own_title}'. Have it entered there, with this "
                    "computer's address, or set own_title to one that it knows."
                )
            if told.result_source == 3:
                return InputError(f"{name} is too busy for one more connection. Try again later.")
            return InputError(
                f"{name} rejected the connection. Check the AE titles: '{connection.title}' there, "
                f"'{connection.own_title}' here."
            )
        try:
            reach(name, connection)
        except BrainsegError as e:
            return e
        if association.is_aborted and association.rejected_contexts:
            return InputError(f"{name} does not offer this service to '{connection.own_title}'. Ask who runs the PACS.")
        return InputError(
            f"{name}: what answers at {connection.host}:{connection.port} does not speak DICOM"
            f"{' over TLS' if connection.tls else ', or asks for TLS'}. Check the port."
        )

    def _broken(self) -> InputError:
        try:
            reach(self.name, self._connection)
        except InputError as e:
            return e
        return InputError(
            f"{self.name}: {self._connection.host}:{self._connection.port} broke off, or took longer than {ANSWER_S:.0f} s to "
            "answer. Try again; what came is kept."
        )


def _release(association: Any) -> None:
    if association.is_established:
        association.release()


class _ImageReceiver:
    """Takes the images that a PACS sends; an error of ours ends the sending and is raised where the retrieve was called."""

    def __init__(self, receive: Receive, cancelled: CancelCheck) -> None:
        self._receive, self._cancelled = receive, cancelled
        self._error: Exception | None = None

    @property
    def stop(self) -> bool:
        """Whether no more is wanted."""
        return self._error is not None or self._cancelled()

    def take(self, event: Any) -> int:
        """The handler of pynetdicom, in a thread of its own: a status for the PACS."""
        if self.stop:
            return 0xA700
        try:
            self._receive(event.encoded_dataset())
        except Exception as e:  # it is raised in the thread that waits
            self._error = e
            return 0xA700
        return 0x0000

    def require_taken(self) -> None:
        """Raise what went wrong in :meth:`take`."""
        if self._error is not None:
            raise self._error


def _storage() -> list[tuple[str, Sequence[str]]]:
    """Presentation contexts of what is retrieved; an association may have 128."""
    plain = [(kind, _PLAIN) for kind in (*IMAGES, *DOCUMENTS)]
    return plain + [(kind, (syntax,)) for kind in IMAGES for syntax in _COMPRESSED]


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


def _text(told: Any, keyword: str) -> str:
    """A text of an answer. Where no character set is told, UTF-8 is taken where it is that."""
    text = str(told.get(keyword) or "")
    if "SpecificCharacterSet" in told or text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _comment(status: Any) -> str:
    said = str(status.get("ErrorComment") or "").strip()
    return f" ({said[:80]})" if said else ""
