"""Measuring and reporting by clicks in a real window."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from napari_brainseg.display import diameter_lines

pytestmark = pytest.mark.window


def test_measure_go_there_and_report(window, monkeypatch, tmp_path):
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    window.open(monkeypatch, write(make_study(id="A", shape=(70, 80, 60), affine=affine), tmp_path))
    window.wait(lambda: window.session.measures is not None)
    window.press("measure")
    window.wait(lambda: bool(window.app.features.measure.measured))
    assert any(layer.name == diameter_lines.NAME for layer in window.viewer.layers)
    assert "sum of products" in window.text("measure_words")
    window.press("lesion_ET_1")
    if os.environ.get("BRAINSEG_SCREENSHOTS"):
        window.qtbot.wait(500)
        window.viewer.window._qt_window.grab().save(str(Path(os.environ["BRAINSEG_SCREENSHOTS"]) / "measure.png"))
    window.press("move_ends")
    assert window.viewer.layers.selection.active.name == diameter_lines.NAME
    window.press("move_ends")
    opened = []
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "out"))
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(Path(url.toLocalFile())))
    window.press("report")
    window.wait(lambda: bool(opened))
    assert opened == [tmp_path / "out" / "A_report.html"]
    assert opened[0].is_file()
    window.press("hide_diameters")
    assert all(layer.name != diameter_lines.NAME for layer in window.viewer.layers)
