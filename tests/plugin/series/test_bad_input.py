"""What cannot be used, opened in the window: one or two sentences each, and what was open stays open."""

from __future__ import annotations

import re

import numpy as np
import pytest
from dicom_studies import new_person
from helpers.bad_exports import REFUSED, as_film, four
from helpers.cases import write
from helpers.rig import Card, House, Model
from helpers.small_study import make_study

from brainseg_engine.core.events import Failed
from brainseg_engine.core.study import Modality
from napari_brainseg.features.series.section import table_of
from napari_brainseg.jobs import PrepareRequest
from napari_brainseg.session import Kind


@pytest.fixture
def house(viewer, tmp_path_factory):
    made = House(viewer)
    made.session.set_models((Model(card=Card()),))
    made.study.open(write(make_study(id="A"), tmp_path_factory.mktemp("open")))
    assert made.session.study.study.id == "A"
    yield made
    made.close()


@pytest.mark.parametrize("what", REFUSED, ids=lambda f: f.__name__)
def test_it_is_refused_in_words_and_nothing_is_lost(house, tmp_path, what):
    source = what(tmp_path / "export")
    house.study.open(source)
    message = house.session.message
    assert message.kind is Kind.ERROR and re.search(REFUSED[what], message.text), message.text
    assert message.text.count(". ") <= 2 and "Error" not in message.text and "Traceback" not in message.text
    assert house.session.study.study.id == "A" and len(house.viewer.layers) == 5
    assert house.series.listed_so_far is None and house.session.reading == ""
    assert table_of(house.series) is None


def test_three_series_only_the_missing_one_is_named(house, tmp_path):
    four(tmp_path / "export", new_person(), (Modality.T1, Modality.T1CE, Modality.FLAIR))
    house.study.open(tmp_path / "export")
    assert table_of(house.series).words == "⚠ No series is chosen for T2."
    assert house.session.study.study.id == "A"


def test_truncated_and_empty_files_among_good_ones_are_reported(house, tmp_path):
    four(tmp_path / "export", new_person())
    files = sorted((tmp_path / "export" / "flair").iterdir())
    files[3].write_bytes(b"")
    files[5].write_bytes(files[5].read_bytes()[:-900])
    house.study.open(tmp_path / "export")
    table = table_of(house.series)
    flair = next(r for r in table.rows if r.use is Modality.FLAIR)
    assert "file" in table.words and "again" in table.words and "missing" in flair.warning.lower()


def test_a_syntax_that_no_decoder_reads_is_named_when_it_is_needed(house, tmp_path):
    four(tmp_path / "export", new_person())
    for path in (tmp_path / "export" / "t2").iterdir():
        as_film(path)
    house.study.open(tmp_path / "export")
    assert len(table_of(house.series).rows) == 4
    house.series.prepare("rough")
    message = house.session.message
    assert message.kind is Kind.ERROR and "MPEG2" in message.text, message.text
    assert not house.runner.of(PrepareRequest) and house.session.job is None and house.session.study.study.id == "A"


def test_another_visits_series_is_never_taken_along(house, tmp_path):
    first, second = new_person(study_date="20240101"), new_person(study_date="20250101")
    four(tmp_path / "export" / "a", first)
    four(tmp_path / "export" / "b", second, (Modality.T1CE,))
    house.study.open(tmp_path / "export")
    table = table_of(house.series)
    assert len(table.visits) == 2 and table.visit is None
    house.series.choose_visit(1)
    assert [r.use for r in table_of(house.series).rows] == [Modality.T1CE]
    assert "T1 and T2 and FLAIR" in table_of(house.series).words


def test_what_the_preparation_refuses_is_said_and_leaves_nothing(house, tmp_path, own_home):
    four(tmp_path / "export", new_person())
    house.study.open(tmp_path / "export")
    house.series.prepare("deepbet")
    request, listener = house.runner.of(PrepareRequest)[-1]
    sentence = "deepbet finds no brain in T1ce. Check that it shows a head, or give a brain mask."
    listener.failed(Failed(request.id, sentence))
    house.timers.pass_time()
    assert house.session.message.text == sentence and house.session.study.study.id == "A"
    assert not list((own_home / "prepared").iterdir()) and not request.folder.exists()
    assert np.all([r.usable for r in table_of(house.series).rows])
