"""Exporting by clicks in a real window: the dialog, the series, and files that others open."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from dicom_studies import write_clinical
from helpers.cases import write
from helpers.small_study import make_study
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from brainseg_engine.io.derived.reading import read_derived

pytest.importorskip("highdicom")
pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]


def click(window, name: str) -> None:
    """On a widget of the dialog, at its left end, where a box is."""
    widget = window.widget(name)
    window.wait(lambda: widget.isVisible() and widget.isEnabled(), 10)
    window.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=QPoint(8, widget.height() // 2))
    QApplication.processEvents()


@pytest.mark.slow
def test_export_by_clicks(window, monkeypatch, tmp_path):
    study = make_study(id="A", shape=(70, 80, 60), affine=np.diag([-2.0, -2.0, 2.0, 1.0]))
    write_clinical(tmp_path / "dicom", study, thickness_mm=None, distractors=0)
    assert not window.widget("export").isEnabled()
    window.open(monkeypatch, write(study, tmp_path))
    window.wait(lambda: window.session.measures is not None)
    window.press("export")
    window.wait(lambda: window.widget("export_dialog") is not None and window.widget("export_dialog").isVisible())
    assert not window.widget("export_seg").isEnabled()  # opened from NIfTI: which DICOM is not known yet
    assert "no DICOM" in window.text("export_note")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "dicom"))
    click(window, "export_images_choose")
    window.wait(lambda: window.widget("export_seg").isEnabled())
    assert not window.widget("export_images").isEnabled()  # copies go out de-identified only
    click(window, "deidentify")
    click(window, "export_rtstruct")
    click(window, "with_face")
    if os.environ.get("BRAINSEG_SCREENSHOTS"):
        window.qtbot.wait(300)
        window.widget("export_dialog").grab().save(str(Path(os.environ["BRAINSEG_SCREENSHOTS"]) / "export.png"))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "out"))
    click(window, "export_go")
    window.wait(lambda: window.session.message is not None and "Exported" in window.session.message.text)
    (seg,) = (tmp_path / "out").glob("P-*_seg.dcm")
    assert next((tmp_path / "out").glob("P-*_report.html")).is_file()
    assert next((tmp_path / "out").glob("P-*_rtstruct.dcm")).is_file()
    back = read_derived(seg, grid=study.segmentation.grid)
    assert np.array_equal(back.labels, study.segmentation.labels)
