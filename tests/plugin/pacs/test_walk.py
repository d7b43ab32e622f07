"""The whole walk by clicks in a real window, against a real Orthanc: from the worklist to the results that are found there."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from dicom_studies import new_person, write_clinical
from helpers.clicks import answer_question, click, shot
from helpers.orthanc import PASSWORD, USER, Orthanc
from helpers.raw_study import raw_study
from helpers.window import Hand
from qtpy.QtCore import Qt
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QComboBox, QFileDialog

from brainseg_engine.pacs import secrets
from brainseg_engine.report import record as records

pytestmark = [pytest.mark.window, pytest.mark.slow, pytest.mark.timeout(900)]

PERSON = new_person(name="Lindqvist^Thyra", patient_id="P-7", study_date="20250314")
OF_THE_COMMANDS = """
[dimse]
kind = "dimse"
host = "127.0.0.1"
port = 4242
title = "ARCHIVE"
"""


@pytest.fixture
def orthanc(tmp_path):
    server = Orthanc(tmp_path / "orthanc")
    try:
        (server.home / "pacs.toml").write_text(OF_THE_COMMANDS)
        server.start()
        write_clinical(
            tmp_path / "made", raw_study(1).study, thickness_mm=None, distractors=2, person=PERSON, nested=False
        )
        for path in list((tmp_path / "made").iterdir()):
            path.rename(path.with_name(path.name + ".dcm"))
        server.call("pacs", "send", "dimse", tmp_path / "made", "--new-study")
        yield server
    finally:
        server.close()


def test_from_the_worklist_to_the_results_in_the_archive(window, orthanc, monkeypatch, tmp_path):
    monkeypatch.setenv(secrets.variable("archive"), PASSWORD)
    pages = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: pages.append(url.toLocalFile()))
    with orthanc.forwarded(8042) as port:
        connect(window, port)
        fetch(window)
        prepare_and_segment(window)
        correct(window)
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "report"))
        window.press("report")
        window.wait(lambda: bool(pages), 60)
        asked = answer_question("Send")
        click(window, "send_results")
        window.wait(lambda: "3 objects are at archive" in window.session.message.text, 90)
    assert "Lindqvist, Thyra, id P-7" in asked[0]
    reported = records.read(tmp_path / "report" / f"{window.session.study.study.id}_report.json")
    assert reported["corrected_by_hand"] and reported["examined"] == "2025-03-14"
    series = json.loads(orthanc.call("pacs", "find", "dimse", "--study", PERSON.study_uid, "--json"))["series"]
    assert sorted(s["modality"] for s in series if s["modality"] != "MR") == ["DOC", "SEG", "SR"]
    orthanc.call("pacs", "get", "dimse", PERSON.study_uid, "--series", "segmentation", "--out", tmp_path / "back")
    (seg,) = (pydicom.dcmread(p) for p in (tmp_path / "back").rglob("*.dcm"))
    assert (seg.Modality, seg.PatientID) == ("SEG", "P-7") and np.any(seg.pixel_array)
    assert orthanc.listening() == {8042, 4242}


def connect(window, port: int) -> None:
    window.press("worklist")
    form = window.widget("connections_dialog")
    window.wait(form.isVisible)
    form.name.setText("archive")
    form.fields["url"].setText(f"http://127.0.0.1:{port}/dicom-web")
    form.login.setCurrentIndex(1)
    form.fields["user"].setText(USER)
    click(window, "connection_test")
    window.wait(lambda: "answers over DICOMweb" in form.words.text(), 30)
    shot(window, form, "walk-1-connection")
    click(window, "connection_close")


def fetch(window) -> None:
    worklist = window.widget("worklist_dialog")
    worklist.fields["name"].setText("Lind")
    click(window, "worklist_search")
    window.wait(lambda: worklist.studies.topLevelItemCount() == 1 and worklist.search.isEnabled(), 30)
    worklist.studies.setCurrentItem(worklist.studies.topLevelItem(0))
    window.wait(lambda: worklist.series.topLevelItemCount() == 6 and worklist.open.isEnabled(), 30)
    ticked = [worklist.series.topLevelItem(i).checkState(0) == Qt.CheckState.Checked for i in range(6)]
    assert sum(ticked) == 4
    shot(window, worklist, "walk-2-worklist")
    click(window, "worklist_open")
    window.wait(lambda: bool(window.app.features.series.pictures), 120)
    shot(window, window.viewer.window._qt_window, "walk-3-opened")


def prepare_and_segment(window) -> None:
    raw = window.session.study
    window.panel.findChild(QComboBox, "brain_method").setCurrentText("rough")
    window.press("prepare")
    window.wait(lambda: window.session.study is not raw and window.session.job is None, 300)
    shot(window, window.viewer.window._qt_window, "walk-4-prepared")
    window.press("segment")
    window.wait(lambda: window.session.segmentation is not None and window.session.job is None, 400)
    window.wait(lambda: window.session.measures is not None)
    shot(window, window.viewer.window._qt_window, "walk-5-segmented")


def correct(window) -> None:
    hand = Hand(window)
    window.press("paint_ET")
    window.press("tool_brush")
    window.app.sections.paint.size.setValue(5)
    before = hand.data
    at = [int(hand.layer.world_to_data(window.viewer.dims.point)[0]), *(n // 2 for n in before.shape[1:])]
    hand.drag(at, [at[0], at[1], at[2] + 3])
    window.wait(lambda: (hand.data != before).any(), 20)
    window.wait(lambda: window.app.features.corrections.edited)
    shot(window, window.viewer.window._qt_window, "walk-6-corrected")
    window.press("tab_read")
