"""A DICOM study in a real window, by clicks: the table, Prepare, Segment, and the mask on the series' own grid."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from dicom_studies import write_clinical
from helpers.raw_study import raw_study
from qtpy.QtWidgets import QFileDialog, QMessageBox

from brainseg_engine.core.events import Progress
from brainseg_engine.core.study import Modality
from brainseg_engine.corrections import source_of
from brainseg_engine.io import listing, load_segmentation

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
    # --- read on the series as acquired, and back
    window.press("read_flair")
    window.wait(lambda: any(x.name.startswith("Segmentation on FLAIR") and x.visible for x in window.viewer.layers))
    shown = [x for x in window.viewer.layers if x.visible]
    assert [x.name for x in shown] == ["FLAIR as acquired", "Segmentation on FLAIR as acquired"]
    assert shown[0].data.shape[0] == raw.study.volumes[Modality.FLAIR].grid.shape[2]
    picture(window, "series_as_acquired")
    window.press("read_aligned")
    # --- check the alignment, move a series by hand, take it back, and use it moved
    window.press("check_alignment")
    alignment = window.app.features.alignment
    window.wait(lambda: alignment.comparing.quality is not None, 60)
    pictures = {}
    for mix in ("swipe", "checker", "edges", "alternate"):
        window.press(f"mix_{mix}")
        window.qtbot.wait(100)
        pictures[mix] = window.viewer.screenshot(flash=False)
        picture(window, f"series_{mix}")
    assert (pictures["swipe"] != pictures["checker"]).any() and (pictures["swipe"] != pictures["edges"]).any()
    window.press("mix_edges")
    window.widget("nudge_mm_0").setValue(6.0)
    window.wait(lambda: alignment.comparing.moved and alignment.comparing.quality.peak < 1.7, 60)
    picture(window, "series_nudged")
    window.press("nudge_undo")
    assert not alignment.comparing.moved and window.widget("nudge_mm_0").value() == 0
    window.widget("nudge_deg_2").setValue(1.0)
    before = window.session.study
    window.press("use_placed")
    window.wait(lambda: window.session.study is not before and window.session.segmentation is not None, 120)
    choices = window.session.study.acquired.prepared.choices
    assert choices["t1"]["alignment"] == choices["t2"]["alignment"] == "as given" and alignment.comparing.mix is None
    # --- accepted, and the same series again: open at once, with the correction
    window.press("segment")
    window.wait(lambda: window.session.job is None and "segmented" in window.session.message.text, 120)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    window.press("accept")
    window.wait(lambda: window.app.features.corrections.accepted is not None)
    accepted = window.app.features.corrections.accepted
    assert source_of(accepted.study).there
    window.app.features.study.open(source_of(accepted.study).folder)
    window.wait(lambda: window.session.study.study.id.startswith("study-"))
    window.wait(lambda: window.app.features.corrections.accepted is not None)
    assert window.app.features.corrections.accepted.id == accepted.id
    assert window.session.study.acquired.reference is not None


@pytest.mark.parametrize("size", [(1600, 1000), (1366, 768)])
def test_prepare_is_in_sight_as_soon_as_the_series_are_listed(window, tmp_path, size):
    write_clinical(tmp_path / "export", raw_study(1).study, thickness_mm=None, distractors=6)
    window.viewer.window._qt_window.resize(*size)
    window.viewer.open(str(tmp_path / "export"), plugin="napari-brainseg")
    window.wait(lambda: window.app.features.series.incoming is not None)
    prepare = window.widget("prepare")
    window.wait(lambda: prepare.isVisible() and prepare.visibleRegion().boundingRect() == prepare.rect())
    picture(window, f"series_table_{size[0]}")


def test_listing_can_be_cancelled(window, tmp_path, monkeypatch):
    write_clinical(tmp_path / "export", raw_study(1).study, thickness_mm=None, distractors=6)
    held = threading.Event()
    inner = listing.list_series

    def slow(path, progress, cancelled, **more):
        progress(Progress("reading headers", 0.4))
        while not cancelled():
            held.wait(0.02)
        return inner(path, progress, cancelled, **more)

    monkeypatch.setattr(listing, "list_series", slow)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "export"))
    window.press("open_folder")
    window.wait(
        lambda: window.widget("prepare_progress").isVisible() and "40" in window.widget("prepare_progress").text()
    )
    window.press("cancel_prepare")
    window.wait(lambda: "Cancelled" in window.text("message"))
    assert not window.widget("section_series").isVisible() and window.session.reading == ""


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
