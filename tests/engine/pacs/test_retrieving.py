"""Retrieval by either protocol: what a server may do wrong, and that nothing is lost, doubled or kept half."""

from __future__ import annotations

import copy
import json
import socket
import ssl

import pydicom
import pytest
import trustme

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from helpers.pacs_servers import Holding, as_file, dimse_server, server_of, serving, web_server

from brainseg_engine.core.errors import Cancelled, InputError, OutputError
from brainseg_engine.pacs import Query, SeriesRow, audit, connected, dimse_retrieval, retrieving
from brainseg_engine.pacs.retrieving import fetch, fetch_some

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.usefixtures("forgiven")]
KINDS = pytest.mark.parametrize("kind", ["web", "dimse"])


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def study(pacs) -> tuple[str, list[SeriesRow]]:
    (row,) = pacs.studies(Query())
    return row.uid, pacs.series(row.uid)


@KINDS
def test_the_chosen_series_come_whole_and_private_and_once(kind, holding, tmp_path):
    seen = []
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        fetched = fetch(pacs, series[1:], tmp_path / "s", seen.append)
        again = fetch(pacs, series[1:], tmp_path / "s")
    files = sorted((tmp_path / "s").rglob("*.dcm"))
    assert {pydicom.dcmread(f).SeriesInstanceUID for f in files} == {series[1].uid}
    originals = {d.SOPInstanceUID: d for d in holding.images}
    assert all(pydicom.dcmread(f) == originals[f.stem] for f in files)
    assert (fetched.images, fetched.new, again.new, len(files)) == (12, 12, 0, 12)
    assert [p.step for p in seen] == list(range(1, 13))
    assert seen[-1].fraction == 1
    assert all(p.stat().st_mode & 0o077 == 0 for p in [tmp_path / "s", *(tmp_path / "s").rglob("*")])
    (line,) = map(json.loads, audit.file().read_text().splitlines())
    assert (line["action"], line["pacs"], line["objects"]) == ("fetched", "p", 12)
    assert audit.file().stat().st_mode & 0o077 == 0
    assert "Müller" not in audit.file().read_text()


@KINDS
@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_server_that_stops_in_the_middle_is_taken_up_where_it_stopped(kind, after, holding, tmp_path):
    holding.break_after = after
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        with pytest.raises(InputError, match=r"ask again|Try again"):
            fetch(pacs, series[:1], tmp_path)
        came = list(tmp_path.rglob("*.dcm"))
        assert len(came) == after
        assert all("PixelData" in pydicom.dcmread(p) for p in came)
        holding.break_after, holding.sent = None, 0
        fetched = fetch(pacs, series[:1], tmp_path)
    assert (fetched.images, fetched.new) == (12, 12 - after)
    assert holding.sent == 12 - after  # what was there did not come again


@KINDS
def test_cancelled_in_the_middle_keeps_what_came(kind, holding, tmp_path):
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        with pytest.raises(Cancelled):
            fetch(pacs, series, tmp_path, cancelled=lambda: len(list(tmp_path.rglob("*.dcm"))) >= 3)
        assert 3 <= len(list(tmp_path.rglob("*.dcm"))) <= 12
        assert fetch(pacs, series, tmp_path).images == 24


@KINDS
def test_an_image_that_the_server_lists_and_does_not_have_is_reported(kind, holding, tmp_path):
    series_uid = holding.images[0].SeriesInstanceUID
    uids = [d.SOPInstanceUID for d in holding.images if d.SeriesInstanceUID == series_uid]
    holding.listed = {series_uid: [*uids, "1.2.3.4"]}
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        with pytest.raises(InputError, match=r"1 of the 13 images|no such DICOMweb service or object"):
            fetch(pacs, series[:1], tmp_path)
    assert len(list(tmp_path.rglob("*.dcm"))) == 12


@KINDS
def test_doubled_uids_are_reported_and_the_first_is_kept(kind, holding, tmp_path):
    other = copy.deepcopy(holding.images[3])
    other.PixelData = bytes(len(other.PixelData))
    holding.images.insert(4, other)
    series_uid = other.SeriesInstanceUID
    holding.listed = {series_uid: [d.SOPInstanceUID for d in holding.images if d.SeriesInstanceUID == series_uid]}
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        fetched = fetch(pacs, series[:1], tmp_path)
    assert fetched.images == 12
    assert "one SOP Instance UID" in fetched.notes[0]
    kept = pydicom.dcmread(tmp_path / series_uid / f"{other.SOPInstanceUID}.dcm")
    assert kept.PixelData == holding.images[3].PixelData


@pytest.mark.parametrize("content", [b"<html>no</html>", b"\0" * 128 + b"DICM" + b"\xff" * 60])
def test_what_is_no_dicom_is_not_kept(content, holding, tmp_path):
    holding.foreign = content
    with web_server(holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        with pytest.raises(InputError, match="not DICOM"):
            fetch(pacs, series[:1], tmp_path)
    assert not list(tmp_path.rglob("*.dcm"))


def test_an_image_of_another_series_is_not_kept(holding, tmp_path):
    holding.foreign = as_file(holding.images[-1])
    with web_server(holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        with pytest.raises(InputError, match="another series"):
            fetch(pacs, series[:1], tmp_path)
    assert not list(tmp_path.rglob("*.dcm"))


def test_an_image_cut_short_is_not_kept(holding, tmp_path):
    holding.foreign = as_file(holding.images[0])[:-100]
    with web_server(holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        with pytest.raises(InputError, match=r"cut short|not DICOM"):
            fetch(pacs, series[:1], tmp_path)
    assert not list(tmp_path.rglob("*.dcm"))


def test_forty_thousand_images_beside_the_chosen_series_are_not_asked_for(holding, tmp_path):
    large = copy.deepcopy(holding.images[0])
    large.SeriesInstanceUID, large.SeriesDescription, large.SeriesNumber = "1.2.9", "perfusion", 99
    holding.images.append(large)
    holding.listed = {"1.2.9": [f"1.2.9.{n}" for n in range(40_000)]}
    with web_server(holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        assert fetch(pacs, series[:2], tmp_path).images == 24
        assert not any("1.2.9" in r for r in holding.requests)
        assert len(list(pacs.instances(series[2]))) == 40_000
        holding.whole_answers = True  # a server that knows no pages
        assert len(set(pacs.instances(series[2]))) == 40_000


@KINDS
def test_of_a_series_of_forty_thousand_images_one_is_found_and_its_listing_can_be_cancelled(kind, holding, tmp_path):
    """Some PACS tell a few hundred images a second: nobody waits for all of them."""
    first = holding.images[0]
    uids = [first.SOPInstanceUID, *(f"1.2.9.{n}" for n in range(40_000))]
    holding.listed = {first.SeriesInstanceUID: uids}
    holding.images.append(copy.deepcopy(first))
    holding.images[-1].SOPInstanceUID = holding.images[-1].file_meta.MediaStorageSOPInstanceUID = uids[
        retrieving.ENOUGH // 2
    ]
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        assert fetch_some(pacs, series[0], tmp_path).stem == uids[retrieving.ENOUGH // 2]
        asked = []
        with pytest.raises(Cancelled):
            fetch(pacs, series[:1], tmp_path, cancelled=lambda: bool(asked.append(1)) or len(asked) > 150)
        assert len(asked) < 200
        assert len(pacs.series(series[0].study_uid)) == 2  # it can be spoken to again
    assert holding.told < 20_000


def test_a_full_disk_is_reported_and_ends_the_retrieve(holding, tmp_path, monkeypatch):
    def full(path, **_):
        raise OutputError(f"Cannot write {path}: No space left on device. Free some space.")

    monkeypatch.setattr(retrieving, "atomic", full)
    for server in (web_server, dimse_server):
        with server(holding) as connection, connected("p", connection) as pacs:
            _, series = study(pacs)
            with pytest.raises(OutputError, match="No space"):
                fetch(pacs, series, tmp_path)


@KINDS
def test_one_image_tells_the_tags_and_does_not_come_twice(kind, holding, tmp_path):
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        _, series = study(pacs)
        file = fetch_some(pacs, series[0], tmp_path)
        assert fetch_some(pacs, series[0], tmp_path) == file
        assert pydicom.dcmread(file).SeriesInstanceUID == series[0].uid
        assert fetch(pacs, series[:1], tmp_path).new == 11


def test_by_move_nothing_listens_before_or_after(holding, tmp_path):
    port = free_port()
    with dimse_server(holding, move_to=port) as made:
        connection = made.model_copy(update={"retrieve": "move", "listen_port": port})
        with connected("p", connection) as pacs:
            _, series = study(pacs)
            assert not listens(port)
            during = []
            fetch(pacs, series[:1], tmp_path, lambda _: during.append(listens(port)))
            assert all(during)
            assert len(during) == 12
            assert not listens(port)
    with dimse_server(holding) as made, connected("p", made.model_copy(update={"retrieve": "move"})) as pacs:
        _, series = study(pacs)
        with pytest.raises(InputError, match="no entry for the AE title 'BRAINSEG'"):
            fetch(pacs, series[1:], tmp_path)


@pytest.fixture
def encrypted(authority, tmp_path):
    """A server that moves over TLS: the context that it serves with, the port and the settings of the connection."""
    ca, path = authority
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "ours.pem")
    port = free_port()
    more = {"tls": True, "ca": path, "certificate": str(tmp_path / "ours.pem"), "retrieve": "move", "listen_port": port}
    return serving(ca.issue_cert("127.0.0.1")), port, more


def test_by_move_over_tls_each_side_proves_who_it_is(holding, authority, encrypted, tmp_path):
    ca, path = authority
    context, port, more = encrypted
    calling = ssl.create_default_context(cafile=path)
    ca.issue_cert("pacs.example").configure_cert(calling)
    with dimse_server(holding, tls=context, move_to=port, move_tls=calling) as made:
        with connected("p", made.model_copy(update=more)) as pacs:
            _, series = study(pacs)
            during = []
            fetched = fetch(pacs, series[:1], tmp_path / "s", lambda _: during.append(listens(port)))
        assert (fetched.images, len(during), all(during), listens(port)) == (12, 12, True, False)


@pytest.mark.parametrize(
    "who",
    [
        "nobody",
        "a stranger",
        *(pytest.param(who, marks=pytest.mark.slow) for who in ("one that does not trust us", "one without TLS")),
    ],
)
def test_by_move_over_tls_a_caller_who_does_not_prove_itself_is_refused(who, holding, authority, encrypted, tmp_path):
    context, port, more = encrypted
    calling = ssl.create_default_context(cafile=authority[1])
    if who == "a stranger":
        trustme.CA().issue_cert("pacs.example").configure_cert(calling)
    if who == "one that does not trust us":
        calling = ssl.create_default_context()
    with dimse_server(holding, tls=context, move_to=port, move_tls=None if "without" in who else calling) as made:
        with connected("p", made.model_copy(update=more)) as pacs:
            _, series = study(pacs)
            with pytest.raises(InputError, match="no encrypted connection came about"):
                fetch(pacs, series[:1], tmp_path / "s")
        assert not listens(port)
    assert not list((tmp_path / "s").rglob("*.dcm"))


def test_a_caller_that_says_nothing_does_not_hold_the_receiver_up(holding, authority, encrypted, tmp_path, monkeypatch):
    monkeypatch.setattr(dimse_retrieval, "CONNECT_S", 0.3)
    context, port, more = encrypted
    calling = ssl.create_default_context(cafile=authority[1])
    authority[0].issue_cert("pacs.example").configure_cert(calling)
    silent = []

    def also(_) -> None:
        if not silent:
            silent.append(socket.create_connection(("127.0.0.1", port)))

    with (
        dimse_server(holding, tls=context, move_to=port, move_tls=calling) as made,
        connected("p", made.model_copy(update=more)) as pacs,
    ):
        _, series = study(pacs)
        fetched = fetch(pacs, series[:1], tmp_path, also)
    silent.pop().close()
    assert fetched.images == 12


def test_holding_is_what_both_servers_tell(holding):
    assert isinstance(holding, Holding)
    with (
        web_server(holding) as web,
        dimse_server(holding) as dimse,
        connected("a", web) as a,
        connected("b", dimse) as b,
    ):
        (one,), (two,) = a.studies(Query(name="m")), b.studies(Query(name="m"))
        assert one == two
        assert one.name == "Müller^Jörg"
        assert a.series(one.uid) == b.series(one.uid)
