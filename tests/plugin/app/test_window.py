"""The main job in a real napari window: mouse clicks on what is visible and enabled; only file dialogs are patched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.heartbeat import Heartbeat, covered
from helpers.small_study import make_study
from helpers.window import Hand
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QFileDialog, QMessageBox

from brainseg_engine import io
from brainseg_engine.core.study import Modality
from brainseg_engine.corrections import working
from brainseg_engine.scores import volumes
from napari_brainseg.display import layers
from napari_brainseg.features.regions import verbs as regions

pytestmark = pytest.mark.window


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    """A study of full size, without its mask."""
    from brainseg_engine.phantom import DEMO_SEED, phantom_study, write_study

    study = phantom_study(DEMO_SEED)
    folder = Path(write_study(study, tmp_path_factory.mktemp("phantom")))
    for mask in folder.glob("*seg*"):
        mask.unlink()
    return folder


def timed(heart: Heartbeat, owner: object, name: str, monkeypatch) -> None:
    """Count the calls of that method as napari's own work."""
    inner = getattr(owner, name)

    def call(*args, **kwargs):
        with heart.inserting():
            return inner(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


def renderer(viewer) -> str:
    from vispy.gloo import gl

    viewer.window._qt_viewer.canvas._scene_canvas.set_current()
    return str(gl.glGetParameter(gl.GL_RENDERER))


@pytest.mark.slow
def test_the_main_job(window, phantom, model, tmp_path, monkeypatch, record_property):
    from napari.components.layerlist import LayerList
    from napari.layers import Labels

    had_torch = "torch" in sys.modules
    window.open(monkeypatch, phantom)
    viewer, session, app = window.viewer, window.session, window.app
    assert session.study.study.id == window.text("study_title")
    assert app.context.labels is None
    # --- one press, timed from the click to the result
    heart = Heartbeat()
    timed(heart, LayerList, "insert", monkeypatch)
    timed(heart, Labels, "__init__", monkeypatch)
    heart.start()
    window.press("segment")
    window.wait(lambda: session.job is None, 280)
    window.wait(lambda: session.measures is not None)
    window.qtbot.wait(300)
    heart.stop()
    report = f"{heart.report()}; renderer: {renderer(viewer)}; panel opened in {window.opened_in:.2f} s"
    record_property("heartbeat", report)
    print(report)
    assert session.message.kind.value == "good", session.message.text
    assert heart.ours == [], report
    assert had_torch or "torch" not in sys.modules
    # --- the limits of the volumes stay when the sizes are told once more, as they are after every change of the labels
    limits = volumes.limits(session.answer.notes["volume_intervals_ml"]["WT"])
    app.features.regions.sizes_changed.emit()
    assert window.text("region_WT_ml").endswith(f"({limits})")
    assert f"Dice {session.answer.notes['confidence']:.2f}" in window.text("expected_overlap")
    # --- the labels layer lies on the study
    layer = app.context.labels
    study = session.study.study
    image = layers.image_layers(viewer)[study.reference.modality]
    np.testing.assert_array_equal(layer.extent.world, image.extent.world)
    np.testing.assert_allclose(layer.scale, image.scale)
    assert [str(u) for u in layer.units] == ["millimeter"] * 3
    labels = layers.labels_of(layer)
    assert labels.any() and labels.shape == study.reference.grid.shape
    if labels.size - np.count_nonzero(labels) > 0 and (labels == 3).any():
        window.press("region_ET")
        grid = study.reference.grid
        window.wait(lambda: labels[tuple(np.round(grid.to_index(-np.array(viewer.dims.point)[::-1])).astype(int))] == 3)
    # --- 3D, and regions on and off
    window.press("plane_3d")
    window.wait(lambda: not app.features.regions.surfaces.busy and "brain" in app.features.regions.surfaces.surfaces)
    assert viewer.dims.ndisplay == 3 and not layer.visible
    surfaces = app.features.regions.surfaces.surfaces
    assert {"WT", "brain"} <= set(surfaces) and surfaces["WT"].visible
    whole = viewer.screenshot(flash=False)
    window.press("region_WT_visible")
    assert not surfaces["WT"].visible
    window.qtbot.wait(200)
    assert (viewer.screenshot(flash=False) != whole).any()
    window.press("region_WT_visible")
    assert surfaces["WT"].visible
    window.press("plane_axial")
    assert viewer.dims.ndisplay == 2 and layer.visible
    # --- a second run, cancelled
    window.press("segment")
    window.wait(lambda: session.job is not None and session.job.stage == "segmenting")
    began = time.perf_counter()
    window.press("cancel")
    window.wait(lambda: session.job is None, 2)
    assert time.perf_counter() - began < 2
    np.testing.assert_array_equal(layers.labels_of(layer), labels)
    # --- saved, and equal to what the command line gives
    path = tmp_path / "by_hand.nii.gz"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    window.press("save")
    window.wait(lambda: path.exists() and str(path) in window.text("message"))
    assert_equal_to_headless(path, phantom, model, tmp_path / "headless")


@pytest.mark.slow
def test_a_study_is_read_and_measured_beside_the_window(window, phantom, tmp_path, monkeypatch):
    """Never in the GUI's thread; what is left there, benchmarks/window measures."""
    from brainseg_engine.phantom import DEMO_SEED, phantom_study, write_study

    in_the_windows_thread: dict[str, set[bool]] = {}

    def noted(name: str, inner):
        def call(*args, **kwargs):
            here = threading.current_thread() is threading.main_thread()
            in_the_windows_thread.setdefault(name, set()).add(here)
            return inner(*args, **kwargs)

        return call

    for owner, name in ((io, "load_study"), (regions, "measure")):
        monkeypatch.setattr(owner, name, noted(name, getattr(owner, name)))
    with_mask = write_study(phantom_study(DEMO_SEED + 1), tmp_path)
    for folder in (phantom, with_mask):
        before = window.session.study
        window.app.features.study.open(Path(folder))
        window.wait(lambda before=before: window.session.study is not before and not window.session.reading)
        window.wait(lambda: (window.session.measures is None) == (window.app.context.labels is None))
    assert window.session.measures is not None
    assert in_the_windows_thread == {"load_study": {False}, "measure": {False}}


def assert_equal_to_headless(path: Path, folder: Path, model: str, out: Path) -> None:
    import nibabel

    command = [sys.executable, "-m", "brainseg_engine", "predict", str(folder), "--out", str(out), "--model", model]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, timeout=280, env=os.environ)
    assert done.returncode == 0, done.stderr
    [headless] = out.glob("*_seg.nii.gz")
    a, b = nibabel.load(path), nibabel.load(headless)
    np.testing.assert_array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
    np.testing.assert_array_equal(a.affine, b.affine)
    assert a.header == b.header
    beside = [json.loads(p.with_name(p.name.replace(".nii.gz", ".json")).read_text()) for p in (path, headless)]
    assert beside[0]["coding"] == beside[1]["coding"] and beside[0]["model"] == beside[1]["model"]


@pytest.mark.slow
def test_a_result_onto_a_mask_holds_nothing_up_either(window, phantom, tmp_path, monkeypatch, record_property):
    """The labels layer is there already: the result comes as an edit, which is all our own work."""
    from brainseg_engine.core.study import Segmentation
    from brainseg_engine.io import save_segmentation

    window.open(monkeypatch, phantom)
    grid = window.session.study.study.reference.grid
    empty = np.zeros(grid.shape, np.uint8)
    empty[100:110, 100:110, 70:80] = 3
    save_segmentation(Segmentation(empty, grid), tmp_path / "mask.nii.gz", coding="brats2023")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "mask.nii.gz"), ""))
    next(a for a in window.app.sections.study.open_mask.menu().actions() if "brats2023" in a.text()).trigger()
    window.wait(lambda: window.session.measures is not None)
    assert window.text("region_ET_ml") == "1.00" and window.text("region_ET_dice") == "–"
    heart = Heartbeat()
    heart.start()
    window.press("segment")
    window.wait(lambda: window.session.job is None, 280)
    window.wait(lambda: window.text("region_ET_dice") != "–")
    heart.stop()
    report = heart.report()
    record_property("heartbeat", report)
    print(report)
    assert heart.ours == [], report
    layer = window.app.context.labels
    layer.undo()
    np.testing.assert_array_equal(layers.labels_of(layer), empty)


def test_the_panel_opens_from_napari_and_closes_with_its_window(window):
    assert window.panel.isVisible()
    assert window.text("footer") == "For research use only. Not a medical device."
    button = window.panel.findChild(QAbstractButton, "open_folder")
    assert button.isVisible() and button.isEnabled()


def test_a_dropped_study_opens_in_the_panel(window, tmp_path):
    folder = write(make_study(id="Dropped"), tmp_path)
    window.viewer.open(folder, plugin="napari-brainseg")
    window.wait(lambda: window.session.study is not None)
    assert window.text("study_title") == "Dropped" and window.text("mask_name") != "none"
    assert set(layers.image_layers(window.viewer)) == set(Modality)
    window.wait(lambda: window.session.measures is not None)


def test_painting_with_the_mouse_updates_the_numbers(window, tmp_path, monkeypatch):
    """A stroke on the canvas, Ctrl+Z on the canvas."""
    from qtpy.QtCore import QEvent, QPointF
    from qtpy.QtGui import QMouseEvent

    window.open(monkeypatch, write(make_study(id="A"), tmp_path))
    window.wait(lambda: window.session.measures is not None)
    before = window.text("region_ET_ml")
    layer = window.app.context.labels
    window.viewer.layers.selection.active = layer
    layer.mode, layer.selected_label, layer.brush_size = "paint", 3, 4
    native = window.viewer.window._qt_viewer.canvas.native
    middle = QPointF(native.width() / 2, native.height() / 2)

    def mouse(kind, at, buttons):
        event = QMouseEvent(
            kind, at, native.mapToGlobal(at), Qt.MouseButton.LeftButton, buttons, Qt.KeyboardModifier.NoModifier
        )
        QApplication.sendEvent(native, event)

    mouse(QEvent.Type.MouseMove, middle, Qt.MouseButton.NoButton)
    mouse(QEvent.Type.MouseButtonPress, middle, Qt.MouseButton.LeftButton)
    for i in range(1, 10):
        mouse(QEvent.Type.MouseMove, middle + QPointF(8 * i, 0), Qt.MouseButton.LeftButton)
    mouse(QEvent.Type.MouseButtonRelease, middle + QPointF(72, 0), Qt.MouseButton.NoButton)
    window.wait(lambda: window.text("region_ET_ml") != before, 10)
    assert window.session.dirty
    window.qtbot.keyClick(native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.wait(lambda: window.text("region_ET_ml") == before and not window.session.dirty, 10)


def test_segment_over_edits_asks_once(window, tmp_path, monkeypatch):
    hand = Hand(window, write(make_study(id="A", shape=(48, 56, 40)), tmp_path), monkeypatch)
    asked = []
    answer = [QMessageBox.StandardButton.No]
    monkeypatch.setattr(QMessageBox, "question", lambda *a, **_: asked.append(a[2]) or answer[0])
    hand.window.press("paint_ET")
    hand.window.press("tool_brush")
    hand.layer.brush_size = 8
    hand.click(20, 28, 12)
    hand.window.wait(lambda: hand.window.session.dirty, 10)
    hand.window.press("segment")
    assert len(asked) == 1 and "not accepted" in asked[0] and hand.window.session.job is None
    answer[0] = QMessageBox.StandardButton.Yes
    hand.window.press("segment")
    hand.window.wait(lambda: hand.window.session.job is not None, 10)
    hand.window.press("cancel")
    hand.window.wait(lambda: hand.window.session.job is None, 10)
    hand.window.press("segment")
    assert len(asked) == 2
    hand.window.wait(lambda: hand.window.session.job is not None, 10)
    hand.window.press("cancel")
    hand.window.wait(lambda: hand.window.session.job is None, 10)


SEGMENTING = """
import sys, time
from pathlib import Path
import napari
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer()
_, panel = viewer.window.add_plugin_dock_widget("napari-brainseg", "Brain tumour segmentation")
app = panel.owner

def wait(until):
    while not until():
        QApplication.processEvents()
        time.sleep(0.01)

app.features.study.open(Path(sys.argv[1]))
wait(lambda: app.session.measures is not None and app.session.model is not None)
app.features.segment.segment()
wait(lambda: app.runner._clients[""].pid is not None)
"""
CLOSED_BY_A_PERSON = (
    SEGMENTING
    + """
import psutil
from qtpy.QtCore import QTimer
app.context.labels.paint((12, 16, 14), 3)
worker = psutil.Process(app.runner._clients[""].pid)
QTimer.singleShot(0, viewer.window._qt_window.close)  # as the window manager does
napari.run()
worker.wait(10)
"""
)


@pytest.mark.slow
def test_closing_the_window_in_mid_job_keeps_edits_and_ends_the_worker(tmp_path, own_home, tiny_model):
    folder = write(make_study(id="A"), tmp_path)
    (own_home / "models").mkdir(parents=True, exist_ok=True)
    shutil.copy(tiny_model, own_home / "models" / "tiny.safetensors")
    env = os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    argv = [sys.executable, "-X", "faulthandler", "-c", CLOSED_BY_A_PERSON, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, env=env)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "resource_tracker" not in done.stderr, done.stderr
    (found,) = working.pending()
    work = working.load(found.path)
    assert found.study_id == "A" and (work.segmentation.labels != work.base.labels).any()


ENDED_BY_AN_ERROR = (
    SEGMENTING
    + """
if sys.argv[2] == "closed before":
    viewer.close()
    app.close()
    app.close()
wait(lambda: 1 / 0)
"""
)


@pytest.mark.parametrize("window_is", ["open", "closed before"])
@pytest.mark.slow
def test_an_error_that_ends_the_program_stays_the_only_one(tmp_path, own_home, tiny_model, window_is):
    """Then Qt takes its objects down in an order of its own, and the panel closes among what is half gone."""
    folder = write(make_study(id="A"), tmp_path)
    (own_home / "models").mkdir(parents=True, exist_ok=True)
    shutil.copy(tiny_model, own_home / "models" / "tiny.safetensors")
    env = os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    argv = [sys.executable, "-X", "faulthandler", "-c", ENDED_BY_AN_ERROR, str(folder), window_is]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, env=env)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr, done.stderr
    assert done.stderr.count("Traceback") == 1 and "deleted" not in done.stderr, done.stderr


def test_intervals_are_counted_once():
    assert covered((0, 10), [(1, 3), (2, 4), (8, 12), (20, 30)]) == 5
    assert covered((0, 1), []) == 0
