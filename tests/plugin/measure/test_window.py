"""Measuring and reporting by clicks in a real window."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from helpers.window import Hand
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from napari_brainseg.display import diameter_lines, planes

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_ruler_two_diameters_and_a_region_of_interest_by_hand(window, monkeypatch, tmp_path):
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    hand = Hand(window, write(make_study(id="A", shape=(70, 80, 30), affine=affine), tmp_path), monkeypatch)
    z, y, x = (round(c) for c in np.argwhere(hand.data > 0).mean(axis=0))
    planes.go_to_world(hand.viewer, hand.layer.data_to_world((z, y, x)))
    drawing, labels = window.app.features.measure.drawing, hand.data
    window.press("draw_ruler")
    window.qtbot.wait(100)
    hand.drag((z, y - 10, x - 10), (z, y, x), (z, y + 20, x + 30))
    window.wait(lambda: len(drawing.drawn) == 1)
    assert drawing.drawn[0].first.mm == pytest.approx(50.0, abs=2.5)
    window.press("draw_diameters")
    hand.drag((z, y, x - 12), (z, y, x), (z, y, x + 12))
    hand.drag((z, y - 8, x + 2), (z, y, x), (z, y + 8, x - 2))
    window.wait(lambda: len(drawing.drawn) == 2 and drawing.drawn[1].second is not None)
    assert drawing.drawn[1].product_mm2 == pytest.approx(24 * 16, rel=0.15)
    window.press("draw_roi")
    hand.drag((z, y - 6, x - 6), (z, y, x), (z, y + 6, x + 6))
    window.wait(lambda: len(drawing.drawn) == 3)
    assert drawing.drawn[2].ml == pytest.approx(np.pi * 36 * 3 / 1000, rel=0.2)
    planes.set_plane(hand.viewer, "sagittal")
    planes.go_to_world(hand.viewer, hand.layer.data_to_world((z, y, x)))
    window.press("draw_ruler")
    window.qtbot.wait(100)
    hand.drag((z - 5, y, x), (z, y, x), (z + 5, y, x))
    window.wait(lambda: len(drawing.drawn) == 4)
    assert drawing.drawn[3].first.mm == pytest.approx(30.0, abs=3.1)
    assert np.array_equal(hand.data, labels)
    if os.environ.get("BRAINSEG_SCREENSHOTS"):
        window.press("drawn_2")
        window.qtbot.wait(500)
        window.viewer.window._qt_window.grab().save(str(Path(os.environ["BRAINSEG_SCREENSHOTS"]) / "drawn.png"))
    window.press("remove_drawn_0")
    window.wait(lambda: len(drawing.drawn) == 3)
    kept = drawing.drawn[0].first.mm
    opened = []
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "out"))
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(Path(url.toLocalFile())))
    window.press("report")
    window.wait(lambda: bool(opened))
    told = json.loads((tmp_path / "out" / "A_report.json").read_text())["drawn"]
    assert [d["kind"] for d in told] == ["diameters", "roi", "ruler"]
    assert told[0]["first"]["mm"] == pytest.approx(kept, abs=0.01) and told[1]["statistics"]["t1ce"]["sd"] >= 0
    assert "Drawn by hand" in opened[0].read_text(encoding="utf-8")
    window.open(monkeypatch, write(make_study(id="B"), tmp_path))
    window.wait(lambda: window.session.study.study.id == "B" and not drawing.drawn)
    window.open(monkeypatch, tmp_path / "A")
    window.wait(lambda: len(drawing.drawn) == 3)  # they come back with the study
