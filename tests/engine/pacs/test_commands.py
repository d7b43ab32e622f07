"""The commands over small servers: watch, accession numbers, what is shown of strange names."""

from __future__ import annotations

import copy
import json

import pydicom
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from dicom_studies import new_person, write_clinical
from helpers.pacs_servers import Holding, web_server
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.pacs import connections
from brainseg_engine.phantom import phantom_study


def call(*args: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(a) for a in args])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def served(holding):
    with web_server(holding) as connection:
        connections.save({"p": connection})
        yield holding


def test_two_studies_with_one_accession_number_are_told_apart(served, tmp_path):
    other = copy.deepcopy(served.images[0])
    other.StudyInstanceUID, other.SeriesInstanceUID = "1.2.5", "1.2.5.1"
    assert "12 fetched" in call("pacs", "get", "p", "A1", "--series", "3", "--out", tmp_path / "one")
    served.images.append(other)
    said = call("pacs", "get", "p", "A1", "--out", tmp_path / "two", code=3)
    assert "2 studies with the accession number A1" in " ".join(said.split())
    assert "1.2.5" in said
    assert not (tmp_path / "two").exists()


def test_names_of_others_are_text(served):
    served.images[:] = copy.deepcopy(served.images)  # other tests have the same ones
    for image in served.images:
        image.PatientName = "<script>alert(1)</script>^[red]\x1b[31m"
    said = call("pacs", "find", "p")
    assert "\x1b[31m" not in said
    letters = "".join(said.split())  # a narrow terminal breaks the name
    assert "ed]" in letters and "<scri" in letters


def test_the_list_of_connections_and_what_is_wrong_with_a_name(served):
    assert "dicomweb" in call("pacs")
    assert "There is no connection 'q'" in call("pacs", "test", "q", code=3)
    assert "is to be pacs:NAME" in " ".join(call("predict", "pacs:p", "--out", "x", code=3).split())
    assert "has no study '1.2.3'" in call("pacs", "get", "p", "1.2.3", "--out", "x", code=3)
    assert "has no series 'xyz'" in call("pacs", "get", "p", "A1", "--series", "xyz", "--out", "x", code=3)
    assert "is no date" in call("pacs", "find", "p", "--since", "yesterday", code=3)


@pytest.mark.slow
def test_watch_takes_each_study_once_and_sends_its_results(tiny_model, tmp_path):
    write_clinical(tmp_path / "s", phantom_study(5, (48, 56, 24)), thickness_mm=None, distractors=1,
                   person=new_person(patient_id="P-1"))  # fmt: skip
    held = Holding([pydicom.dcmread(p) for p in sorted((tmp_path / "s").rglob("*")) if p.is_file()])
    call_watch = ("pacs", "watch", "p", "--query", "since=2025-01-01", "--out", tmp_path / "out", "--model", tiny_model,
                  "--to", "seg", "--once", "--send")  # fmt: skip
    with web_server(held) as connection:
        connections.save({"p": connection})
        held.break_after = 20  # in the middle of the retrieve
        assert "failed" in call(*call_watch, code=3)
        held.break_after = None
        assert "done" in call(*call_watch)
        assert [d.Modality for d in held.stored] == ["SEG"]
        before = held.sent
        assert call(*call_watch).strip() == ""
        assert held.sent == before
    state = json.loads((tmp_path / "out" / "watch.json").read_text())["studies"]
    assert [s["status"] for s in state.values()] == ["done"]
    assert (tmp_path / "out" / "watch.json").stat().st_mode & 0o077 == 0


def test_watch_waits_until_a_study_has_arrived(served, tmp_path):
    from brainseg_engine.cli.pacs_watch import Round, query_of

    taken = []
    round_ = Round("p", tmp_path, None, False, None, lambda: False)
    round_._take = lambda row, attempt: taken.append(row.uid)
    query = query_of("since=2025-01-01")()
    uid = served.images[0].StudyInstanceUID
    round_._studies = {}
    round_.look(query, at_once=False)
    assert taken == []
    round_.look(query, at_once=False)
    assert taken == [uid]
