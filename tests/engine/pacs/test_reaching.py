"""*Test connection*: every way in which a connection can be wrong is told apart, in words."""

from __future__ import annotations

import datetime
import logging
import socket
import ssl
import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")
pytest.importorskip("keyring")

import keyring.backends.chainer
import keyring.backends.fail
from helpers.pacs_servers import dimse_server, server_of, serving, web_server

from brainseg_engine.core.errors import InputError
from brainseg_engine.pacs import DicomWeb, Dimse, Query, connected, reaching, secrets
from brainseg_engine.pacs.dimse import DimsePacs
from brainseg_engine.pacs.records import StudyRow
from brainseg_engine.pacs.web import WebPacs

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.usefixtures("forgiven")]
KINDS = pytest.mark.parametrize("kind", ["web", "dimse"])


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    from brainseg_engine.pacs import associations, web

    for module in (reaching, associations, web):
        monkeypatch.setattr(module, "CONNECT_S", 3.0)
        monkeypatch.setattr(module, "ANSWER_S", 3.0)


def problem(connection) -> str:
    with pytest.raises(InputError) as e, connected("archive", connection) as pacs:
        pacs.test()
    assert str(e.value).startswith("archive")
    return str(e.value)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def at(kind: str, host: str, port: int, **more):
    if kind == "web":
        return DicomWeb(url=f"http{'s' if more.pop('tls', False) else ''}://{host}:{port}/dicom-web", **more)
    return Dimse(host=host, port=port, title="ARCHIVE", **more)


@KINDS
def test_all_well(kind, holding):
    with server_of(kind, holding) as connection, connected("archive", connection) as pacs:
        assert "archive answers" in pacs.test()


@KINDS
def test_an_unknown_host(kind):
    assert "no host is called 'pacs.invalid'" in problem(at(kind, "pacs.invalid", 104))


@KINDS
def test_a_port_where_nothing_listens(kind):
    port = free_port()
    assert f"nothing answers on port {port}" in problem(at(kind, "127.0.0.1", port))


@contextmanager
def talker(*answers: bytes):
    """Something that answers, and is no PACS; of several answers each who asks gets the next, and the last from then on."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def serve() -> None:
        left = list(answers)
        while True:
            try:
                other, _ = listener.accept()
            except OSError:
                return
            with other:
                other.settimeout(1)
                try:
                    if other.recv(4096):
                        other.sendall(left.pop(0) if len(left) > 1 else left[0])
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@KINDS
def test_something_that_is_no_pacs(kind):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>"
    with talker(page) as port:
        said = problem(at(kind, "127.0.0.1", port))
    assert ("was not DICOM" if kind == "web" else "does not speak DICOM") in said


def test_a_refusal_is_heard_though_the_connection_was_closed_over_it():
    """A PACS that refuses and closes at once (Orthanc) is now and then not heard: it is asked again."""
    refusal = bytes([3, 0, 0, 0, 0, 4, 0, 1, 1, 7])  # A-ASSOCIATE-RJ: called AE title not recognised
    with talker(b"", b"", refusal) as port:
        assert "does not go by the AE title 'ARCHIVE'" in problem(at("dimse", "127.0.0.1", port))


def test_http_spoken_to_another_service_is_the_wrong_port():
    with talker(b"") as port:
        assert "does not speak HTTP" in problem(at("web", "127.0.0.1", port))


def test_a_login_page_is_no_answer(holding):
    holding.html = True
    with web_server(holding) as connection:
        assert "was not DICOM" in problem(connection)


def test_a_wrong_path(holding):
    with web_server(holding) as connection:
        wrong = connection.model_copy(update={"url": connection.url.replace("dicom-web", "wrong")})
        assert "Check the url" in problem(wrong)


def test_the_ae_titles_are_told_apart(holding):
    with dimse_server(holding) as connection:
        said = problem(connection.model_copy(update={"title": "ARCHIV"}))
        assert "does not go by the AE title 'ARCHIV'" in said
        said = problem(connection.model_copy(update={"own_title": "OTHER"}))
        assert "does not know our AE title 'OTHER'" in said


def test_password_and_token(holding, monkeypatch):
    with web_server(holding, user="anna", secret="geheim") as connection:
        assert "asks for a password, and none is known" in problem(connection)
        assert "asks for a login" in problem(connection.model_copy(update={"login": "none", "user": ""}))
        monkeypatch.setenv(secrets.variable("archive"), "falsch")
        assert "did not accept the user 'anna' and password" in problem(connection)
        monkeypatch.setenv(secrets.variable("archive"), "geheim")
        with connected("archive", connection) as pacs:
            assert "unencrypted" in pacs.test()
    with web_server(holding, token="t0ken") as connection:
        assert "did not accept the token" in problem(connection)
        monkeypatch.setenv(secrets.variable("archive"), "t0ken")
        with connected("archive", connection) as pacs:
            assert pacs.test()


# --- certificates -----------------------------------------------------------------------------------------------------------


@contextmanager
def tls_server(kind, holding, context):
    with (web_server if kind == "web" else dimse_server)(holding, tls=context) as made:
        yield made if kind == "web" else made.model_copy(update={"tls": True})


@KINDS
def test_a_private_authority_is_trusted_when_it_is_named(kind, holding, authority):
    ca, path = authority
    with tls_server(kind, holding, serving(ca.issue_cert("127.0.0.1"))) as connection:
        with connected("archive", connection.model_copy(update={"ca": path})) as pacs:
            assert "answers" in pacs.test()
            assert len(list(pacs.studies(Query()))) == 1
        assert "an authority that is not known here" in problem(connection)


@KINDS
def test_an_expired_certificate_and_one_of_another_host(kind, holding, authority):
    ca, path = authority
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    with tls_server(
        kind, holding, serving(ca.issue_cert("127.0.0.1", not_before=long_ago, not_after=long_ago))
    ) as connection:
        assert "has expired" in problem(connection.model_copy(update={"ca": path}))
    with tls_server(kind, holding, serving(ca.issue_cert("pacs.example"))) as connection:
        assert "for another host than '127.0.0.1'" in problem(connection.model_copy(update={"ca": path}))


@KINDS
def test_a_certificate_of_ours_where_the_pacs_asks_for_one(kind, holding, authority, tmp_path):
    ca, path = authority
    context = serving(ca.issue_cert("127.0.0.1"))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ours = ca.issue_cert("client.example")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    with tls_server(kind, holding, context) as connection:
        without = connection.model_copy(update={"ca": path})
        assert "asks for a certificate of ours" in problem(without)
        with connected("archive", without.model_copy(update={"certificate": str(tmp_path / "client.pem")})) as pacs:
            assert "answers" in pacs.test()


@KINDS
def test_tls_where_there_is_none_and_none_where_there_is(kind, holding, authority):
    ca, _ = authority
    with server_of(kind, holding) as plain:
        assert "does not speak TLS" in problem(at(kind, "127.0.0.1", plain.port, tls=True))
    with tls_server(kind, holding, serving(ca.issue_cert("127.0.0.1"))) as connection:
        assert "Check the port" in problem(at(kind, "127.0.0.1", connection.port)) or kind == "web"


def test_files_of_certificates_that_cannot_be_used(holding, tmp_path):
    (tmp_path / "x.pem").write_text("no certificate")
    for more, said in (
        ({"ca": str(tmp_path / "none.pem")}, "there is no file"),
        ({"ca": str(tmp_path / "x.pem")}, "holds no certificate"),
        ({"certificate": str(tmp_path / "x.pem")}, "cannot be used with its key"),
    ):
        for kind in ("web", "dimse"):
            assert said in problem(at(kind, "127.0.0.1", 1, tls=True, **more))


def test_a_secret_is_never_in_a_log_an_error_or_a_file(holding, monkeypatch, caplog, own_home):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(secrets.variable("archive"), "geheim-73")
    with web_server(holding, user="anna", secret="other") as connection:
        said = problem(connection)
    assert "geheim-73" not in said + caplog.text
    assert not any("geheim-73" in p.read_text() for p in own_home.rglob("*") if p.is_file())


class Memory(keyring.backend.KeyringBackend):
    """A keyring as a desktop has one."""

    priority = 1

    def __init__(self):
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


class PlaintextKeyring(Memory):
    """Like the one of keyrings.alt."""


@pytest.fixture
def keyring_is():
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


def test_a_secret_is_kept_in_the_keyring_and_taken_out(keyring_is, own_home):
    there = Memory()
    keyring_is(there)
    secrets.keep("archive", "geheim")
    assert secrets.find("archive") == "geheim"
    assert secrets.find("archive", "key") is None
    assert not any(b"geheim" in p.read_bytes() for p in own_home.rglob("*") if p.is_file())
    secrets.keep("archive", "")
    assert there.kept == {}


def test_a_keyring_that_writes_plain_files_is_not_used(keyring_is, monkeypatch):
    plain, there = PlaintextKeyring(), Memory()
    keyring_is(plain)
    with pytest.raises(InputError, match=r"plain file.*BRAINSEG_PACS_ARCHIVE"):
        secrets.keep("archive", "geheim")
    plain.kept["napari-brainseg", "archive/login"] = "x"
    assert secrets.find("archive") is None
    chain = keyring.backends.chainer.ChainerBackend()
    keyring_is(chain)
    monkeypatch.setattr(keyring.backends.chainer.ChainerBackend, "backends", [plain, there])
    secrets.keep("archive", "geheim")
    assert (list(there.kept.values()), list(plain.kept.values())) == (["geheim"], ["x"])
    monkeypatch.setattr(keyring.backends.chainer.ChainerBackend, "backends", [plain])
    assert secrets.find("archive") is None


def test_without_a_keyring_the_variable_is_named_before_a_password_is_asked_for(keyring_is, monkeypatch):
    from typer.testing import CliRunner

    from brainseg_engine.cli import app
    from brainseg_engine.pacs import connections

    keyring_is(keyring.backends.fail.Keyring())
    monkeypatch.setattr("getpass.getpass", lambda _: pytest.fail("asked for a password that cannot be kept"))
    connections.save({"archive": DicomWeb(url="http://127.0.0.1:1/dicom-web", login="basic", user="anna")})
    said = CliRunner().invoke(app, ["pacs", "login", "archive"])
    assert said.exit_code == 3
    assert "no keyring to keep a secret in. Set the environment variable BRAINSEG_PACS_ARCHIVE" in " ".join(
        said.output.split()
    )
    assert secrets.find("archive") is None


@pytest.mark.parametrize(("kind", "package"), [("web", "dicomweb_client"), ("dimse", "pynetdicom")])
def test_a_missing_library_is_named_with_its_extra(kind, package, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"napari-brainseg\[pacs\]"), connected("archive", at(kind, "127.0.0.1", 1)):
        pass


@pytest.mark.parametrize("odd", [{"00100020": "x"}, {"00100020": {"vr": "LO", "Value": 5}}, {"x": {}}, ["x"]], ids=str)
def test_an_answer_whose_second_study_is_no_dicom_is_said(odd, monkeypatch):
    pacs = WebPacs("archive", DicomWeb(url="http://127.0.0.1:1/dicom-web"))
    answers = [{"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}, odd]
    monkeypatch.setattr(pacs._client, "search_for_studies", lambda **how: answers)
    with pytest.raises(InputError, match="was not DICOM"):
        list(pacs.studies(Query()))


@pytest.mark.parametrize(
    "odd",
    [
        {"NumberOfStudyRelatedInstances": b"inf "},
        {"StudyInstanceUID": b"1.2/../x"},
        {"StudyInstanceUID": b""},
        {"SpecificCharacterSet": b"\\\\ISO 2022 IR 87", "PatientName": b"\x1b$B\xff"},
    ],
    ids=str,
)
def test_an_answer_by_dimse_that_cannot_be_read_is_one_sentence(odd, monkeypatch):
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import Tag

    answer, ended, pending = Dataset(), Dataset(), Dataset()
    pending.Status, ended.Status = 0xFF00, 0
    for keyword, value in ({"StudyInstanceUID": b"1.2.3", "PatientName": b"A^B"} | odd).items():
        tag = Tag(tag_for_keyword(keyword))
        answer._dict[tag] = RawDataElement(tag, None, len(value), value, 0, True, True)
    association = SimpleNamespace(
        accepted_contexts=[1], send_c_find=lambda *_: iter([(pending, answer), (ended, None)]), abort=lambda: None
    )
    pacs = DimsePacs("archive", Dimse(host="127.0.0.1", port=1, title="X"))
    monkeypatch.setattr(pacs._associations, "kept", lambda *_: nullcontext(association))
    try:
        assert [row.uid for row in pacs.studies(Query())] == ["1.2.3"]
    except InputError as e:
        assert str(e).startswith("archive sent")
    else:
        assert "PatientName" in odd  # odd letters alone are shown as what they can be read as


def test_names_as_people_write_them():
    names = {"Müller^Jörg": "Müller, Jörg", "Yamada^Tarou=山田^太郎": "Yamada, Tarou", "=山田^太郎": "山田, 太郎", "": "",
             "^": "", "O'Hara^Ann^M^Dr": "O'Hara, Ann M", "Anonymous": "Anonymous"}  # fmt: skip
    assert {name: StudyRow("1", name=name).person for name in names} == names
