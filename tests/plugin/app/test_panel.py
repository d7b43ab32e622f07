"""The wiring: a viewer without a window, the real panel, and a real worker process whose predictor is a threshold."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QFileDialog, QWidget

from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality
from brainseg_engine.corrections import Store
from brainseg_engine.models import ModelInfo
from brainseg_engine.models.checkpoint import Card
from napari_brainseg.app.panel import App
from napari_brainseg.display import layers, region_layer
from napari_brainseg.features.corrections.section import accepted_in_words
from napari_brainseg.features.save.section import with_ending
from napari_brainseg.qt.cards import card_in_words

CARD = Card(
    name="fake",
    version="1",
    recipe="fake",
    regions=tuple(Region),
    summary="A threshold.",
    terms="",
    citation="",
    parameters=12345,
    licence="none",
    data="nothing",
    modalities=tuple(Modality),
    scores={"WT": {"dice": 0.5, "hd95_mm": None}},
    scores_on="air",
    known_failures=("everything",),
)


def models(*names: str) -> tuple[ModelInfo, ...]:
    return tuple(ModelInfo(n, Path(f"/m/{n}.safetensors"), CARD, True) for n in names)


@pytest.fixture
def app(qtbot, viewer, fake_worker, monkeypatch) -> App:
    monkeypatch.setattr("brainseg_engine.models.installed", lambda: list(models("threshold", "short", "slow", "bug")))
    made = App(viewer)
    qtbot.addWidget(made.panel)
    made.panel.resize(400, 1000)
    made.panel.show()
    qtbot.waitUntil(lambda: made.session.model is not None, timeout=10000)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(make_study(id="A"), tmp_path)


def press(qtbot, app, name: str) -> None:
    widget = app.panel.findChild(QAbstractButton, name)
    app.panel.scroll.ensureWidgetVisible(widget)
    assert widget.isVisible() and widget.isEnabled(), name
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def text(app, name: str) -> str:
    return app.panel.findChild(QWidget, name).text()


def open_folder(qtbot, app, monkeypatch, folder: Path) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    before = app.session.study
    press(qtbot, app, "open_folder")
    qtbot.waitUntil(lambda: app.session.study is not before and app.session.reading == "", timeout=20000)
    qtbot.waitUntil(lambda: app.session.segmentation is None or app.session.measures is not None, timeout=20000)


def segment(qtbot, app) -> None:
    press(qtbot, app, "segment")
    qtbot.waitUntil(lambda: app.session.job is None, timeout=30000)


def test_open_segment_and_save_by_the_buttons(qtbot, app, folder, tmp_path, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    assert text(app, "study_title") == "A" and text(app, "mask_name") == "A_seg.nii.gz"
    assert text(app, "region_WT_dice") == "–" and text(app, "save_state") == "saved"
    segment(qtbot, app)
    study = app.session.study.study
    expected = np.where(study.volumes[Modality.FLAIR].data > 100, np.uint8(2), np.uint8(0))
    expected[study.reference.data > 100] = 3
    np.testing.assert_array_equal(layers.labels_of(app.context.labels), expected)
    qtbot.waitUntil(lambda: text(app, "region_WT_dice") != "–", timeout=10000)
    assert text(app, "save_state") == "not saved yet"
    assert app.panel.findChild(QComboBox, "save_coding").currentText() == "brats2021"  # the study's own
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "mine"), "NIfTI, compressed (*.nii.gz)")
    )
    press(qtbot, app, "save")
    qtbot.waitUntil(lambda: text(app, "save_state") == "saved", timeout=10000)
    assert str(tmp_path / "mine.nii.gz") in text(app, "message") and (tmp_path / "mine.nii.gz").exists()


def test_a_dialog_that_is_left_changes_nothing(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    before, message = app.session.study, app.session.message
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([], ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    for name in ("open_folder", "open_files", "save"):
        press(qtbot, app, name)
    app.sections.study.open_mask.menu().actions()[0].trigger()
    app.sections.study.other_file_requested.emit(Modality.T1)
    assert app.session.study is before and app.session.message is message and app.session.reading == ""


def test_four_files_and_another_file_for_a_series(qtbot, app, folder, tmp_path, monkeypatch):
    other = tmp_path / "scan.nii.gz"
    (folder / "A_t2.nii.gz").rename(other)
    files = [str(p) for p in folder.glob("*.nii.gz")]
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (files, ""))
    press(qtbot, app, "open_files")
    qtbot.waitUntil(lambda: app.session.study is not None, timeout=20000)
    assert "T2" in text(app, "study_warnings") and "T2" in text(app, "segment_why")
    assert not app.sections.segment.start.isEnabled()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(other), ""))
    combo = app.panel.findChild(QComboBox, "assign_t2")
    combo.activated.emit(combo.findData("other"))
    qtbot.waitUntil(lambda: Modality.T2 in app.session.study.study.volumes, timeout=20000)
    assert combo.currentText() == "scan.nii.gz" and app.sections.segment.start.isEnabled()


def test_cancel_is_at_once_and_the_next_run_works(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    app.features.segment.choose_model("slow")
    press(qtbot, app, "segment")
    qtbot.waitUntil(lambda: app.sections.segment.bar.text().startswith("segmenting"), timeout=20000)
    before = layers.labels_of(app.context.labels)
    press(qtbot, app, "cancel")
    qtbot.waitUntil(lambda: app.session.job is None, timeout=1000)
    assert "Cancelled" in text(app, "message") and app.sections.segment.start.isVisible()
    np.testing.assert_array_equal(layers.labels_of(app.context.labels), before)
    app.features.segment.choose_model("threshold")
    segment(qtbot, app)
    assert app.session.dirty


def test_a_failure_is_shown_and_leaves_the_labels(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    before = layers.labels_of(app.context.labels)
    app.features.segment.choose_model("bug")
    segment(qtbot, app)
    assert "an unlucky number" in text(app, "message") and "Traceback" not in text(app, "message")
    np.testing.assert_array_equal(layers.labels_of(app.context.labels), before)


def test_a_study_opened_meanwhile_does_not_get_the_result(qtbot, app, folder, tmp_path, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    app.features.segment.choose_model("short")
    press(qtbot, app, "segment")
    open_folder(qtbot, app, monkeypatch, write(make_study(4, id="B"), tmp_path))
    before = layers.labels_of(app.context.labels)
    qtbot.waitUntil(lambda: app.session.job is None, timeout=20000)
    assert "A has been segmented" in text(app, "message")
    np.testing.assert_array_equal(layers.labels_of(app.context.labels), before)
    open_folder(qtbot, app, monkeypatch, folder)
    assert app.session.dirty and "back" in text(app, "message")


def test_the_numbers_follow_the_brush_and_undo(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    layer = app.context.labels
    volume = text(app, "region_ET_ml")
    layer.selected_label, layer.brush_size = int(Label.ET), 10
    layer.paint((12, 16, 14), int(Label.ET))
    assert text(app, "save_state") == "not saved yet"  # at once
    qtbot.waitUntil(lambda: text(app, "region_ET_ml") != volume, timeout=10000)
    qtbot.waitUntil(lambda: text(app, "region_ET_dice") != "–", timeout=10000)  # sizes come first
    assert float(text(app, "region_ET_dice")) < 1
    layer.undo()
    qtbot.waitUntil(lambda: text(app, "region_ET_ml") == volume, timeout=10000)
    qtbot.waitUntil(lambda: text(app, "region_ET_dice") == "–", timeout=10000)  # a mask against itself
    assert text(app, "save_state") == "saved"
    layer.redo()
    qtbot.waitUntil(lambda: text(app, "region_ET_ml") != volume, timeout=10000)


def test_a_result_waits_for_the_end_of_a_stroke(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    layer = app.context.labels
    before = layers.labels_of(layer)
    with layer.block_history():
        segment(qtbot, app)
        np.testing.assert_array_equal(layers.labels_of(layer), before)
    qtbot.waitUntil(lambda: (layers.labels_of(layer) != before).any(), timeout=30_000)
    layer.undo()
    np.testing.assert_array_equal(layers.labels_of(layer), before)


def test_regions_and_keys_and_rows_agree(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    layer = app.context.labels
    press(qtbot, app, "region_TC_visible")
    assert not region_layer.region_view(layer).items["TC"].visible
    press(qtbot, app, "outline")
    assert region_layer.region_view(layer).outline and layer.contour == 1
    app.features.regions.toggle_outline()  # the key
    assert app.panel.findChild(QAbstractButton, "fill").isChecked()
    press(qtbot, app, "scheme_classes")
    assert list(app.sections.regions.rows) == ["NCR", "ED", "ET"]
    qtbot.waitUntil(lambda: text(app, "region_ED_ml") != "–", timeout=30_000)
    assert text(app, "region_ED_dice") == "–"
    row = app.sections.regions.rows["ET"]
    app.viewer.dims.order = (1, 0, 2)
    qtbot.mouseClick(row, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: tuple(app.viewer.dims.order) == (0, 1, 2), timeout=30_000)


def test_planes_series_and_windows_show_what_is_so(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    checked = lambda name: app.panel.findChild(QAbstractButton, name).isChecked()  # noqa: E731
    assert checked("plane_axial") and checked("window_standard") and checked("show_t1ce")
    press(qtbot, app, "plane_sagittal")
    assert tuple(app.viewer.dims.order) == (2, 0, 1) and checked("plane_sagittal")
    app.features.view.plane_at_cursor("coronal")  # the key
    assert checked("plane_coronal") and not checked("plane_sagittal")
    press(qtbot, app, "show_flair")
    images = layers.image_layers(app.viewer)
    assert [m for m in Modality if images[m].visible] == [Modality.FLAIR]
    app.features.view.step_modality(1)
    assert checked("show_t1")
    press(qtbot, app, "window_narrow")
    assert checked("window_narrow")
    images[Modality.T1].contrast_limits = (1, 2)
    assert not any(checked(f"window_{w}") for w in ("standard", "narrow", "wide"))
    press(qtbot, app, "plane_3d")
    assert app.viewer.dims.ndisplay == 3 and checked("plane_3d")
    assert not app.panel.findChild(QAbstractButton, "show_t1").isEnabled()
    press(qtbot, app, "plane_axial")
    assert app.viewer.dims.ndisplay == 2 and checked("show_t1")


def test_values_at_the_cursor_are_shown(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    qtbot.wait(500)  # it goes to the tumour, and the cursor with the slice
    assert text(app, "value_t1") == "–"
    layer = layers.image_layers(app.viewer)[Modality.T1]
    index = tuple(n // 2 for n in layer.data.shape)
    app.viewer.cursor.position = tuple(layer.data_to_world(index))

    def shown() -> bool:
        said = text(app, "value_t1")
        return said != "–" and float(said) == pytest.approx(float(layer.data[index]), rel=0.01)

    qtbot.waitUntil(shown, timeout=30_000)


def test_what_is_in_the_viewer_already_is_taken_up(qtbot, viewer, monkeypatch):
    monkeypatch.setattr("brainseg_engine.models.installed", list)
    study = make_study(id="Dropped")
    for data, meta, kind in layers.study_tuples(study):
        getattr(viewer, f"add_{kind}")(data, **meta)
    made = App(viewer)
    qtbot.addWidget(made.panel)
    qtbot.waitUntil(lambda: made.session.study is not None, timeout=10000)
    assert made.session.study.study.id == "Dropped" and "No model" in made.session.blocker
    for data, meta, kind in layers.study_tuples(make_study(2, id="Next")):
        getattr(viewer, f"add_{kind}")(data, **meta)
    qtbot.waitUntil(lambda: made.session.study is not None and made.session.study.study.id == "Next", timeout=10000)
    assert {layers.layer_study_id(x) for x in viewer.layers} == {"Next"}
    made.close()


def test_closing_lets_go_of_the_viewer_and_leaves_the_layers(qtbot, app, folder, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    press(qtbot, app, "plane_3d")
    n = len(layers.image_layers(app.viewer))
    app.close()
    app.close()
    assert app.viewer.dims.ndisplay == 2
    assert len(layers.image_layers(app.viewer)) == n and app.context.labels is not None
    app.context.labels.paint((5, 5, 5), 1)
    app.viewer.dims.order = (1, 0, 2)
    assert not any(k.startswith("brainseg") for k in app.viewer.canvas.overlays)


@pytest.mark.parametrize("gone", ["views", "a step"])
def test_closing_releases_the_viewer_whatever_qt_has_deleted(qtbot, app, gone, monkeypatch):
    """As when an error ends the program: Qt takes its objects down in an order of its own."""
    viewer, features = app.viewer, app.features
    if gone == "a step":
        monkeypatch.setattr(features.finetune, "close", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            app.close()
    else:
        for dying in app.sections.views:
            dying.deleteLater()
            QApplication.sendPostedEvents(dying, QEvent.Type.DeferredDelete)
        app.close()
    app.close()
    ours = [*vars(features).values(), app.context, features.regions.surfaces, features.corrections.autosave]
    for event in (viewer.dims.events.order, viewer.dims.events.ndisplay, viewer.layers.events.inserted,
                  viewer.layers.events.removed, viewer.cursor.events.position):  # fmt: skip
        heard = [getattr(c, "__self__", None) or (c[0]() if isinstance(c, tuple) else None) for c in event.callbacks]
        assert not [h for h in heard if h is not None and any(h is one for one in ours if one is not viewer)]


def test_every_message_about_reading_goes_when_it_is_read(qtbot, app):
    app.session.reading = "Reading x …"
    assert text(app, "message") == "Reading x …"
    app.session.reading = ""
    assert not app.panel.message.isVisible()


def test_what_a_correction_took_away_is_reported_too(tmp_path):
    study = make_study()
    nothing = replace(study.segmentation, labels=np.zeros_like(study.segmentation.labels))
    made = Store(tmp_path).add(study, nothing, base=study.segmentation)
    gone = np.count_nonzero(study.segmentation.labels)
    assert f"added 0.00, removed {gone / 1000:.2f})" in accepted_in_words(made, 0.001)
    assert f"added 0, removed {gone:,})" in accepted_in_words(made, None)


def test_a_card_tells_what_one_should_know():
    words = card_in_words(models("m")[0])
    for part in ("A threshold.", "T1ce", "WT 0.50", "air", "nothing", "everything"):
        assert part in words
    assert card_in_words(ModelInfo("m", Path("m"), None, False, "It is damaged.")) == "It is damaged."


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        ("a", "", "a.nii.gz"),
        ("a.b", "NIfTI (*.nii)", "a.b.nii"),
        ("a.mha", "NIfTI (*.nii)", "a.mha"),
        ("A.NII.GZ", "", "A.NII.GZ"),
        ("a", "MetaImage (*.mha)", "a.mha"),
    ],
)
def test_a_name_without_an_ending_gets_one(name, chosen, expected):
    assert with_ending(Path("/x") / name, chosen) == Path("/x") / expected


def test_no_torch_in_the_window(tmp_path):
    """Nothing that the panel imports brings torch: in a process of its own, since other tests do."""
    import subprocess

    code = (
        "import sys; from napari_brainseg.app.panel import App; from brainseg_engine.models import installed; installed();"
        "import brainseg_engine.studies.checks, brainseg_engine.scores.volumes, brainseg_engine.scores.overlap;"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# --- bad input, through the panel: a sentence that names the file, the last good study stays, nothing is left behind


def _rewrite(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> str:
    import nibabel

    image = nibabel.load(path)
    nibabel.Nifti1Image(data, image.affine if affine is None else affine).to_filename(path)
    return path.name


def _data(path: Path) -> np.ndarray:
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)


def _bytes(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return path.name


REFUSED = {
    "4D": lambda f: _rewrite(f / "Bad_t1.nii.gz", np.zeros((4, 4, 4, 2), np.int16)),
    "truncated": lambda f: _bytes(f / "Bad_t2.nii.gz", (f / "Bad_t2.nii.gz").read_bytes()[:3000]),
    "not gzip": lambda f: _bytes(f / "Bad_flair.nii.gz", b"no gzip" * 1000),
    "no image": lambda f: [p.unlink() for p in f.iterdir()] and f.name,
}
BLOCKED = {
    "missing": lambda f: (f / "Bad_t2.nii.gz").unlink() or "T2",
    "NaN": lambda f: _rewrite(f / "Bad_t1.nii.gz", np.where(_data(f / "Bad_t1.nii.gz") > 90, np.nan, 1.0)),
    "zeros": lambda f: _rewrite(f / "Bad_flair.nii.gz", np.zeros_like(_data(f / "Bad_flair.nii.gz"))),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_what_cannot_be_read_leaves_the_last_good_study(qtbot, app, folder, tmp_path, monkeypatch, damage):
    open_folder(qtbot, app, monkeypatch, folder)
    before, n = app.session.study, len(app.viewer.layers)
    bad = write(make_study(7, id="Bad"), tmp_path, mask=False)
    named = REFUSED[damage](bad)
    listed = sorted(bad.iterdir())
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(bad))
    press(qtbot, app, "open_folder")
    qtbot.waitUntil(lambda: named in text(app, "message") and app.session.reading == "", timeout=20000)
    assert app.panel.message.isVisible() and app.panel.message.property("kind") == "error"
    assert "Traceback" not in text(app, "message")
    assert app.session.study is before and text(app, "study_title") == "A" and len(app.viewer.layers) == n
    assert app.sections.segment.start.isEnabled() and sorted(bad.iterdir()) == listed


UNALIGNED = {
    "other shape": lambda f: _rewrite(f / "Bad_t1.nii.gz", np.ones((9, 9, 9), np.float32)),
    "other affine": lambda f: _rewrite(f / "Bad_t1.nii.gz", _data(f / "Bad_t1.nii.gz"), np.diag([1.0, 1, 3, 1])),
}


@pytest.mark.parametrize("damage", UNALIGNED)
def test_series_on_grids_of_their_own_are_listed_to_be_prepared(qtbot, app, folder, tmp_path, monkeypatch, damage):
    open_folder(qtbot, app, monkeypatch, folder)
    before = app.session.study
    bad = write(make_study(7, id="Bad"), tmp_path, mask=False)
    UNALIGNED[damage](bad)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(bad))
    press(qtbot, app, "open_folder")
    qtbot.waitUntil(lambda: app.sections.series.isVisible() and app.session.reading == "", timeout=20000)
    assert len(app.sections.series.uses) == 4
    assert app.session.study is before and app.sections.segment.start.isEnabled()


@pytest.mark.parametrize("damage", BLOCKED)
def test_what_can_be_looked_at_but_not_segmented_says_why(qtbot, app, tmp_path, monkeypatch, damage):
    bad = write(make_study(7, id="Bad"), tmp_path, mask=False)
    named = BLOCKED[damage](bad)
    open_folder(qtbot, app, monkeypatch, bad)
    assert text(app, "study_title") == "Bad" and len(layers.image_layers(app.viewer)) >= 3
    why = app.panel.findChild(QWidget, "segment_why")
    assert why.isVisible() and named in why.text() and "Traceback" not in why.text()
    assert named in text(app, "study_warnings")
    assert not app.sections.segment.start.isEnabled()


def test_a_mask_with_unknown_values_leaves_the_labels(qtbot, app, folder, tmp_path, monkeypatch):
    open_folder(qtbot, app, monkeypatch, folder)
    before = layers.labels_of(app.context.labels)
    bad = tmp_path / "bad_seg.nii.gz"
    bad.write_bytes((folder / "A_seg.nii.gz").read_bytes())
    _rewrite(bad, _data(bad) * 7)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(bad), ""))
    app.sections.study.open_mask.menu().actions()[2].trigger()
    qtbot.waitUntil(lambda: "bad_seg.nii.gz" in text(app, "message") and app.session.reading == "", timeout=10000)
    assert app.panel.message.property("kind") == "error" and "values" in text(app, "message")
    np.testing.assert_array_equal(layers.labels_of(app.context.labels), before)
    assert not app.session.dirty


def test_the_same_file_twice(qtbot, app, folder, monkeypatch):
    files = [str(folder / "A_t1.nii.gz")] * 2
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (files, ""))
    press(qtbot, app, "open_files")
    qtbot.waitUntil(lambda: "twice" in text(app, "message"), timeout=10000)
    assert app.session.study is None


@pytest.mark.parametrize("place", ["below a file", "unknown ending"])
def test_a_place_that_takes_no_mask_loses_nothing(qtbot, app, folder, tmp_path, monkeypatch, place):
    open_folder(qtbot, app, monkeypatch, folder)
    segment(qtbot, app)
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "m.nii.gz" if place == "below a file" else tmp_path / "missing.nii.gz" / ".." / "file"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr("napari_brainseg.features.save.section.with_ending", lambda p, _: p)
    press(qtbot, app, "save")
    qtbot.waitUntil(lambda: app.panel.message.property("kind") == "error", timeout=10000)
    assert "file" in text(app, "message") and text(app, "save_state") == "not saved yet"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["A", "file"]


@pytest.mark.parametrize("damage", ["another program's", "damaged"])
def test_a_model_that_cannot_be_used_is_reported_and_another_can_be_chosen(
    qtbot, viewer, folder, own_home, fake_worker, monkeypatch, damage
):
    (own_home / "models").mkdir(parents=True)
    path = own_home / "models" / "broken.safetensors"
    if damage == "damaged":
        path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{ not json      ")
    else:
        from safetensors.numpy import save_file

        save_file({"w": np.zeros(3, np.float32)}, path)
    made = App(viewer)
    qtbot.addWidget(made.panel)
    made.panel.show()
    qtbot.waitUntil(lambda: any(m.name == "broken" for m in made.session.models), timeout=10000)
    combo = made.panel.findChild(QComboBox, "model")
    assert "broken (unusable)" in [combo.itemText(i) for i in range(combo.count())]
    open_folder(qtbot, made, monkeypatch, folder)
    made.features.segment.choose_model("broken")
    assert "broken.safetensors" in text(made, "segment_why") and not made.sections.segment.start.isEnabled()
    made.session.set_models(models("threshold"))
    segment(qtbot, made)
    assert made.session.dirty
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["truncated weights", "cuda"])
def test_what_only_the_worker_finds_is_a_sentence_too(qtbot, viewer, folder, own_home, tiny_model, monkeypatch, what):
    """The real worker: weights cut short behind a sound card; CUDA where there is none."""
    if what == "cuda":
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    (own_home / "models").mkdir(parents=True)
    path = own_home / "models" / "tiny.safetensors"
    path.write_bytes(tiny_model.read_bytes())
    made = App(viewer)
    qtbot.addWidget(made.panel)
    made.panel.show()
    qtbot.waitUntil(lambda: any(m.name == "tiny" for m in made.session.models), timeout=10000)
    made.session.choose(model="tiny", device="cuda" if what == "cuda" else "cpu")
    if what != "cuda":
        path.write_bytes(path.read_bytes()[:-1000])
    open_folder(qtbot, made, monkeypatch, folder)
    before = layers.labels_of(made.context.labels)
    press(qtbot, made, "segment")
    qtbot.waitUntil(lambda: made.session.job is None, timeout=120000)
    said = text(made, "message")
    assert made.panel.message.property("kind") == "error" and "Traceback" not in said
    assert ("CUDA" if what == "cuda" else "tiny.safetensors") in said
    np.testing.assert_array_equal(layers.labels_of(made.context.labels), before)
    made.close()
