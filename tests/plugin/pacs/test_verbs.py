"""The PACS below the window: search, choose, open, send, and what is kept when that fails."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from dicom_studies import new_person, write_clinical
from helpers.pacs_servers import Holding, web_server
from helpers.rig import House
from helpers.small_study import make_study

from brainseg_engine.core.paths import home
from brainseg_engine.pacs import Query, connections, outbox
from napari_brainseg.features.pacs.section import words_of

PERSON = new_person(name="Lindqvist^Thyra", patient_id="P-1")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = make_study(id="A", shape=(48, 56, 24))
    write_clinical(folder, study, thickness_mm=None, distractors=3, person=PERSON)
    return [pydicom.dcmread(p) for p in sorted(folder.rglob("*")) if p.is_file()]


@pytest.fixture
def holding(images):
    return Holding(list(images))


@pytest.fixture
def house(viewer, holding):
    made = House(viewer)
    with web_server(holding) as connection:
        connections.save({"archive": connection})
        made.pacs, made.asked = made.features.pacs, []
        made.pacs.sending.asked.connect(made.asked.append)
        yield made
    made.close()


def opened(house):
    """The study of the PACS, opened, with labels."""
    pacs = house.pacs
    pacs.worklist.search("archive", Query(name="Lind"))
    pacs.worklist.choose_study(pacs.worklist.studies[0])
    pacs.worklist.open()
    house.timers.pass_time()
    return pacs


def test_only_what_is_chosen_by_tags_is_fetched_and_opened(house, holding):
    pacs = opened(house)
    assert [s.name for s in pacs.worklist.studies] == ["Lindqvist^Thyra"]
    assert len(pacs.worklist.series) == 7
    wanted = {s.uid for s in pacs.worklist.series if s.number in (3, 4, 5, 6)}
    assert pacs.worklist.chosen == wanted
    folder = home() / "pacs" / "archive" / PERSON.study_uid
    assert {p.name for p in folder.iterdir()} == wanted
    assert len(list(folder.rglob("*.dcm"))) == 4 * 24
    assert house.session.study is not None
    assert pacs.sending.origin == "archive"
    assert pacs.work.busy is None


@pytest.mark.slow
def test_what_was_fetched_is_deleted_but_for_the_open_study(house, holding):
    pacs = opened(house)
    other = home() / "pacs" / "archive" / "1.2.3" / "1.2.4"
    other.mkdir(parents=True)
    pacs.worklist.delete_fetched()
    assert [p.name for p in (home() / "pacs" / "archive").iterdir()] == [PERSON.study_uid]
    assert "1 study" in pacs.work.words


@pytest.mark.slow
def test_a_series_that_is_not_wanted_is_left(house, holding):
    pacs = house.pacs
    pacs.worklist.search("archive", Query())
    pacs.worklist.choose_study(pacs.worklist.studies[0])
    first = sorted(pacs.worklist.chosen)[0]
    pacs.worklist.choose_series(first, False)
    pacs.worklist.open()
    assert first not in {p.name for p in (home() / "pacs" / "archive" / PERSON.study_uid).iterdir()}


@pytest.mark.slow
def test_results_are_sent_after_the_question_alone(house, holding):
    pacs = opened(house)
    pacs.sending.send("archive")
    assert "nothing to send" in house.session.message.text
    give_labels(house)
    pacs.sending.send("archive")
    (question,) = house.asked
    question_text = words_of(question)
    assert "To archive, into the study of 2025-03-14" in question_text
    assert "Lindqvist, Thyra, id P-1" in question_text
    assert {i.modality for i in question.sendings[0][0].items} == {"SEG", "SR", "DOC"}
    assert holding.stored == []
    pacs.sending.answer(question, False)
    assert holding.stored == []
    assert outbox.jobs() == []
    pacs.sending.send("archive")
    pacs.sending.answer(house.asked[-1], True)
    assert sorted(d.Modality for d in holding.stored) == ["DOC", "SEG", "SR"]
    assert {d.StudyInstanceUID for d in holding.stored} == {PERSON.study_uid}
    pacs.sending.send("archive")
    pacs.sending.answer(house.asked[-1], True)
    assert len(holding.stored) == 3  # the same result is there already
    assert pacs.sending.waiting() == []


@pytest.mark.slow
def test_a_failed_sending_is_kept_and_offered_again(house, holding):
    pacs = opened(house)
    give_labels(house)
    pacs.sending.send("archive")
    holding.break_after, holding.sent = 1, 0
    pacs.sending.answer(house.asked[-1], True)
    assert pacs.work.wrong
    assert len(pacs.sending.waiting()[0].waiting) == 2
    holding.break_after = None
    pacs.sending.send_waiting()
    assert house.asked[-1].kept
    pacs.sending.answer(house.asked[-1], True)
    assert sorted(d.Modality for d in holding.stored) == ["DOC", "SEG", "SR"]
    assert pacs.sending.waiting() == []


def give_labels(house):
    from dataclasses import replace

    from brainseg_engine.core.study import Segmentation
    from napari_brainseg.session import Answer

    study = house.session.study.study
    labels = np.zeros(study.reference.grid.shape, np.uint8)
    labels[20:30, 20:30, 8:16] = 3
    house.session.deliver(Answer.of(replace(Segmentation(labels, study.reference.grid), made_by="a person")))
    house.timers.pass_time()
    assert house.labels is not None


def test_what_goes_wrong_is_said_in_the_worklist(house, holding):
    pacs = house.pacs
    pacs.worklist.open()
    assert "Choose a study" in pacs.work.words
    pacs.connections.test("archive")
    assert "answers" in pacs.work.words
    assert not pacs.connections.keep("a/b", {"kind": "dicomweb", "url": "http://x"}, {})
    assert "cannot name" in pacs.work.words
    assert not pacs.connections.keep("b", {"kind": "dimse", "host": "x"}, {})
    assert "is missing" in pacs.work.words
    assert pacs.connections.keep("b", {"kind": "dimse", "host": "127.0.0.1", "port": 1, "title": "X"}, {"login": ""})
    pacs.worklist.search("b", Query())
    assert pacs.work.wrong
    assert "nothing answers on port 1" in pacs.work.words
    pacs.connections.forget("b")
    assert list(pacs.connections.known()) == ["archive"]


def test_a_broken_file_of_connections_is_said(house):
    connections.file().write_text("[a\n")
    house.pacs.look_again()
    assert house.pacs.connections.known() == {}
    assert "no TOML file" in house.pacs.work.words
