"""The worklist by clicks in a real window: a connection set up and tested, a study found and opened, its result sent."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")
from dicom_studies import new_person, write_clinical
from helpers.clicks import answer_question, click, shot
from helpers.pacs_servers import Holding, web_server
from helpers.small_study import make_study
from qtpy.QtCore import Qt

from brainseg_engine.core.study import Segmentation
from brainseg_engine.pacs import connections, secrets
from napari_brainseg.session import Answer

pytestmark = pytest.mark.window


@pytest.mark.slow
def test_from_the_worklist_to_the_study_and_its_result_back(window, monkeypatch, tmp_path):
    monkeypatch.setenv(secrets.variable("archive"), "geheim")
    study = make_study(id="A", shape=(48, 56, 24))
    held = []
    for n, (name, day) in enumerate(
        [("Lindqvist^Thyra", "20250314"), ("Müller^Jörg", "20250315"), ("<b>x</b>^Y", "20250316")]
    ):
        folder = tmp_path / str(n)
        person = new_person(name=name, patient_id=f"P-{n}", study_date=day)
        write_clinical(folder, study, thickness_mm=None, distractors=2, person=person)
        held += [pydicom.dcmread(p) for p in sorted(folder.rglob("*")) if p.is_file()]
    holding = Holding(held)
    with web_server(holding, user="anna", secret="geheim") as served:
        window.press("worklist")
        form = window.widget("connections_dialog")
        window.wait(form.isVisible)
        form.name.setText("archive")
        form.fields["url"].setText(served.url)
        click(window, "connection_test")
        window.wait(lambda: "asks for a login" in form.words.text(), 20)
        form.login.setCurrentIndex(1)
        form.fields["user"].setText("anna")
        click(window, "connection_test")
        window.wait(lambda: "answers over DICOMweb" in form.words.text(), 20)
        shot(window, form, "pacs-connections")
        click(window, "connection_close")
        assert connections.read()["archive"].user == "anna"

        worklist = window.widget("worklist_dialog")
        click(window, "worklist_search")
        window.wait(lambda: worklist.studies.topLevelItemCount() == 3 and worklist.search.isEnabled(), 20)
        shown = {worklist.studies.topLevelItem(i).text(2) for i in range(3)}
        assert shown == {"Lindqvist, Thyra", "Müller, Jörg", "<b>x</b>, Y"}
        worklist.fields["name"].setText("Lind")
        click(window, "worklist_search")
        window.wait(lambda: worklist.studies.topLevelItemCount() == 1 and worklist.search.isEnabled(), 20)
        worklist.studies.setCurrentItem(worklist.studies.topLevelItem(0))
        window.wait(lambda: worklist.series.topLevelItemCount() == 6 and worklist.open.isEnabled(), 20)
        ticked = [worklist.series.topLevelItem(i).checkState(0) == Qt.CheckState.Checked for i in range(6)]
        assert sum(ticked) == 4
        shot(window, worklist, "pacs-worklist")
        click(window, "worklist_open")
        window.wait(lambda: window.session.study is not None, 60)

        labels = np.zeros(window.session.study.study.reference.grid.shape, np.uint8)
        labels[20:30, 20:30, 8:16] = 3
        grid = window.session.study.study.reference.grid
        window.session.deliver(Answer.of(Segmentation(labels, grid, made_by="a person")))
        asked = answer_question("Send", lambda box: shot(window, box, "pacs-send"))
        assert not worklist.isVisible()
        click(window, "send_results")
        window.wait(lambda: len(holding.stored) == 3, 60)
        window.wait(
            lambda: window.session.message is not None and "3 objects are at archive" in window.session.message.text, 20
        )
        shot(window, window.panel, "pacs-panel")
    assert "Lindqvist, Thyra, id P-0" in asked[0]
    assert {d.PatientID for d in holding.stored} == {"P-0"}
