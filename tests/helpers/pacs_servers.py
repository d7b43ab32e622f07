"""Small PACSs on loopback, one by DICOMweb and one by DIMSE, over the same images, that misbehave when they are told to."""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import io
import json
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pydicom
import trustme
from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, build_context, evt, transport
from pynetdicom.sop_class import (
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from brainseg_engine.pacs.connections import Connection, DicomWeb, Dimse


def _shutdown_and_close(self: transport.AssociationSocket) -> None:
    """pynetdicom 3.0.4 leaves a socket open whose other end has gone already; here an open one is an error."""
    if self.socket is not None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


transport.AssociationSocket._shutdown_socket = _shutdown_and_close

LEVELS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
BOUNDARY = "b0undary"


@dataclass
class Holding:
    """The images there, and what goes wrong. ``break_after``: it vanishes after that many images were sent (or stored).

    ``html``: it answers with a page for people. ``foreign``: it sends something else than it was asked for. ``refuses``: it
    takes no object of these SOP classes. ``listed``: the UIDs that it tells of a series. ``whole_answers``: it knows no pages.
    ``told``: how many rows it has answered.
    """

    images: list[Dataset]
    break_after: int | None = None
    html: bool = False
    foreign: bytes | None = None
    refuses: tuple[str, ...] = ()
    listed: dict[str, list[str]] = field(default_factory=dict)
    whole_answers: bool = False
    sent: int = 0
    told: int = 0
    stored: list[Dataset] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def rows(self, level: str, keys: dict[str, str]) -> list[Dataset]:
        """One dataset for each study, series or image that fits."""
        fitting = [d for d in [*self.images, *self.stored] if all(_fits(d, k, v) for k, v in keys.items() if v)]
        return [_row(level, d) for d in {str(d[LEVELS[level]].value): d for d in fitting}.values()]

    def one_more(self) -> bool:
        """Count one image that goes out or comes in; False where the server is to vanish instead."""
        self.sent += 1
        return self.break_after is None or self.sent <= self.break_after


def _row(level: str, source: Dataset, uid: str = "") -> Dataset:
    row = Dataset()
    for keyword in ("SpecificCharacterSet", "PatientID", "PatientName", "PatientBirthDate", "StudyDate", "StudyDescription",
                    "AccessionNumber", "StudyInstanceUID"):  # fmt: skip
        if keyword in source:
            row[keyword] = source[keyword]
    row.ModalitiesInStudy = [source.Modality]
    if level != "STUDY":
        for keyword in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"):
            row[keyword] = source[keyword]
    if level == "IMAGE":
        row.SOPInstanceUID = uid or source.SOPInstanceUID
    return row


def _fits(dataset: Dataset, keyword: str, asked: Any) -> bool:
    if keyword == "ModalitiesInStudy":
        return str(asked) == dataset.Modality
    value = str(dataset.get(keyword) or "")
    if isinstance(asked, list | tuple | pydicom.multival.MultiValue):
        return value in [str(a) for a in asked]
    if keyword == "StudyDate" and "-" in str(asked):
        low, high = str(asked).split("-")
        return (not low or value >= low) and (not high or value <= high)
    return fnmatch.fnmatchcase(value.casefold(), str(asked).casefold())


def as_file(dataset: Dataset) -> bytes:
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """TLS of a server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


# --- DIMSE ----------------------------------------------------------------------------------------------------------------


@contextmanager
def dimse_server(
    holding: Holding, *, tls: ssl.SSLContext | None = None, own_title: str = "BRAINSEG", move_to: int = 0,
    move_tls: ssl.SSLContext | None = None,
) -> Iterator[Dimse]:  # fmt: skip
    """A DIMSE server that knows the caller ``own_title`` alone; the connection to it.

    ``move_to``: the port that it sends to at C-MOVE, ``move_tls``: encrypted so.
    """
    ae = AE("ARCHIVE")
    ae.require_called_aet = True
    ae.require_calling_aet = [own_title]
    for context in (Verification, StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet,
                    StudyRootQueryRetrieveInformationModelMove):  # fmt: skip
        ae.add_supported_context(context)
    for storage in StoragePresentationContexts:
        ae.add_supported_context(storage.abstract_syntax, scu_role=True, scp_role=True)

    def find(event: Any) -> Iterator[Any]:
        asked = event.identifier
        keys = {e.keyword: e.value for e in asked if e.keyword not in ("QueryRetrieveLevel", "SpecificCharacterSet")}
        rows: Iterable[Dataset] = holding.rows(asked.QueryRetrieveLevel, keys)
        listed = holding.listed.get(keys.get("SeriesInstanceUID", "")) if asked.QueryRetrieveLevel == "IMAGE" else None
        if listed is not None:
            rows = (_row("IMAGE", holding.images[0], uid) for uid in listed)
        for row in rows:
            holding.told += 1
            yield 0xFF00, row

    def wanted(event: Any) -> list[Dataset]:
        asked = event.identifier
        keys = {e.keyword: e.value for e in asked if e.keyword != "QueryRetrieveLevel"}
        holding.requests.append(asked.QueryRetrieveLevel)
        return [d for d in holding.images if all(_fits(d, k, v) for k, v in keys.items() if v)]

    def send(event: Any, images: Sequence[Dataset]) -> Iterator[Any]:
        yield len(images)
        for image in images:
            if not holding.one_more():
                event.assoc.dul.socket.close()
                return
            yield 0xFF00, image

    def get(event: Any) -> Iterator[Any]:
        yield from send(event, wanted(event))

    def move(event: Any) -> Iterator[Any]:
        if event.move_destination != own_title or not move_to:
            yield None, None
            return
        tls_args = None if move_tls is None else (move_tls, "127.0.0.1")
        yield "127.0.0.1", move_to, {"contexts": [build_context(MRImageStorage)], "tls_args": tls_args}
        yield from send(event, wanted(event))

    def store(event: Any) -> int:
        if not holding.one_more():
            event.assoc.dul.socket.close()
            return 0xC000
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        if dataset.SOPClassUID in holding.refuses:
            return 0xA900
        holding.stored.append(dataset)
        return 0x0000

    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get), (evt.EVT_C_MOVE, move), (evt.EVT_C_STORE, store)]
    server = ae.make_server(
        ("127.0.0.1", 0), evt_handlers=handlers, ssl_context=tls, server_class=transport.ThreadedAssociationServer
    )
    ae._servers.append(server)  # as start_server does; shutdown takes it out
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield Dimse(host="127.0.0.1", port=server.server_address[1], title="ARCHIVE")
    finally:
        server.shutdown()
        server.server_close()


# --- DICOMweb -------------------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    holding: Holding
    login: str

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self._allowed():
            return
        parts = urlsplit(self.path)
        path = [unquote(p) for p in parts.path.split("/") if p]
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.holding.requests.append(parts.path)
        if self.holding.html:
            self._answer(200, b"<html>Please log in</html>", "text/html")
            return
        if path[0] != "dicom-web":
            self._answer(404, b"", "text/plain")
            return
        uids = dict(zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), path[2::2], strict=False))
        last = path[-1]
        if last in ("studies", "series", "instances"):
            self._rows({"studies": "STUDY", "series": "SERIES", "instances": "IMAGE"}[last], uids, query)
            return
        self._images([d for d in self.holding.images if all(d[k].value == v for k, v in uids.items())])

    def do_POST(self) -> None:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._allowed():
            return
        if not self.holding.one_more():
            self._vanish()
            return
        boundary = self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        part = body.split(b"--" + boundary)[1]
        dataset = pydicom.dcmread(io.BytesIO(part.partition(b"\r\n\r\n")[2][:-2]))
        item, answer = Dataset(), Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        if dataset.SOPClassUID in self.holding.refuses:
            item.FailureReason = 0x0122
            answer.FailedSOPSequence = [item]
        else:
            self.holding.stored.append(dataset)
            answer.ReferencedSOPSequence = [item]
        status = 409 if "FailedSOPSequence" in answer else 200
        self._answer(status, answer.to_json().encode(), "application/dicom+json")

    def _allowed(self) -> bool:
        if not self.login or self.headers.get("Authorization") == self.login:
            return True
        self._answer(401, b"", "text/plain")
        return False

    def _rows(self, level: str, uids: dict[str, str], query: dict[str, str]) -> None:
        keys = {k: v for k, v in query.items() if k not in ("limit", "offset", "includefield")}
        first = 0 if self.holding.whole_answers else int(query.get("offset", 0))
        page = slice(first, None if self.holding.whole_answers else first + int(query.get("limit", 10**6)))
        listed = self.holding.listed.get(uids.get("SeriesInstanceUID", "")) if level == "IMAGE" else None
        if listed is not None:
            rows = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in listed[page]]
            self.holding.told += len(rows)
        else:
            rows = [r.to_json_dict() for r in self.holding.rows(level, {**keys, **uids})[page]]
        self._answer(200, json.dumps(rows).encode(), "application/dicom+json")

    def _images(self, images: Sequence[Dataset]) -> None:
        if not images:
            self._answer(404, b"", "text/plain")
            return
        self.send_response(200)
        self.send_header("Content-Type", f'multipart/related; type="application/dicom"; boundary={BOUNDARY}')
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for image in images:
            part = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            part += self.holding.foreign or as_file(image)
            if not self.holding.one_more():
                self._chunk(part[: len(part) // 2])
                self._vanish()
                return
            self._chunk(part)
        self._chunk(f"\r\n--{BOUNDARY}--".encode())
        self._chunk(b"")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def _vanish(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def web_server(
    holding: Holding, *, tls: ssl.SSLContext | None = None, user: str = "", secret: str = "", token: str = ""
) -> Iterator[DicomWeb]:
    """A DICOMweb server, with a login where one is given; the connection to it."""
    login = f"Bearer {token}" if token else ""
    if user:
        login = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
    handler = type("Handler", (_Handler,), {"holding": holding, "login": login})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda request, address: None  # a client that goes away is no failure of the test
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    kind = {"login": "basic", "user": user} if user else {"login": "bearer"} if token else {}
    scheme = "https" if tls is not None else "http"
    try:
        yield DicomWeb(url=f"{scheme}://127.0.0.1:{server.server_address[1]}/dicom-web", **kind)
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def server_of(kind: str, holding: Holding) -> Iterator[Connection]:
    """One of the two over the same images."""
    with (web_server if kind == "web" else dimse_server)(holding) as connection:
        yield connection
