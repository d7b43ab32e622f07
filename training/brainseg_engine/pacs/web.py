"""A PACS over DICOMweb: QIDO-RS finds, WADO-RS retrieves, STOW-RS stores (PS3.18)."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.pacs import secrets
from brainseg_engine.pacs.connections import DicomWeb
from brainseg_engine.pacs.needed import module
from brainseg_engine.pacs.reaching import ANSWER_S, CONNECT_S, context, reach
from brainseg_engine.pacs.records import MOST_STUDIES, Query, Receive, SeriesRow, StudyRow, count_of, texts_of, uid_of

PAGE = 200
INSTANCES_PAGE = 5000
_AS_STORED = (("application/dicom", "*"),)
_STUDY_FIELDS = ("StudyDescription", "PatientBirthDate", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
                 "NumberOfStudyRelatedInstances")  # fmt: skip
_SERIES_FIELDS = ("SeriesDescription", "NumberOfSeriesRelatedInstances")
_Page = Callable[[int, int], Any]


class WebPacs:
    """See :class:`brainseg_engine.pacs.records.Pacs`."""

    def __init__(self, name: str, connection: DicomWeb) -> None:
        client_module = module("dicomweb_client")
        self.name, self._connection = name, connection
        for library in ("dicomweb_client", "retrying"):  # their notes quote what came
            logging.getLogger(library).setLevel(logging.CRITICAL)
        self._session = _session(name, connection)
        self._answered = False
        """It has answered once, so it is no other service."""
        self._client = client_module.DICOMwebClient(
            connection.url.rstrip("/"), session=self._session, permissive_uid=True, timeout=(CONNECT_S, ANSWER_S)
        )
        self._client.host = urlsplit(connection.url).netloc  # the header Host, which it would send without the port
        self._client.set_http_retry_params(retry=False)

    def test(self) -> str:
        """A sentence that says that all is well; see the module's protocol for what is raised."""
        with self._worded():
            answer = self._client.search_for_studies(limit=1)
            _json(answer)
        open_text = self._connection.login != "none" and not self._connection.tls
        return f"{self.name} answers over DICOMweb." + (
            " The password goes there unencrypted: use https where the PACS has it." if open_text else ""
        )

    def studies(self, query: Query) -> Iterator[StudyRow]:
        """See the protocol."""
        filters = query.matching()

        def page(offset: int, limit: int) -> Any:
            return self._client.search_for_studies(
                limit=limit, offset=offset, fields=_STUDY_FIELDS, search_filters=filters
            )

        for answer in islice(self._pages(page, PAGE, "StudyInstanceUID"), MOST_STUDIES):
            yield self._study(answer)

    def series(self, study_uid: str) -> list[SeriesRow]:
        """See the protocol."""

        def page(offset: int, limit: int) -> Any:
            return self._client.search_for_series(study_uid, limit=limit, offset=offset, fields=_SERIES_FIELDS)

        rows = [
            SeriesRow(
                study_uid, uid_of(_of(answer, "SeriesInstanceUID"), "series", self.name), count_of(_of(answer, "SeriesNumber")),
                str(_of(answer, "Modality") or ""), str(_of(answer, "SeriesDescription") or ""),
                count_of(_of(answer, "NumberOfSeriesRelatedInstances")),
            )
            for answer in self._pages(page, PAGE, "SeriesInstanceUID")
        ]  # fmt: skip
        return sorted(rows, key=lambda s: (s.number is None, s.number or 0))

    def instances(self, series: SeriesRow) -> Generator[str]:
        """See the protocol."""

        def page(offset: int, limit: int) -> Any:
            return self._client.search_for_instances(series.study_uid, series.uid, limit=limit, offset=offset)

        for answer in self._pages(page, INSTANCES_PAGE, "SOPInstanceUID", each_once=False):
            yield uid_of(_of(answer, "SOPInstanceUID"), "SOP Instance UID", self.name)

    def fetch(self, series: SeriesRow, wanted: Sequence[str] | None, receive: Receive, cancelled: CancelCheck) -> None:
        """See the protocol. A whole series comes as one stream, single images one by one."""
        with closing(self._files(series, wanted)) as files:
            for content in files:
                receive(content)
                if cancelled():
                    return

    def _files(self, series: SeriesRow, wanted: Sequence[str] | None) -> Generator[bytes, None, None]:
        study, client = series.study_uid, self._client
        if wanted is not None:
            coming = (client.retrieve_instance(study, series.uid, uid, media_types=_AS_STORED) for uid in wanted)
        else:
            with self._worded(), quiet():
                coming = client.iter_series(study, series.uid, media_types=_AS_STORED)
        with ExitStack() as ending:
            ending.callback(getattr(coming, "close", lambda: None))  # a stream that is left, with its connection
            while True:
                with self._worded(), quiet():
                    dataset = next(coming, None)
                    content = _file(dataset) if dataset is not None else None
                if content is None:
                    return
                yield content

    def store(self, file: Path) -> str:
        """See the protocol."""
        pydicom, requests = module("pydicom"), module("requests")
        with quiet():
            dataset = pydicom.dcmread(file)
            with self._worded():
                try:
                    answer = self._client.store_instances([dataset])
                except requests.HTTPError as e:
                    if e.response is None or e.response.status_code not in (400, 409, 413, 415, 422):
                        raise
                    return f"{self.name} refused it (HTTP {e.response.status_code}{_reason(e.response)})"
            failed = answer.get("FailedSOPSequence") or []
        return f"{self.name} refused it ({_failure(failed[0].get('FailureReason'))})" if failed else ""

    def close(self) -> None:
        """See the protocol."""
        self._session.close()

    def _pages(self, page: _Page, size: int, key: str, *, each_once: bool = True) -> Iterator[Mapping[str, Any]]:
        """All answers of a search. A server that knows no pages, or repeats itself, ends it."""
        seen: set[str] = set()
        offset = 0
        while True:
            with self._worded():
                answers = _json(page(offset, size))
            new = 0
            for row in answers:
                uid = str(_of(row, key) or "")
                new += uid not in seen
                if uid not in seen or not each_once:
                    seen.add(uid)
                    yield row
            if not new or len(answers) < size:
                return
            offset += len(answers)

    def _study(self, answer: Mapping[str, Any]) -> StudyRow:
        def text(keyword: str) -> str:
            return str(_of(answer, keyword) or "")

        return StudyRow(
            uid_of(_of(answer, "StudyInstanceUID"), "study", self.name), text("PatientID"), text("PatientName"),
            text("PatientBirthDate"), text("StudyDate"), text("StudyTime"), text("StudyDescription"), text("AccessionNumber"),
            texts_of(_of(answer, "ModalitiesInStudy", every=True)), count_of(_of(answer, "NumberOfStudyRelatedSeries")),
            count_of(_of(answer, "NumberOfStudyRelatedInstances")),
        )  # fmt: skip

    @contextmanager
    def _worded(self) -> Iterator[None]:
        """What a library raises, as a sentence."""
        requests, errors = module("requests"), module("pydicom.errors")
        name, where = self.name, self._connection.url
        try:
            yield
            self._answered = True
        except requests.HTTPError as e:
            raise InputError(self._http_problem(e.response.status_code if e.response is not None else 0)) from e
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, errors.InvalidDicomError) as e:
            raise InputError(
                f"{name}: the answer of {where} was not DICOM. Check the url: it is that of the DICOMweb service, "
                "often ending in /dicom-web."
            ) from e
        except requests.RequestException as e:
            reach(name, self._connection)  # says what is wrong, where the way there is
            if not self._answered:
                raise InputError(
                    f"{name}: what answers at {self._connection.host}:{self._connection.port} does not speak HTTP, or takes "
                    f"longer than {ANSWER_S:.0f} s. Check the port."
                ) from e
            raise InputError(
                f"{name}: {self._connection.host}:{self._connection.port} broke off, or took longer than {ANSWER_S:.0f} s to "
                "answer. Try again; what came is kept."
            ) from e

    def _http_problem(self, status: int) -> str:
        name, connection = self.name, self._connection
        if status == 401:
            if connection.login == "none":
                return f'{name} asks for a login. Set login = "basic" and the user, or login = "bearer" for a token.'
            what = "token" if connection.login == "bearer" else "password"
            if secrets.find(name) is None:
                return (
                    f"{name} asks for a {what}, and none is known. Call 'napari-brainseg pacs login {name}', or set "
                    f"{secrets.variable(name)}."
                )
            user = f"user '{connection.user}' and password" if what == "password" else "token"
            return f"{name} did not accept the {user}. Correct it (napari-brainseg pacs login {name})."
        if status == 403:
            return f"{name} knows who asks, and does not allow this. Ask who runs the PACS for the right to do it."
        if status in (404, 405, 501):
            return (
                f"{name}: there is no such DICOMweb service or object at {connection.url} (HTTP {status}). Check the url, "
                "often ending in /dicom-web."
            )
        return f"{name} answered with an error (HTTP {status}). Try again later, or ask who runs the PACS."


def _session(name: str, connection: DicomWeb) -> Any:
    """An HTTP session with the connection's TLS and login. What the user's environment says of proxies and certificates does
    not count: it would undo what the connection says."""
    requests, adapters = module("requests"), module("requests.adapters")

    class Adapter(adapters.HTTPAdapter):  # type: ignore[misc, name-defined]
        """HTTPS by our own context; wildcards as they are."""

        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            tls = {"ssl_context": context(name, connection)} if connection.tls else {}
            super().init_poolmanager(*args, **tls, **options)

        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            """The context checks; the bundle of requests is not to be trusted beside it."""

        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            # a star needs no escape in a query, and there are servers (Orthanc 1.10) that decode none
            request.url = request.url.replace("%2A", "*").replace("+", "%20")
            return super().send(request, *args, **options)

    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Adapter())
    session.mount("http://", Adapter())
    secret = secrets.find(name) if connection.login != "none" else None
    if connection.login == "basic":
        session.auth = (connection.user.encode(), (secret or "").encode())
    elif connection.login == "bearer" and secret:
        session.headers["Authorization"] = f"Bearer {secret}"
    return session


def _json(answer: Any) -> list[Mapping[str, Any]]:
    """A list of DICOM JSON objects. Raises ValueError for anything else."""
    if not isinstance(answer, list) or not all(isinstance(t, Mapping) for t in answer):
        raise ValueError("no list of objects")
    for k, v in (pair for t in answer for pair in t.items()):
        if len(k) != 8 or not isinstance(v, Mapping) or not isinstance(v.get("Value", []), list):
            raise ValueError("no DICOM JSON")
    return answer


def _of(answer: Mapping[str, Any], keyword: str, *, every: bool = False) -> Any:
    """The (first) value of an element of DICOM JSON; of a person's name the letters people read, else what there is."""
    tag = module("pydicom.datadict").tag_for_keyword(keyword)
    values = answer.get(f"{tag:08X}", {}).get("Value") or []
    if every:
        return [v for v in values if v is not None]
    first = values[0] if values else None
    if isinstance(first, Mapping):
        return next((first[k] for k in ("Alphabetic", "Ideographic", "Phonetic") if first.get(k)), "")
    return first


def _file(dataset: Any) -> bytes:
    """The dataset as a DICOM file."""
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def _failure(code: Any) -> str:
    said = {0xA700: "it has no room left", 0x0110: "it could not process it", 0x0122: "it does not take this kind of object",
            0xA900: "it does not fit its kind", 0xC000: "it could not read it", 0x0124: "not allowed"}  # fmt: skip
    number = count_of(code) or 0
    return said.get(number, f"reason {number:04X}H")


def _reason(response: Any) -> str:
    """The failure's code in an answer in JSON, where it tells one."""
    try:
        answer = response.json()
        item = (answer[0] if isinstance(answer, list) else answer)["00081198"]["Value"][0]
        return f", {_failure(item['00081197']['Value'][0])}"
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
