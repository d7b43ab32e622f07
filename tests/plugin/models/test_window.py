"""In a real window: a model is fetched; one is brought in, two answer, they are put side by side, a region is taken over, and the
imported one is trained further with what came of that."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import peers
from helpers.file_server import file_server
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from brainseg_engine.models import catalogue, checkpoint, installed
from brainseg_engine.phantom import phantom_study, write_study

pytestmark = [pytest.mark.window, pytest.mark.slow]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(study folder, bundle folder): a phantom, and a small network that has learnt it a little."""
    from monai.networks.nets import SegResNet
    from monai.transforms import NormalizeIntensity

    folder = tmp_path_factory.mktemp("made")
    study = phantom_study(1_000_003, (64, 72, 44))
    write_study(study, folder / "studies")
    bundle = peers.bundle(folder / "brats_mri_segmentation")
    torch.manual_seed(0)
    net = SegResNet(blocks_down=[1, 2], blocks_up=[1], init_filters=8, in_channels=4, out_channels=3, dropout_prob=0.2)
    image = torch.as_tensor(
        NormalizeIntensity(nonzero=True, channel_wise=True)(peers.stacked(study, peers.BUNDLE_ORDER))
    )
    peers.fitted(net, image, peers.targets(study), steps=20)
    torch.save(net.state_dict(), bundle / "models" / "model.pt")
    return next((folder / "studies").iterdir()), bundle


def dialog_of(window) -> QWidget:
    return next(w for w in QApplication.topLevelWidgets() if w.objectName() == "models_dialog" and w.isVisible())


def picture(window, widget: QWidget, name: str) -> None:
    """Keep a picture of it where somebody asks for pictures."""
    if "BRAINSEG_PICTURES" in os.environ:
        QApplication.processEvents()
        widget.grab().save(str(Path(os.environ["BRAINSEG_PICTURES"]) / f"{name}.png"))


@pytest.fixture
def known_one(made, tmp_path, monkeypatch):
    """The server of the bundle, which is the only known model; half of it comes before its ``held``."""
    folder = tmp_path / "packed"
    shutil.copytree(made[1], folder)
    (folder / "docs").mkdir()
    (folder / "docs" / "figure.bin").write_bytes(os.urandom(4 << 20))
    data = Path(shutil.make_archive(str(tmp_path / "m"), "zip", folder)).read_bytes()
    entry = {"name": "fetched", "title": "A bundle", "url": "https://nowhere.example/m.zip", "size": len(data),
             "sha256": hashlib.sha256(data).hexdigest(), "licence": "Apache-2.0"}  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps({"format": catalogue.FORMAT, "models": [entry]}))
    catalogue.update(tmp_path / "list.json")
    with file_server() as server:
        server.files["/m.zip"], server.held = data, threading.Event()
        monkeypatch.setenv("BRAINSEG_MIRROR", server.mirror)
        yield server
        server.held.set()


def opened(window):
    window.press("models")
    window.wait(lambda: any(w.objectName() == "models_dialog" for w in QApplication.topLevelWidgets()))
    return dialog_of(window)


def test_a_known_model_is_fetched_stopped_and_fetched_on(window, known_one, monkeypatch):
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    dialog = opened(window)
    assert not dialog.bar.isVisible() and dialog.known.isVisible()
    window.qtbot.mouseClick(dialog.install, Qt.MouseButton.LeftButton)
    window.wait(lambda: dialog.bar.isVisible() and 400 < dialog.bar.value() < 600)
    assert not dialog.install.isVisible()
    picture(window, dialog, "models_fetching")
    window.qtbot.mouseClick(dialog.cancel, Qt.MouseButton.LeftButton)
    window.wait(lambda: not dialog.cancel.isEnabled())
    known_one.held.set()
    window.wait(lambda: not dialog.bar.isVisible())
    assert dialog.words.text().startswith("Stopped") and dialog.install.isVisible()

    window.qtbot.mouseClick(dialog.install, Qt.MouseButton.LeftButton)
    window.wait(lambda: any(m.name == "fetched" for m in window.session.models), 180)
    window.wait(lambda: "was installed" in dialog.words.text())
    assert known_one.asked[0] == "" and known_one.asked[1].startswith("bytes=")
    dialog.reject()


def test_two_models_side_by_side_and_one_trained_further(window, made, tmp_path, monkeypatch):
    study, bundle = made
    window.open(monkeypatch, study)
    window.wait(lambda: window.session.study is not None and window.session.reading == "")
    own = window.session.model.name

    dialog = opened(window)
    dialog.name.setText("monai")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(bundle))
    window.qtbot.mouseClick(dialog.folder, Qt.MouseButton.LeftButton)
    window.wait(lambda: any(m.name == "monai" for m in window.session.models), 120)
    window.wait(lambda: "imported" in dialog.words.text())
    assert "Apache-2.0" in dialog.words.text()
    window.wait(lambda: dialog.table.columnCount() == len(window.session.models))

    for n, m in enumerate(window.session.models):
        if m.name in (own, "monai"):
            dialog.table.item(0, n).setCheckState(Qt.CheckState.Checked)
    assert dialog.ticked == [m.name for m in window.session.models if m.name in (own, "monai")]
    picture(window, dialog, "models_dialog")
    window.qtbot.mouseClick(dialog.segment, Qt.MouseButton.LeftButton)
    window.wait(lambda: set(window.session.answers) == {own, "monai", "mean"}, 240)
    window.wait(lambda: "Dice of mean" in window.text("agreement"))
    window.wait(lambda: window.session.job is None)
    picture(window, window.viewer.window._qt_window, "two_models")

    window.wait(lambda: window.widget("answer_mean") is not None)
    window.press("answer_monai")
    window.wait(lambda: window.session.answer is window.session.answers["monai"])
    theirs = window.session.answers["monai"].segmentation.labels
    np.testing.assert_array_equal(window.session.segmentation.labels, theirs)
    window.wait(lambda: window.text("agreement").startswith("Dice of monai") and own in window.text("agreement"))

    paint = window.app.features.paint
    names = [source.name for source in paint.sources]
    assert f"the answer of {own}" in names and "the answer of mean" in names
    paint.take(paint.sources[names.index(f"the answer of {own}")])
    window.wait(lambda: any(step["tool"] == "take" for step in window.session.steps))

    window.app.features.doubt.compute()
    window.wait(lambda: window.app.features.doubt.known)
    assert "2 models together" in window.session.message.text

    corrections, finetune = window.app.features.corrections, window.app.features.finetune
    window.press("accept")
    window.wait(lambda: corrections.accepted is not None)
    write_study(phantom_study(1_000_004, (64, 72, 44)), tmp_path / "anchors")
    finetune.choose(model="monai", amount=1, unit="epochs", anchors=tmp_path / "anchors")
    window.press("finetune_fold")
    window.press("finetune_start")
    window.wait(lambda: finetune.run is not None and not finetune.running, 400)
    assert finetune.made, finetune.run.why_it_ended()
    trained, base = (
        checkpoint.load(m.path) for name in (finetune.made, "monai") for m in installed() if m.name == name
    )
    assert trained.recipe.preprocess == base.recipe.preprocess and trained.card.modalities == base.card.modalities
    assert any(not torch.equal(v, base.state[k]) for k, v in trained.state.items())
    picture(window, window.viewer.window._qt_window, "trained_further")
