"""A DICOM study in a real window, by clicks: the table, Prepare, Segment, and the mask on the series' own grid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dicom_studies import write_clinical
from helpers.raw_study import raw_study
from qtpy.QtWidgets import QFileDialog

from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_segmentation

pytestmark = [pytest.mark.window, pytest.mark.slow]


def picture(window, name: str) -> None:
    if os.environ.get("BRAINSEG_SCREENSHOTS"):
        window.qtbot.wait(300)
        window.viewer.window._qt_window.grab().save(str(Path(os.environ["BRAINSEG_SCREENSHOTS"]) / f"{name}.png"))


def test_from_dicom_to_a_mask_on_its_own_grid(window, monkeypatch, tmp_path):
    raw = raw_study(1)
    write_clinical(tmp_path / "export", raw.study, thickness_mm=None, distractors=6)
    window.viewer.open(str(tmp_path / "export"), plugin="napari-brainseg")  # as a drop does
    series = window.app.features.series
    window.wait(lambda: series.incoming is not None)
    assert window.session.study is None and not window.viewer.layers
    picture(window, "series_table")
    method = window.widget("brain_method")
    method.setCurrentIndex(method.findData("rough"))  # the networks take their time
    window.press("prepare")
    window.wait(lambda: window.session.study is not None, 120)
    assert not window.session.study.findings or window.session.study.acquired is not None
    assert window.widget("assign_t1ce").currentText() == "4: t1_tse_tra_km"
    picture(window, "series_prepared")
    window.press("segment")
    window.wait(lambda: window.session.segmentation is not None, 120)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "mask.nii.gz"), ""))
    window.press("save")
    window.wait(lambda: (tmp_path / "mask.nii.gz").exists() and not window.session.dirty)
    own = load_segmentation(tmp_path / "mask.nii.gz")
    assert own.grid.same_as(raw.study.volumes[Modality.T1CE].grid, tolerance_mm=0.01)


def test_cancel_while_it_prepares_leaves_nothing(window, tmp_path, monkeypatch, own_home):
    write_clinical(tmp_path / "export", raw_study(1).study, thickness_mm=None, distractors=0)
    window.open(monkeypatch, tmp_path / "export")
    window.wait(lambda: window.app.features.series.incoming is not None)
    window.press("prepare")
    window.wait(lambda: window.session.job is not None and window.session.job.fraction > 0)
    assert any((own_home / "prepared").iterdir())
    window.press("cancel_prepare")
    window.wait(lambda: window.session.job is None)
    window.wait(lambda: not any((own_home / "prepared").iterdir()))
    assert window.session.study is None and "Cancelled" in window.session.message.text
