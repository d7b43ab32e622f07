"""The whole way against a real Orthanc: find, get, predict, send, find again, by DICOMweb and by DIMSE; and what a kill in the
middle leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pydicom
import pytest
import trustme
from dicom_studies import ball, grid_of, new_person, write_clinical, write_series
from helpers.orthanc import USER, Orthanc

from brainseg_engine.phantom import phantom_study

pytest.importorskip("pynetdicom")
pytestmark = pytest.mark.slow

CONNECTIONS = f"""
[web]
kind = "dicomweb"
url = "http://127.0.0.1:8042/dicom-web"
login = "basic"
user = "{USER}"

[dimse]
kind = "dimse"
host = "127.0.0.1"
port = 4242
title = "ARCHIVE"

[move]
kind = "dimse"
host = "127.0.0.1"
port = 4242
title = "ARCHIVE"
retrieve = "move"
"""
PATIENT = new_person(name="Müller^Jörg", patient_id="P-77")
SLICES, MANY = 24, 150


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    try:
        (server.home / "pacs.toml").write_text(CONNECTIONS)
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def stored(orthanc, tmp_path_factory) -> Path:
    """A phantom's study, voxel for voxel, sent there; its folder."""
    folder = tmp_path_factory.mktemp("study")
    phantom = phantom_study(5, (48, 56, SLICES))
    write_clinical(folder, phantom, thickness_mm=None, distractors=1, person=PATIENT, nested=False)
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name + ".dcm"))
    orthanc.call("pacs", "send", "dimse", folder, "--new-study")
    return folder


def json_of(orthanc: Orthanc, *args: object) -> dict[str, Any]:
    """What a command says in JSON."""
    return json.loads(orthanc.call(*args, "--json"))


def segs(orthanc: Orthanc, name: str) -> list[dict[str, Any]]:
    series = json_of(orthanc, "pacs", "find", name, "--study", PATIENT.study_uid)["series"]
    return [s for s in series if s["modality"] == "SEG"]


@pytest.mark.parametrize("name", ["web", "dimse"])
def test_find_get_predict_send_and_find_it_again(orthanc, stored, tiny_model, tmp_path, name):
    assert "answers" in orthanc.call("pacs", "test", name)
    (study,) = json_of(orthanc, "pacs", "find", name, "--name", "Müll", "--since", "2025-03-01")["studies"]
    assert (study["uid"], study["name"], study["patient_id"]) == (PATIENT.study_uid, "Müller^Jörg", "P-77")
    get = ("pacs", "get", name, PATIENT.study_uid, "--out", tmp_path / "p", "--proposed")
    assert json_of(orthanc, *get)["images"] == 4 * SLICES
    assert json_of(orthanc, *get)["new"] == 0
    assert all(p.stat().st_mode & 0o077 == 0 for p in [tmp_path / "p", *(tmp_path / "p").rglob("*")])
    remote = f"pacs:{name}/{PATIENT.study_uid}"
    (row,) = json_of(orthanc, "predict", remote, "--out", tmp_path / "masks", "--model", tiny_model)["results"]
    assert row["status"] == "done"
    assert not list((orthanc.home / "pacs" / name).rglob("*.dcm"))  # what was fetched for it is gone
    orthanc.call(
        "export", row["output"], "--to", "seg", "--onto", tmp_path / "p", "--series", "4", "--out", tmp_path / "dicom"
    )
    orthanc.call("pacs", "send", name, tmp_path / "dicom")
    orthanc.call("pacs", "send", name, tmp_path / "dicom")  # once more: it is there
    assert [s["images"] for s in segs(orthanc, name)] == [1]  # the same answer is the same object, whoever sends it
    (study,) = json_of(orthanc, "pacs", "find", name, "--modality", "SEG")["studies"]
    assert study["uid"] == PATIENT.study_uid
    assert orthanc.listening() == {8042, 4242}


def test_by_move_the_receiver_is_there_for_the_retrieve_alone(orthanc, stored, tmp_path):
    assert (
        json_of(orthanc, "pacs", "get", "move", PATIENT.study_uid, "--out", tmp_path, "--series", "dark-fluid")[
            "images"
        ]
        == SLICES
    )
    assert orthanc.listening() == {8042, 4242}


def killed_when(orthanc: Orthanc, process: Popen[str], enough: Callable[[], bool]) -> str:
    """Kill Orthanc once that much is done; what the command then says. It ends by itself, with an error."""
    until = time.monotonic() + 60
    while not enough():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    orthanc.kill()
    out, err = process.communicate(timeout=90)
    assert process.returncode == 3, (out, err)
    assert orthanc.listening() == set()
    orthanc.start()
    return err


def sent(orthanc: Orthanc) -> int:
    """How many objects of the sending that runs the PACS has, as the outbox tells."""
    return sum(j.read_text().count('"sent": true') for j in (orthanc.home / "outbox").glob("*/job.json"))


@pytest.mark.parametrize("name", ["web", "dimse"])
def test_killed_in_the_middle_nothing_is_lost_or_doubled(orthanc, tmp_path, name):
    person = new_person(name=f"Killed^{name}", patient_id=f"K-{name}")
    grid = grid_of((256, 256, MANY))  # more than the buffers of a connection hold
    for path in write_series(tmp_path / "made", ball(grid), grid, person):
        path.rename(path.with_name(path.name + ".dcm"))

    def series() -> list[dict[str, Any]]:
        return json_of(orthanc, "pacs", "find", name, "--study", person.study_uid)["series"]

    sending = orthanc.begin("pacs", "send", name, tmp_path / "made", "--new-study")
    killed_when(orthanc, sending, lambda: sent(orthanc) >= 10)
    (there,) = series()
    assert 10 <= there["images"] < MANY
    rows = json_of(orthanc, "pacs", "send", name)["objects"]  # without files: what waits
    assert (len(rows), all(r["sent"] for r in rows)) == (MANY, True)
    (there,) = series()
    assert there["images"] == MANY
    assert not list((orthanc.home / "outbox").glob("*/*.dcm"))

    got = tmp_path / "got"
    get = ("pacs", "get", name, person.study_uid, "--out", got)
    killed_when(orthanc, orthanc.begin(*get), lambda: len(list(got.rglob("*.dcm"))) >= 10)
    came = {p.name for p in got.rglob("*.dcm")}
    assert 10 <= len(came) < MANY
    again = json_of(orthanc, *get)
    assert (again["images"], again["new"]) == (MANY, MANY - len(came))
    made = {d.SOPInstanceUID: d.pixel_array for d in map(pydicom.dcmread, (tmp_path / "made").iterdir())}
    for path in got.rglob("*.dcm"):
        assert np.array_equal(pydicom.dcmread(path).pixel_array, made.pop(path.stem))
    assert made == {}
    assert not [p for p in got.rglob("*") if p.name.startswith(".part-")]
    assert orthanc.listening() == {8042, 4242}


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_over_tls_both_prove_who_they_are(orthanc, stored, authority, tmp_path, retrieve):
    ca, path = authority
    names = {}
    for who in ("ours", "theirs"):
        made = ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)  # what DCMTK's profile offers
        made.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{who}.pem")
        made.private_key_pem.write_to_path(tmp_path / f"{who}.key")
        names[who] = str(tmp_path / f"{who}.pem")
    orthanc.kill()
    orthanc.start(
        DicomTlsEnabled=True, DicomTlsCertificate=names["theirs"], DicomTlsPrivateKey=str(tmp_path / "theirs.key"),
        DicomTlsTrustedCertificates=path, DicomTlsRemoteCertificateRequired=True,
        DicomModalities={"brainseg": {"AET": "BRAINSEG", "Host": "127.0.0.1", "Port": 11112, "UseDicomTls": True}},
    )  # fmt: skip
    encrypted = """\n[tls]\nkind = "dimse"\nhost = "127.0.0.1"\nport = 4242\ntitle = "ARCHIVE"\ntls = true\n"""
    encrypted += f'ca = "{path}"\ncertificate = "{names["ours"]}"\nretrieve = "{retrieve}"\n'
    (orthanc.home / "pacs.toml").write_text(CONNECTIONS + encrypted)
    assert "answers" in orthanc.call("pacs", "test", "tls")
    assert "asks for TLS" in orthanc.call("pacs", "test", "dimse", code=3)
    get = ("pacs", "get", "tls", PATIENT.study_uid, "--out", tmp_path / "p", "--series", "dark-fluid")
    assert json_of(orthanc, *get)["images"] == SLICES
    assert orthanc.listening() == {8042, 4242}
