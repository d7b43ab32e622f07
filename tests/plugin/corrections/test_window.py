"""Nothing is lost in a real napari window: killed with SIGKILL in the middle of a stroke and while it saves, then restored by
a click; closing with work that was not accepted asks."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from qtpy.QtCore import QEvent, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QMessageBox, QPushButton

from brainseg_engine.core.labels import REGION_LABELS
from brainseg_engine.corrections import Store, default_store, working
from brainseg_engine.io import load_segmentation
from napari_brainseg.display import layers

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]

OPEN = """
import sys, time
from pathlib import Path
import napari, numpy as np
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QPushButton

viewer = napari.Viewer()
viewer.window.resize(1500, 1000)
_, panel = viewer.window.add_plugin_dock_widget("napari-brainseg", "Brain tumour segmentation")
app = panel.owner
native = viewer.window._qt_viewer.canvas.native

def wait(until, seconds=60):
    end = time.monotonic() + seconds
    while not until():
        QApplication.processEvents()
        time.sleep(0.005)
        assert time.monotonic() < end, app.session.message

def mouse(kind, at, buttons):
    at = QPointF(*at)
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(native, QMouseEvent(kind, at, native.mapToGlobal(at), left, buttons, none))

def begin_stroke(x, y):
    mouse(QEvent.Type.MouseMove, (x, y), Qt.MouseButton.NoButton)
    mouse(QEvent.Type.MouseButtonPress, (x, y), Qt.MouseButton.LeftButton)

def to(x, y):
    mouse(QEvent.Type.MouseMove, (x, y), Qt.MouseButton.LeftButton)

def release(x, y):
    mouse(QEvent.Type.MouseButtonRelease, (x, y), Qt.MouseButton.NoButton)

app.features.study.open(Path(sys.argv[1]))
wait(lambda: app.session.measures is not None and app.features.corrections.autosave.workspace.key)
layer = app.context.labels
viewer.layers.selection.active = layer
middle = native.width() / 2, native.height() / 2
"""

STROKE = """
layer.selected_label, layer.brush_size, layer.mode = 3, 2, "paint"
before = layer.data.copy()
begin_stroke(*middle)
n = 0
while True:  # the button is never released
    n += 1
    to(middle[0] + 60 * np.cos(n / 25) - 60, middle[1] + 60 * np.sin(n / 25))
    np.save(sys.argv[2] + ".part.npy", layer.data)
    Path(sys.argv[2] + ".part.npy").replace(sys.argv[2])  # what is on the canvas
    QApplication.processEvents()
    if app.features.corrections.autosaved is not None:
        print("saved", flush=True)
"""

STROKES = """
import itertools
from napari_brainseg.features.corrections import autosave
autosave.AUTOSAVE_S = 0.0  # a copy is being written most of the time
layer.brush_size, layer.mode = 3, "paint"
for n in itertools.count():
    layer.selected_label = n % 3 + 1
    begin_stroke(middle[0] + n % 9 * 10, middle[1])
    to(middle[0] + n % 9 * 10, middle[1] + 20)
    release(middle[0] + n % 9 * 10, middle[1] + 20)
    app.features.corrections.autosave.tick()
    for _ in range(3):
        QApplication.processEvents()
    if app.features.corrections.autosaved is not None:
        print("saved", n, flush=True)
"""

ACCEPT = """
import itertools
from napari_brainseg.display import layers
keeping = app.features.corrections
layer.brush_size, layer.mode = 3, "paint"
for n in itertools.count():
    layer.selected_label = n % 3 + 1
    begin_stroke(middle[0] + n % 9 * 10, middle[1])
    to(middle[0] + n % 9 * 10, middle[1] + 20)
    release(middle[0] + n % 9 * 10, middle[1] + 20)
    keeping.autosave.flush()
    np.save(sys.argv[2] + ".part.npy", layers.labels_of(layer))
    Path(sys.argv[2] + ".part.npy").replace(sys.argv[2])  # what is on the canvas, and in the working copy
    print("accepting", flush=True)
    keeping.accept()
    wait(lambda: not keeping.autosave.workspace.accepting)
"""

RESTORE = """
button = panel.findChild(QPushButton, "restore")
wait(button.isVisible)
panel.scroll.ensureWidgetVisible(button)
QApplication.processEvents()
mine = layer.data.copy()
button.click()
wait(lambda: not np.array_equal(app.context.labels.data, mine))
from napari_brainseg.display import layers
np.save(sys.argv[2], layers.labels_of(app.context.labels))
app.context.labels.undo()  # it is one step
assert np.array_equal(app.context.labels.data, mine)
app.context.labels.redo()
app.close()
viewer.close()
"""


def napari(script: str, folder: Path, out: Path, tmp_path: Path) -> subprocess.Popen:
    env = os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    argv = [sys.executable, "-X", "faulthandler", "-c", OPEN + script, str(folder), str(out)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def restored(folder: Path, tmp_path: Path) -> np.ndarray:
    """Start napari anew, open the study, click Restore: the labels then."""
    out = tmp_path / "restored.npy"
    child = napari(RESTORE, folder, out, tmp_path)
    _, errors = child.communicate(timeout=200)
    assert child.returncode == 0, errors
    return np.load(out)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.slow
def test_killed_between_press_and_release_the_stroke_is_back_but_for_its_last_seconds(tmp_path, own_home):
    folder, canvas = write(make_study(id="A"), tmp_path), tmp_path / "canvas.npy"
    files = {p: p.read_bytes() for p in folder.iterdir()}
    child = napari(STROKE, folder, canvas, tmp_path)
    assert child.stdout.readline() == "saved\n", child.stderr.read()
    time.sleep(random.Random(0).uniform(0, 3))
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    before = load_segmentation(folder / "A_seg.nii.gz").labels
    (found,) = working.pending()
    back = restored(folder, tmp_path)
    assert np.array_equal(back, working_labels(found.path, tmp_path))
    last = np.transpose(np.load(canvas))  # I, P, L of an LPS study is its axes in reverse
    painted, lost = (back != before), (back != last)
    assert painted.any() and (back[painted] == 3).all()
    assert (last[painted] == 3).all()  # nothing that was not painted
    assert lost.sum() <= (last != before).sum() - painted.sum()
    assert {p: p.read_bytes() for p in folder.iterdir()} == files  # images and answer as they were


def working_labels(path: Path, tmp_path: Path) -> np.ndarray:
    """The copy's labels; it may have been replaced by that of the program that restored it."""
    if path.exists():
        return working.load(path).segmentation.labels
    (found,) = working.pending()
    return working.load(found.path).segmentation.labels


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_while_it_saves_the_copy_is_whole(tmp_path, own_home, seed):
    folder = write(make_study(id="A"), tmp_path)
    child = napari(STROKES, folder, tmp_path / "x", tmp_path)
    assert child.stdout.readline().startswith("saved"), child.stderr.read()
    time.sleep(random.Random(seed).uniform(0, 2))
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    (found,) = working.pending()
    work = working.load(found.path)
    assert np.array_equal(work.base.labels, load_segmentation(folder / "A_seg.nii.gz").labels)
    assert len(work.steps) > 0 and not np.array_equal(work.segmentation.labels, work.base.labels)
    assert np.array_equal(restored(folder, tmp_path), work.segmentation.labels)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_while_it_accepts_the_work_is_in_the_store_or_in_the_copy(tmp_path, own_home, seed):
    folder, canvas = write(make_study(id="A"), tmp_path), tmp_path / "canvas.npy"
    child = napari(ACCEPT, folder, canvas, tmp_path)
    for _ in range(3 + seed):
        assert child.stdout.readline() == "accepting\n", child.stderr.read()
    time.sleep(random.Random(seed).uniform(0, 0.1))
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    store = Store(default_store())
    versions = store.corrections()
    assert len(versions) >= 2 + seed and not [f for f in store.check(images=False) if f.severity == "error"]
    kept = [store.read(c).labels for c in versions]
    kept += [working.load(found.path).segmentation.labels for found in working.pending()]
    assert any(np.array_equal(labels, np.load(canvas)) for labels in kept)


# --- in one window


def stroke(window) -> None:
    """One stroke with the mouse across the middle of the canvas."""
    native = window.viewer.window._qt_viewer.canvas.native
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton

    def mouse(kind, at, buttons):
        event = QMouseEvent(kind, at, native.mapToGlobal(at), left, buttons, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(native, event)

    layer = window.app.context.labels
    window.viewer.layers.selection.active = layer
    layer.mode, layer.selected_label, layer.brush_size = "paint", 3, 4
    middle = QPointF(native.width() / 2, native.height() / 2)
    mouse(QEvent.Type.MouseMove, middle, none)
    mouse(QEvent.Type.MouseButtonPress, middle, left)
    for i in range(1, 8):
        mouse(QEvent.Type.MouseMove, middle + QPointF(8 * i, 3 * i), left)
    mouse(QEvent.Type.MouseButtonRelease, middle + QPointF(56, 21), none)


def open_study(window, tmp_path) -> Path:
    folder = write(make_study(id="A"), tmp_path)
    window.app.features.study.open(folder)
    window.wait(lambda: window.session.measures is not None)
    return folder


def answer_with(monkeypatch, what, asked: list[str]) -> None:
    monkeypatch.setattr(
        QMessageBox, "question", staticmethod(lambda parent, title, text, *a: asked.append(text) or what)
    )


def test_paint_autosave_accept_by_mouse(window, tmp_path, monkeypatch):
    asked: list[str] = []
    answer_with(monkeypatch, QMessageBox.StandardButton.No, asked)
    folder = open_study(window, tmp_path)
    window.press("accept")
    assert asked and "nothing was corrected" in asked[0]
    window.qtbot.wait(200)
    assert window.app.features.corrections.accepted is None  # the person said no
    stroke(window)
    painted = layers.labels_of(window.app.context.labels)
    window.wait(lambda: window.text("corrections_state").startswith("autosaved"), 15)
    assert np.array_equal(
        working.load(window.app.features.corrections.autosave.workspace.desk.path).segmentation.labels, painted
    )
    window.press("changes")
    window.wait(lambda: window.app.features.doubt.changes_shown, 10)
    window.press("accept")
    window.wait(lambda: window.app.features.corrections.accepted is not None, 20)
    made = window.app.features.corrections.accepted
    assert np.array_equal(window.app.session.store.read(made).labels, painted) and len(asked) == 1
    assert [s for s in made.log.read_text().splitlines() if '"brush"' in s]
    assert made.id in window.text("accepted")
    assert load_segmentation(folder / "A_seg.nii.gz").labels.any()


@pytest.mark.slow
def test_accepted_the_same_millilitres_stand_everywhere(window, tmp_path, monkeypatch):
    """In the rows of regions, in what is said of it, and in the list to learn from; and again when it is opened anew."""
    answer_with(monkeypatch, QMessageBox.StandardButton.Yes, [])
    study = make_study(id="A", affine=np.diag([-1.0, -1.5, 2.0, 1.0]))
    folder = write(study, tmp_path)
    window.app.features.study.open(folder)
    window.wait(lambda: window.session.measures is not None)
    rows = lambda: {r.value: window.text(f"region_{r.value}_ml") for r in REGION_LABELS}  # noqa: E731
    for region, classes in REGION_LABELS.items():
        ml = 0.003 * np.isin(study.segmentation.labels, list(classes)).sum()
        assert rows()[region.value] == f"{ml:.2f}" and ml > 0.1
        assert window.text(f"region_{region.value}_dice") == "–"  # a mask is not compared with itself
    before = rows()
    stroke(window)
    painted = layers.labels_of(window.app.context.labels)
    sizes = {r.value: f"{0.003 * np.isin(painted, list(classes)).sum():.2f}" for r, classes in REGION_LABELS.items()}
    window.wait(lambda: rows() == sizes, 10)
    assert sizes != before
    window.press("accept")
    window.wait(lambda: window.app.features.corrections.accepted is not None, 20)
    said = ", ".join(f"{name} {sizes[name]}" for name in ("WT", "TC", "ET")) + " mL"
    window.press("finetune_fold")
    listed = window.widget("finetune_corrections")
    window.wait(lambda: listed.count() == 1, 20)
    assert said in window.text("accepted") and said in listed.item(0).text() and rows() == sizes
    mask = window.app.features.corrections.accepted.mask
    window.app.features.study.open(write(make_study(2, id="B"), tmp_path))
    window.wait(lambda: window.session.study.study.id == "B" and window.session.measures is not None)
    window.app.features.study.open(folder)
    window.wait(lambda: window.session.study.study.id == "A" and window.session.measures is not None)
    window.app.features.study.load_mask(mask)
    window.wait(lambda: rows() == sizes, 20)
    assert said in listed.item(0).text()


def answer_closing(button: str, asked: list[str], tries: int = 100) -> None:
    """Press that button of the question when it is there."""
    box = next(
        (w for w in QApplication.topLevelWidgets() if w.objectName() == "closing_question" and w.isVisible()), None
    )
    if box is not None:
        asked.append(box.text())
        next(b for b in box.findChildren(QPushButton) if button in b.text()).click()
    elif tries:
        QTimer.singleShot(20, lambda: answer_closing(button, asked, tries - 1))


@pytest.mark.parametrize("button", ["Stay", "Keep", "Discard"])
def test_closing_with_work_that_was_not_accepted_asks(window, tmp_path, button):
    open_study(window, tmp_path)
    frame, asked = window.viewer.window._qt_window, []
    assert window.app._may_close()  # nothing to lose, nothing asked
    stroke(window)
    window.wait(lambda: window.app.features.corrections.autosave.at_risk, 10)
    painted = layers.labels_of(window.app.context.labels)
    QTimer.singleShot(20, lambda: answer_closing(button, asked))
    if button == "Stay":
        assert frame.close(False, True) is None and frame.isVisible()
        assert working.pending() == []
    else:
        assert window.app._may_close()
        window.app.features.corrections.close()
        found = working.pending()
        assert len(found) == (button == "Keep")
        if found:
            assert np.array_equal(working.load(found[0].path).segmentation.labels, painted)
    assert len(asked) == 1 and "not accepted" in asked[0]
